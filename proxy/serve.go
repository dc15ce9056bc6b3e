package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Proxy serves connections on any number of listeners. Its methods are safe
// for concurrent use.
type Proxy struct {
	cfg      Config
	limits   Limits
	dial     func(context.Context, netip.AddrPort) (net.Conn, error)
	accounts accounts
	lobby    lobby
	count    *counters
	plain    *plain
	buffers  buffers
	// established is the answer that opens a tunnel, as bytes: a string would
	// be copied for each.
	established []byte
	pipes       pipes
	cuts        atomic.Int64 // how often Cut was called

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sweeping  bool
	closing   bool
	done      chan struct{}  // closed when everything that is left is cut
	work      sync.WaitGroup // accept loops, connections and what carries their bytes
}

// New returns a Proxy that serves nothing yet. The error says which field of
// cfg is missing.
func New(cfg Config) (*Proxy, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Proxy{
		cfg: cfg, limits: cfg.Limits.withDefaults(), dial: dialer(&cfg), count: newCounters(),
		established: []byte("HTTP/1.1 200 Connection established\r\n\r\n"),
		listeners:   make(map[net.Listener]struct{}), done: make(chan struct{}),
	}
	p.accounts.all = make(map[identity.ID]*account)
	p.lobby.max = p.limits.Waiting
	p.plain = newPlain(p)
	return p, nil
}

// Listen makes a listener for Serve. It differs from net.Listen in that the
// options of its sockets are set once and inherited, and not set anew for each
// connection.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			return setKeepAlive(c)
		},
	}
	return lc.Listen(ctx, "tcp", address)
}

// Serve accepts connections on ln until ctx ends or Shutdown is called, and
// then returns nil; any other end is an error. Clients must show a credential.
// ln may be a TLS listener. Serve closes it.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	return p.serve(ctx, ln, uuid.Nil)
}

// ServeAs is Serve for a listener that belongs to one server and needs no
// credential: for clients that can't send any. A credential that is sent is
// not looked at. Only connections from loopback are taken.
func (p *Proxy) ServeAs(ctx context.Context, ln net.Listener, server identity.ID) error {
	if server == uuid.Nil {
		ln.Close()
		return errors.New("proxy: ServeAs needs a server")
	}
	return p.serve(ctx, ln, server)
}

func (p *Proxy) serve(ctx context.Context, ln net.Listener, server identity.ID) error {
	if !p.addListener(ln) {
		ln.Close()
		return nil
	}
	defer p.work.Done()
	defer p.removeListener(ln)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var pause time.Duration
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = 0
			p.welcome(conn, server)
			continue
		}
		if ctx.Err() != nil || p.isClosing() {
			return nil
		}
		if pause, err = p.acceptFailed(ctx, err, pause); err != nil {
			return err
		}
	}
}

// acceptFailed waits a little when accepting failed for want of descriptors,
// longer each time, and lets the oldest connection of the lobby go. Any other
// error is returned.
func (p *Proxy) acceptFailed(ctx context.Context, err error, pause time.Duration) (time.Duration, error) {
	p.count.acceptErrors.Add(1)
	if errors.Is(err, net.ErrClosed) || !(errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)) {
		return 0, err
	}
	if c := p.lobby.oldest(); c != nil {
		p.evict(c)
	}
	pause = min(max(2*pause, 5*time.Millisecond), time.Second)
	p.cfg.Logger.Warn("a connection could not be accepted", "err", err, "retry_in", pause)
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	case <-p.done:
	}
	return pause, nil
}

// welcome takes a new connection in and serves it.
func (p *Proxy) welcome(conn net.Conn, server identity.ID) {
	p.count.accepted.Add(1)
	from, ok := remoteAddr(conn)
	if server != uuid.Nil && (!ok || !from.IsLoopback()) {
		p.count.strangers.Add(1)
		conn.Close()
		return
	}
	c := &clientConn{p: p, conn: conn, from: from, server: server, accepted: time.Now()}
	if out := p.lobby.enter(c); out != nil {
		p.evict(out)
	}
	p.work.Add(1)
	go c.serve()
}

// evict closes a connection that was taken out of the lobby.
func (p *Proxy) evict(c *clientConn) {
	p.count.evicted.Add(1)
	c.conn.Close()
}

func (p *Proxy) addListener(ln net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.listeners[ln] = struct{}{}
	p.work.Add(1)
	if !p.sweeping {
		p.sweeping = true
		p.work.Go(p.sweep)
		p.plain.start()
	}
	return true
}

func (p *Proxy) removeListener(ln net.Listener) {
	ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, ln)
}

func (p *Proxy) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// isCut reports whether Shutdown has begun to cut what is left.
func (p *Proxy) isCut() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Shutdown stops accepting, lets go of the connections that have asked for
// nothing yet, waits for the open flows to end until ctx ends, and then ends
// them with flow.EndShutdown. When it returns nothing of the proxy runs any
// more; the error is ctx's if flows had to be ended.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.stopAccepting()
	for _, c := range p.lobby.close() {
		c.conn.Close()
	}
	flowsEnded := make(chan struct{})
	stopWaiting := make(chan struct{})
	go p.awaitFlows(flowsEnded, stopWaiting)
	var err error
	select {
	case <-flowsEnded:
	case <-ctx.Done():
		err = ctx.Err()
	}
	close(stopWaiting)
	p.cutAll()
	p.work.Wait()
	p.pipes.close()
	return err
}

func (p *Proxy) stopAccepting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	for ln := range p.listeners {
		ln.Close()
	}
}

// awaitFlows closes ended once no flow is open.
func (p *Proxy) awaitFlows(ended, stop chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.count.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
	close(ended)
}

// cutAll ends what is left.
func (p *Proxy) cutAll() {
	p.mu.Lock()
	if !p.isCut() {
		close(p.done)
	}
	p.mu.Unlock()
	for _, a := range p.accounts.list() {
		for _, s := range a.sessions(func(*session) bool { return true }) {
			s.abort(flow.EndShutdown)
		}
	}
	p.plain.stop()
	for _, a := range p.accounts.list() {
		a.closeIdle()
	}
}

// panicked counts a panic, which ended one connection and no other.
func (p *Proxy) panicked(v any) {
	p.count.panics.Add(1)
	p.cfg.Logger.Error("a connection ended in a panic; please report this", "panic", v, "stack", string(debug.Stack()))
}
