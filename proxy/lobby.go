package proxy

import (
	"container/list"
	"sync"
)

// lobby holds the connections that have not proved who they are, oldest first.
// Limits per server can't apply to them; instead, when the lobby is full, the
// oldest gives way to the newest. A client that sends its request is through in
// milliseconds, one that stalls on purpose only crowds out its like.
type lobby struct {
	max int

	mu     sync.Mutex
	conns  list.List // of *clientConn
	closed bool
}

// enter takes c in, as the newest, and returns the connection that has to leave
// for it, if any: c itself once the lobby is closed.
func (l *lobby) enter(c *clientConn) (out *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return c
	}
	if c.waiting != nil {
		l.conns.MoveToBack(c.waiting)
		return nil
	}
	if l.conns.Len() >= l.max {
		out = l.removeOldest()
	}
	c.waiting = l.conns.PushBack(c)
	return out
}

// leave lets c out, whether it is still in or not.
func (l *lobby) leave(c *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.waiting != nil {
		l.conns.Remove(c.waiting)
		c.waiting = nil
	}
}

// oldest takes out the connection that has waited longest, or returns nil.
func (l *lobby) oldest() *clientConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removeOldest()
}

func (l *lobby) removeOldest() *clientConn {
	e := l.conns.Front()
	if e == nil {
		return nil
	}
	c := l.conns.Remove(e).(*clientConn)
	c.waiting = nil
	return c
}

// close lets nobody in from now on and returns who is in.
func (l *lobby) close() []*clientConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var all []*clientConn
	for c := l.removeOldest(); c != nil; c = l.removeOldest() {
		all = append(all, c)
	}
	return all
}

func (l *lobby) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns.Len()
}
