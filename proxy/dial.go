package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/exeat/exeat/policy"
)

// attemptDelay is the head start of each connection attempt before the next
// address is tried beside it (RFC 8305, section 5).
const attemptDelay = 250 * time.Millisecond

// errGuard is what the last guard says, at the socket.
var errGuard = errors.New("the address is not one that may be dialled")

// dialer returns the Config's way to connect, or the default.
func dialer(cfg *Config) func(context.Context, netip.AddrPort) (net.Conn, error) {
	if cfg.Dial != nil {
		return cfg.Dial
	}
	d := &net.Dialer{
		Timeout:         cfg.Limits.withDefaults().DialTimeout,
		KeepAliveConfig: keepAlive(),
		Control: func(_, address string, _ syscall.RawConn) error {
			return guard(cfg.Guard(), address)
		},
	}
	return func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		conn, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, addr)
		if err != nil {
			return nil, err // not conn: that would be a typed nil
		}
		return conn, nil
	}
}

// guard looks at the address that a socket is about to connect to. It was
// checked already; this is the last place where a mistake could be stopped.
func guard(g *policy.Guard, address string) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errGuard, err)
	}
	if !g.Class(addr).Permitted() {
		return errGuard
	}
	return nil
}

// dialAny connects to the first of addrs that answers, with a head start for
// the earlier ones, all within DialTimeout.
func (p *Proxy) dialAny(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, error) {
	if len(addrs) == 1 && p.cfg.Dial == nil {
		return p.dial(ctx, netip.AddrPortFrom(addrs[0], port)) // which has the timeout itself
	}
	ctx, cancel := context.WithTimeout(ctx, p.limits.DialTimeout)
	defer cancel()
	return (&race{dial: p.dial, port: port, results: make(chan attempt, len(addrs))}).run(ctx, addrs)
}

// race is happy eyeballs: attempts start one after the other, at the delay or
// as soon as the one before failed, and the first connection wins.
type race struct {
	dial    func(context.Context, netip.AddrPort) (net.Conn, error)
	port    uint16
	results chan attempt
	running int
}

type attempt struct {
	conn net.Conn
	err  error
}

func (r *race) run(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		r.closeLosers()
	}()
	stagger := time.NewTimer(attemptDelay)
	defer stagger.Stop()
	var firstErr error
	for len(addrs) > 0 || r.running > 0 {
		if len(addrs) > 0 {
			r.start(ctx, addrs[0])
			addrs = addrs[1:]
			stagger.Reset(attemptDelay)
		}
		select {
		case a := <-r.results:
			r.running--
			if a.err == nil {
				return a.conn, nil
			}
			firstErr = cmp.Or(firstErr, a.err)
		case <-stagger.C:
		}
	}
	return nil, firstErr
}

// start begins one attempt.
func (r *race) start(ctx context.Context, addr netip.Addr) {
	r.running++
	go func() {
		conn, err := r.dial(ctx, netip.AddrPortFrom(addr, r.port))
		r.results <- attempt{conn, err}
	}()
}

// closeLosers waits for the attempts that are still under way, which were
// cancelled, and closes what they got all the same.
func (r *race) closeLosers() {
	for ; r.running > 0; r.running-- {
		if a := <-r.results; a.conn != nil {
			a.conn.Close()
		}
	}
}

// keepAlive finds dead peers. Interval and count stay the kernel's: each one
// set is a system call a connection.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: -1, Count: -1}
}
