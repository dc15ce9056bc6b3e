package proxy

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxPipes bounds the pipes of all tunnels together: an unprivileged user
	// may have 64 MiB in pipes by default, and one who has reached that gets
	// pipes of a page or two. Who finds no pipe copies.
	maxPipes = 48
	// pipeSize is what a pipe holds and one splice moves at most. A quarter of
	// it cost a fifth more processor time a byte.
	pipeSize = 1 << 20
	// idlePipes is how many pipes are kept for the next use.
	idlePipes = 16
)

// pipe is a kernel buffer between two sockets. It is empty while it is pooled.
type pipe struct{ r, w int }

// pipes lends pipes to the directions that carry bulk, only while bytes are
// there: a waiting splice would hold two descriptors.
type pipes struct {
	mu   sync.Mutex
	free []pipe
	lent int
}

// get returns a pipe, or false when there are enough in use already, or none
// to be had.
func (ps *pipes) get() (pipe, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if n := len(ps.free); n > 0 {
		p := ps.free[n-1]
		ps.free = ps.free[:n-1]
		ps.lent++
		return p, true
	}
	if ps.lent >= maxPipes {
		return pipe{}, false
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return pipe{}, false
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one works as well
	ps.lent++
	return pipe{fds[0], fds[1]}, true
}

// put takes back a pipe that is empty.
func (ps *pipes) put(p pipe) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.lent--
	if len(ps.free) < idlePipes {
		ps.free = append(ps.free, p)
		return
	}
	p.close()
}

// drop takes back a pipe that may still hold bytes.
func (ps *pipes) drop(p pipe) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.lent--
	p.close()
}

// close closes the pipes that nobody uses.
func (ps *pipes) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.free {
		p.close()
	}
	ps.free = nil
}

func (p pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// splicer moves bytes from one TCP socket to another without bringing them into
// the process.
type splicer struct {
	pipes    *pipes
	src, dst syscall.RawConn
	p        pipe
	n        int  // bytes in the pipe
	lent     bool // p is ours
	err      error
	in, out  func(fd uintptr) bool // pull and push, bound once
}

func newSplicer(ps *pipes, src, dst *net.TCPConn) (*splicer, error) {
	s := &splicer{pipes: ps}
	var err error
	if s.src, err = src.SyscallConn(); err != nil {
		return nil, err
	}
	if s.dst, err = dst.SyscallConn(); err != nil {
		return nil, err
	}
	s.in, s.out = s.pull, s.push
	return s, nil
}

// errNoPipe means that no pipe was free: the bytes have to be copied.
var errNoPipe = syscall.ENFILE

// next waits for bytes and moves them, as many as one pipe holds. It returns 0
// at the end of src, and errNoPipe when nothing was moved for want of a pipe.
func (s *splicer) next() (moved int, err error) {
	if err := s.src.Read(s.in); err != nil {
		return 0, err
	}
	if s.err != nil || s.n == 0 {
		s.back()
		return 0, s.err
	}
	moved = s.n
	if err = s.dst.Write(s.out); err == nil {
		err = s.err
	}
	moved -= s.n
	s.back()
	return moved, err
}

// back returns the pipe.
func (s *splicer) back() {
	if !s.lent {
		return
	}
	s.lent = false
	if s.n > 0 {
		s.pipes.drop(s.p)
		s.n = 0
		return
	}
	s.pipes.put(s.p)
}

// pull moves what there is from src into a pipe. It reports false, and holds no
// pipe, when there is nothing.
func (s *splicer) pull(fd uintptr) bool {
	s.n, s.err = 0, nil
	if s.p, s.lent = s.pipes.get(); !s.lent {
		s.err = errNoPipe
		return true
	}
	for {
		n, err := unix.Splice(int(fd), nil, s.p.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			s.back()
			return false
		case nil:
			s.n = int(n)
		default:
			s.err = os.NewSyscallError("splice", err)
		}
		return true
	}
}

// push moves the pipe's bytes to dst. It reports false while dst takes no more.
func (s *splicer) push(fd uintptr) bool {
	for s.n > 0 {
		n, err := unix.Splice(s.p.r, nil, int(fd), nil, s.n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case nil:
			s.n -= int(n)
		default:
			s.err = os.NewSyscallError("splice", err)
			return true
		}
	}
	return true
}
