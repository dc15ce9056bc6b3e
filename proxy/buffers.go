package proxy

import "sync"

const (
	headBuffer = 4 << 10  // holds nearly every CONNECT head and hello
	copyBuffer = 32 << 10 // what one read of a tunnel takes at most
)

// buffer is a slice that can be pooled without an allocation for its header.
type buffer struct{ b []byte }

// buffers are pools of buffers. They are taken only while there are bytes to
// put in.
type buffers struct {
	heads, copies sync.Pool
}

func (bs *buffers) head() *buffer     { return get(&bs.heads, headBuffer) }
func (bs *buffers) putHead(b *buffer) { bs.heads.Put(b) }

// Get and Put make the large ones fit for net/http.
func (bs *buffers) Get() []byte          { return bs.copying().b }
func (bs *buffers) Put(b []byte)         { bs.putCopying(&buffer{b}) }
func (bs *buffers) copying() *buffer     { return get(&bs.copies, copyBuffer) }
func (bs *buffers) putCopying(b *buffer) { bs.copies.Put(b) }

func get(pool *sync.Pool, size int) *buffer {
	if b, ok := pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, size)}
}
