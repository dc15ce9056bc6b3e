package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/certs"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/geo"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/resolve"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// daemon is one running Exeat: every room, wired. Make one with startDaemon
// and end it with stop.
type daemon struct {
	cfg *config
	log *slog.Logger

	store    *store.DB
	registry *identity.Registry
	book     *baseline.Book
	resolver *resolve.Resolver
	memory   *resolve.Memory
	geo      *geo.DB
	risky    *detect.Risky
	journal  *record.Journal
	proxy    *proxy.Proxy
	web      *web.Server

	// Proxy and dashboard as they really listen: ports may be given as 0.
	proxyListener, webListener, socketListener net.Listener

	guard    atomic.Pointer[policy.Guard]
	private  []netip.Prefix
	ports    *ownPorts
	own      ownListeners
	launched *launchedRoots

	ctx    context.Context // of everything that runs
	cancel context.CancelFunc
	group  *errgroup.Group
	failed chan error // the first thing that ended on its own
}

// worldOptions are what only a demonstration changes about the outside world.
type worldOptions struct {
	roots *tls.Config // trust for absolute-form https://; nil: the system's
}

// startDaemon opens the store, wires the rooms and starts to listen. When it
// returns without error, connections are accepted.
func startDaemon(ctx context.Context, cfg *config, log *slog.Logger, opts worldOptions) (*daemon, error) {
	private, err := cfg.allowPrivate()
	if err != nil {
		return nil, err
	}
	d := &daemon{cfg: cfg, log: log, private: private, ports: &ownPorts{}, failed: make(chan error, 1)}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.group, d.ctx = errgroup.WithContext(d.ctx)
	steps := []func(context.Context) error{
		d.openStore, d.openRooms, d.listen,
		func(ctx context.Context) error { return d.openProxy(ctx, opts) },
		d.openWeb,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			d.stop(context.WithoutCancel(ctx))
			return nil, err
		}
	}
	d.serve()
	return d, nil
}

func (d *daemon) openStore(ctx context.Context) error {
	if err := openData(d.cfg.Data); err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{
		Path: d.cfg.storePath(), Logger: d.log, Retain: time.Duration(d.cfg.Store.RetainFlows),
	})
	if err != nil {
		return err
	}
	d.store = db
	d.launched, err = loadRoots(filepath.Join(d.cfg.Data, "launched.json"))
	return err
}

// openData makes the data directory for this user alone. One that others may
// write to is refused: they could put a store of theirs in its place.
func openData(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 && runtime.GOOS != "windows" {
		return try(fmt.Errorf("the data directory %s can be written to by others", dir), "chmod 700 "+dir)
	}
	return nil
}

// openRooms loads what decides and what records.
func (d *daemon) openRooms(ctx context.Context) (err error) {
	d.registry, err = identity.NewRegistry(ctx, identity.Config{Store: d.store, Revoked: d.cut})
	if err != nil {
		return err
	}
	if d.book, err = baseline.NewBook(ctx, baseline.BookConfig{Store: d.store}); err != nil {
		return err
	}
	if d.geo, err = geo.Open(geo.Config{ASN: d.cfg.Geo.ASN, Country: d.cfg.Geo.Country, Logger: d.log}); err != nil {
		return err
	}
	d.resolver, err = resolve.New(resolve.Config{
		Upstreams: d.cfg.DNS.Upstream, Timeout: time.Duration(d.cfg.DNS.Timeout), Logger: d.log,
	})
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	d.memory = resolve.NewMemory(resolve.MemoryConfig{})
	if d.risky, err = detect.LoadRisky(); err != nil {
		return err
	}
	d.journal, err = record.Open(ctx, record.Config{
		Store: d.store, Servers: d.registry, Places: d.geo, Learner: d.book,
		Memory: d.memory, Risky: d.risky, Logger: d.log,
	})
	return err
}

func (d *daemon) openProxy(_ context.Context, opts worldOptions) (err error) {
	l := d.cfg.Limits
	cfg := proxy.Config{
		Identities: d.registry, Baseline: d.book, Risky: d.risky, Resolver: d.resolver, Journal: d.journal,
		Guard: d.guard.Load, Hint: d.hint, Logger: d.log,
		Limits: proxy.Limits{
			TunnelsPerServer: l.TunnelsPerServer, ConnectsPerSec: l.ConnectsPerSecond,
			HeaderTimeout: time.Duration(l.HeaderTimeout), HelloTimeout: time.Duration(l.HelloTimeout),
			IdleTimeout: time.Duration(l.IdleTimeout),
		},
	}
	if opts.roots != nil {
		cfg.RootCAs = opts.roots.RootCAs
	}
	if d.proxy, err = proxy.New(cfg); err != nil {
		return err
	}
	d.journal.Follow(d.proxy.Live)
	return nil
}

// hint is the last sentence of a refusal: what would allow it.
func (d *daemon) hint(f flow.Flow) string {
	s, ok := d.registry.Server(f.ServerID)
	if !ok {
		return ""
	}
	dest := flow.Destination{Host: f.Host, Port: f.Port}
	return fmt.Sprintf("exeat baseline approve %s %s", s.Ref(), dest)
}

