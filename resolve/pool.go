package resolve

import (
	"net"
	"sync"
	"time"
)

const (
	// maxIdle bounds the connections that one TLS upstream keeps open.
	maxIdle = 4
	// idleFor is how long one waits to be used again.
	idleFor = 10 * time.Second
)

// pool keeps connections for reuse, each for idleFor. The zero value is an
// empty pool.
type pool struct {
	mu     sync.Mutex
	idle   []idleConn
	closed bool
}

type idleConn struct {
	net.Conn
	expiry *time.Timer
}

// take returns the connection that was used last, or nil.
func (p *pool) take() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	c.expiry.Stop()
	return c.Conn
}

// put keeps c, or closes it when there is no room.
func (p *pool) put(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == maxIdle {
		c.Close()
		return
	}
	p.idle = append(p.idle, idleConn{c, time.AfterFunc(idleFor, func() { p.drop(c) })})
}

// drop closes c if it still waits.
func (p *pool) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.idle {
		if p.idle[i].Conn == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			c.Close()
			return
		}
	}
}

// close closes what waits and keeps nothing from now on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.expiry.Stop()
		c.Close()
	}
	p.idle = nil
}
