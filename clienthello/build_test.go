package clienthello_test

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"
)

// hello is a ClientHello in parts, to build right and wrong ones from.
type hello struct {
	version     uint16
	session     []byte
	suites      []uint16
	compression []byte
	exts        []ext
}

type ext struct {
	typ  uint16
	data []byte
}

// usual is a small, well-formed hello for name.
func usual(name string) hello {
	return hello{
		version:     0x0303,
		session:     make([]byte, 32),
		suites:      []uint16{0x1301, 0x1302, 0xc02b},
		compression: []byte{0},
		exts: []ext{
			sni(name),
			{13, vec16(u16s(0x0403, 0x0804))},
			{16, alpn("h2", "http/1.1")},
			{43, vec8(u16s(0x0304, 0x0303))},
		},
	}
}

// with returns h with further extensions.
func (h hello) with(more ...ext) hello {
	h.exts = append(append([]ext(nil), h.exts...), more...)
	return h
}

// without returns h without the extensions of a type.
func (h hello) without(typ uint16) hello {
	var kept []ext
	for _, e := range h.exts {
		if e.typ != typ {
			kept = append(kept, e)
		}
	}
	h.exts = kept
	return h
}

// body is the message without its header.
func (h hello) body() []byte {
	b := binary.BigEndian.AppendUint16(nil, h.version)
	b = append(b, make([]byte, 32)...)
	b = append(b, vec8(h.session)...)
	b = append(b, vec16(u16s(h.suites...))...)
	b = append(b, vec8(h.compression)...)
	if h.exts == nil {
		return b
	}
	var exts []byte
	for _, e := range h.exts {
		exts = binary.BigEndian.AppendUint16(exts, e.typ)
		exts = append(exts, vec16(e.data)...)
	}
	return append(b, vec16(exts)...)
}

// message puts the handshake header before a body.
func message(body []byte) []byte {
	return append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// records cuts a message into records with fragments of the given sizes; the
// last size is repeated.
func records(msg []byte, sizes ...int) []byte {
	var out []byte
	for i := 0; len(msg) > 0; i++ {
		n := min(sizes[min(i, len(sizes)-1)], len(msg))
		out = append(out, record(msg[:n])...)
		msg = msg[n:]
	}
	return out
}

func record(fragment []byte) []byte {
	return append([]byte{22, 3, 1, byte(len(fragment) >> 8), byte(len(fragment))}, fragment...)
}

// bytes is the hello in one record, or as few as will hold it.
func (h hello) bytes() []byte { return records(message(h.body()), 1<<14) }

func sni(name string) ext { return ext{0, vec16(append([]byte{0}, vec16([]byte(name))...))} }

func alpn(protocols ...string) []byte {
	var list []byte
	for _, p := range protocols {
		list = append(list, vec8([]byte(p))...)
	}
	return vec16(list)
}

func u16s(values ...uint16) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func vec8(b []byte) []byte  { return append([]byte{byte(len(b))}, b...) }
func vec16(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }

// goHello is what crypto/tls sends for a configuration.
func goHello(tb testing.TB, c *tls.Config) []byte {
	tb.Helper()
	sink := &capture{}
	if err := tls.Client(sink, c).Handshake(); err == nil {
		tb.Fatal("a handshake with nobody succeeded")
	}
	return []byte(sink.sent.String())
}

// capture is a connection that keeps what is written, and answers with the end
// of file, or first with what is in reply.
type capture struct {
	sent  strings.Builder
	reply strings.Reader
}

func (c *capture) Write(b []byte) (int, error)      { return c.sent.Write(b) }
func (c *capture) Read(b []byte) (int, error)       { return c.reply.Read(b) }
func (c *capture) Close() error                     { return nil }
func (c *capture) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *capture) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *capture) SetDeadline(time.Time) error      { return nil }
func (c *capture) SetReadDeadline(time.Time) error  { return nil }
func (c *capture) SetWriteDeadline(time.Time) error { return nil }