// listen opens every socket before anything is served, so that the address
// guard knows all of our own ports from the first connection on.
func (d *daemon) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if d.proxyListener, err = proxy.Listen(ctx, d.cfg.Proxy.Listen); err != nil {
		return try(fmt.Errorf("the proxy can't listen: %w", err), "exeat serve --proxy-listen 127.0.0.1:0")
	}
	if d.webListener, err = lc.Listen(ctx, "tcp", d.cfg.Web.Listen); err != nil {
		return try(fmt.Errorf("the dashboard can't listen: %w", err), "exeat serve --web-listen 127.0.0.1:0")
	}
	d.ports.add(portOf(d.proxyListener), portOf(d.webListener))
	if d.socketListener, err = listenSocket(ctx, d.cfg.socketPath()); err != nil {
		return err
	}
	d.refreshGuard()
	if d.cfg.Proxy.TLS.Cert == "" {
		return nil
	}
	tlsConfig, err := certs.LoadServer(d.cfg.Proxy.TLS.Cert, d.cfg.Proxy.TLS.Key, d.cfg.Proxy.TLS.ClientCA)
	if err != nil {
		return fmt.Errorf("proxy.tls: %w", err)
	}
	d.proxyListener = tls.NewListener(d.proxyListener, tlsConfig)
	return nil
}

// listenSocket opens the command line's socket for this user alone, unless
// another daemon answers on it: the store's lock doesn't tell when the store
// lies elsewhere.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(errors.New("another daemon is running for this data directory"), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the command line's socket: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("the command line's socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("the command line's socket: %w", err), ln.Close())
	}
	return ln, nil
}

// serve starts everything that runs.
func (d *daemon) serve() {
	d.run("the proxy", func() error { return d.proxy.Serve(d.ctx, d.proxyListener) })
	page, socket := d.web.HTTPServer(), d.web.SocketServer()
	page.BaseContext = func(net.Listener) context.Context { return d.ctx }
	socket.BaseContext, socket.ConnContext = page.BaseContext, withPeer
	d.run("the dashboard", func() error { return page.Serve(netutil.LimitListener(d.webListener, maxPageConns)) })
	d.run("the command line's socket", func() error { return socket.Serve(d.socketListener) })
	d.group.Go(func() error {
		<-d.ctx.Done()
		return errors.Join(page.Close(), socket.Close())
	})
	d.group.Go(func() error { d.keepHouse(); return nil })
	for _, s := range d.registry.Servers() {
		if s.Listen != "" && s.Status == identity.StatusActive {
			if _, err := d.openOwn(s.ID, s.Listen); err != nil {
				d.log.Error("a server's own listener did not come up", "server", s.Name, "addr", s.Listen, "err", err)
			}
		}
	}
}

// maxPageConns bounds the connections to the dashboard: whoever holds them must
// not take the descriptors that the proxy needs.
const maxPageConns = 512

// run serves in the background; an end that nobody asked for ends the daemon.
func (d *daemon) run(what string, serve func() error) {
	d.group.Go(func() error {
		err := serve()
		if d.ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("%s stopped: %w", what, err)
		select {
		case d.failed <- err:
		default:
		}
		return err
	})
}

// stop ends everything in the order in which it depends on each other: no new
// connections, open tunnels, what is still to be written, the store.
func (d *daemon) stop(ctx context.Context) {
	if d.proxy != nil {
		d.stopProxy(ctx)
	}
	d.cancel()
	for _, ln := range []net.Listener{d.proxyListener, d.webListener, d.socketListener} {
		if ln != nil {
			_ = ln.Close() // its server may have closed it already
		}
	}
	if err := d.group.Wait(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		d.log.Debug("serving ended", "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	d.closeRooms(ctx)
}

const (
	// drainTimeout is how long open tunnels may go on when Exeat is asked to
	// stop: requests in flight end, kept-alive connections would not anyway.
	drainTimeout = time.Second
	// closeTimeout bounds writing what is still to be written.
	closeTimeout = 15 * time.Second
)

func (d *daemon) stopProxy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := d.proxy.Shutdown(ctx); err != nil {
		d.log.Info("open tunnels were ended", "after", drainTimeout)
	}
}

func (d *daemon) closeRooms(ctx context.Context) {
	if d.journal != nil {
		if err := d.journal.Close(ctx); err != nil {
			d.log.Error("not everything could be stored", "err", err)
		}
	}
	if d.resolver != nil {
		if err := d.resolver.Close(); err != nil {
			d.log.Debug("closing the resolver", "err", err)
		}
	}
	if d.geo != nil {
		_ = d.geo.Close() // read-only files
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.log.Error("closing the store", "err", err)
		}
	}
}

// proxyURL is where clients find the proxy.
func (d *daemon) proxyURL() string {
	if u := d.cfg.Proxy.PublicURL; u != "" {
		return u
	}
	scheme := "http"
	if d.cfg.Proxy.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + reachable(d.proxyListener.Addr())
}

// reachable turns a listener's address into one that can be connected to: a
// wildcard listens on loopback too.
func reachable(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ap.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
	}
	return ap.String()
}

func portOf(ln net.Listener) uint16 {
	ap, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil {
		return 0
	}
	return ap.Port()
}

const (
	// guardEvery is how often the machine's own addresses are looked up again:
	// interfaces come and go with networks and sleep.
	guardEvery = 15 * time.Second
	// sweepEvery is how late the tunnels of a rotated credential may end.
	sweepEvery = time.Second
)

// keepHouse does what is due from time to time.
func (d *daemon) keepHouse() {
	guard := time.NewTicker(guardEvery)
	defer guard.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-guard.C:
			d.refreshGuard()
		case <-sweep.C:
			d.registry.Sweep()
		}
	}
}

func (d *daemon) refreshGuard() {
	g := &policy.Guard{AllowPrivate: d.private, OwnPorts: d.ports.list()}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		d.log.Warn("this machine's own addresses are unknown", "err", err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			g.Local = append(g.Local, prefix.Addr().Unmap())
		}
	}
	d.guard.Store(g)
}
