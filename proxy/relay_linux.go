package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bulkAfter is how many reads in a row must have filled their buffer before
	// a direction is taken for bulk and spliced.
	bulkAfter = 4
	// bulkLeast is the average of bytes a splice must move to be worth its
	// system calls; below it the direction goes back to copying.
	bulkLeast = 16 << 10
)

// bareReader reads from a TCP socket into a pooled buffer that it takes only
// once there are bytes: a waiting direction holds none.
type bareReader struct {
	raw  syscall.RawConn
	pool *buffers
	buf  *buffer
	n    int
	err  error
	try  func(fd uintptr) bool // readNow, bound once
}

// next waits for bytes and returns them. The caller gives the buffer back. It
// returns io.EOF at the end.
func (r *bareReader) next() (*buffer, int, error) {
	if err := r.raw.Read(r.try); err != nil {
		return nil, 0, err
	}
	switch {
	case r.err != nil:
		return nil, 0, r.err
	case r.n == 0:
		return nil, 0, io.EOF
	}
	buf := r.buf
	r.buf = nil
	return buf, r.n, nil
}

// readNow reads what there is, and reports false to be called again when there
// is something. The buffer is kept only if there was.
func (r *bareReader) readNow(fd uintptr) bool {
	r.n, r.err = 0, nil
	buf := r.pool.copying()
	n, err := syscall.Read(int(fd), buf.b)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), buf.b)
	}
	if n > 0 {
		r.buf, r.n = buf, n
		return true
	}
	r.pool.putCopying(buf)
	if err == syscall.EAGAIN {
		return false
	}
	if err != nil {
		r.err = os.NewSyscallError("read", err)
	}
	return true
}

// copy carries the direction's bytes until src ends (nil) or something fails.
// It copies through a buffer, which is the fastest for little; what turns out
// to be bulk it splices, which spares the processor.
func (t *stream) copy() error {
	src, ok := t.src.(*net.TCPConn)
	if !ok {
		return t.copyPlain()
	}
	raw, err := src.SyscallConn()
	if err != nil {
		return err
	}
	t.reader.raw, t.reader.pool, t.reader.try = raw, &t.s.p.buffers, t.reader.readNow
	dst, _ := t.dst.(*net.TCPConn) // nil: can't be spliced to
	for {
		err := t.copyThin(dst != nil)
		if err == nil {
			err = t.splice(src, dst)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyThin copies until there is an error, io.EOF at the end of src, or, if
// untilBulk, until what comes is bulk.
func (t *stream) copyThin(untilBulk bool) error {
	for full := 0; full < bulkAfter || !untilBulk; full++ {
		buf, n, err := t.reader.next()
		if err != nil {
			return err
		}
		if n < len(buf.b) {
			full = -1
		}
		_, err = pass(t.dst, buf.b[:n], t.count)
		t.s.p.buffers.putCopying(buf)
		if err != nil {
			return err
		}
	}
	return nil
}

// splice carries bulk until it gets thin, or until there is an error, io.EOF at
// the end of src.
func (t *stream) splice(src, dst *net.TCPConn) error {
	s, err := newSplicer(&t.s.p.pipes, src, dst)
	if err != nil {
		return err
	}
	for average := pipeSize; average >= bulkLeast; {
		n, err := s.next()
		t.count.Add(int64(n))
		switch {
		case errors.Is(err, errNoPipe), errors.Is(err, syscall.EINVAL):
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
		average += (n - average) / 8
	}
	return nil
}

// setKeepAlive sets on a listener what its connections inherit.
func setKeepAlive(c syscall.RawConn) error {
	var err error
	set := func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(time.Minute/time.Second))
		}
	}
	if cerr := c.Control(set); cerr != nil {
		return cerr
	}
	return err
}
