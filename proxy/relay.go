package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/exeat/exeat/flow"
)

// stream is one direction of a tunnel. It is part of its session, for there are
// many of them and most are idle.
type stream struct {
	reader   bareReader
	s        *session
	src, dst net.Conn
	count    *atomic.Int64
	end      flow.End // what it means when src ends
}

// relay starts both directions. The one that ends last ends the session.
func (s *session) relay() {
	s.carrying.Store(2)
	s.streams = [2]stream{
		{s: s, src: s.client, dst: s.upstream, count: &s.up, end: flow.EndClient},
		{s: s, src: s.upstream, dst: s.client, count: &s.down, end: flow.EndServer},
	}
	s.p.work.Add(2)
	go s.streams[0].run()
	go s.streams[1].run()
}

// run carries one direction until it ends, and passes the end on.
func (t *stream) run() {
	defer t.leave()
	err := t.copy()
	if err == nil {
		t.s.ended(t.end)
		t.s.half.Store(true)
		err = closeWrite(t.dst)
	}
	if err != nil {
		t.broken(err)
	}
}

// leave ends the session if this was its last direction.
func (t *stream) leave() {
	defer t.s.p.work.Done()
	if v := recover(); v != nil {
		t.s.p.panicked(v)
		t.s.abort(flow.EndError)
	}
	if t.s.carrying.Add(-1) == 0 {
		t.s.client.Close()
		t.s.upstream.Close()
		t.s.finish(nil)
	}
}

// broken ends both directions. A reset is passed on as a reset, so that no
// side takes half an answer for a whole one.
func (t *stream) broken(err error) {
	if errors.Is(err, syscall.ECONNRESET) {
		reset(t.s.client)
		reset(t.s.upstream)
	}
	t.s.abort(flow.EndError)
}

// reset makes the coming close of c a reset.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// pass writes bytes that were read already. They are counted first: the other
// side may have acted on them before the write returns.
func pass(dst io.Writer, b []byte, count *atomic.Int64) (int, error) {
	count.Add(int64(len(b)))
	n, err := dst.Write(b)
	count.Add(int64(n - len(b)))
	return n, err
}

// copyPlain is the way of connections that aren't bare TCP, such as a client
// of a TLS listener.
func (t *stream) copyPlain() error {
	buf := t.s.p.buffers.copying()
	defer t.s.p.buffers.putCopying(buf)
	for {
		n, err := t.src.Read(buf.b)
		if n > 0 {
			if _, err := pass(t.dst, buf.b[:n], t.count); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
