package resolve

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exeat/exeat/flow"
)

// Config is what New needs. Its zero value asks the system's DNS servers.
type Config struct {
	// Upstreams are the DNS servers to ask, in order of preference:
	//
	//	192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:53   UDP, TCP where needed
	//	tls://192.0.2.1, tls://dns.example:853        DNS over TLS (RFC 7858)
	//	tls://dns.example@192.0.2.1                   the same, at a known address
	//
	// The certificate of a TLS upstream is verified for the name, or for the
	// address where no name is given. A host name here is itself looked up
	// through the operating system, at each new connection.
	//
	// Empty means the servers of ResolvConf, and that the names in Hosts are
	// answered from there; both files are read again when they change. Search
	// domains are not used: every name is absolute.
	Upstreams []string
	// ResolvConf and Hosts are the system's files; empty: /etc/resolv.conf and
	// /etc/hosts.
	ResolvConf, Hosts string
	// Timeout bounds one lookup with everything it takes; 0: 5 seconds.
	Timeout time.Duration
	// Now tells the time by which answers expire. Nil: time.Now.
	Now func() time.Time
	// MaxEntries bounds how many names are remembered; 0: 10,000.
	MaxEntries int
	// RootCAs are who may certify TLS upstreams. Nil: the system's.
	RootCAs *x509.CertPool
	// Dial connects to an upstream. Nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger takes what an operator should see. Nil: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Hosts == "" {
		c.Hosts = "/etc/hosts"
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxEntries <= 0 {
		c.MaxEntries = 10_000
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats counts what a Resolver did since it was made.
type Stats struct {
	Lookups  uint64 // calls of Resolve
	Hits     uint64 // answered from memory, failures and absences too
	Merged   uint64 // waited for a lookup that another call had begun
	Queries  uint64 // messages sent to upstreams
	Ignored  uint64 // messages from upstreams that answered something else
	Failures uint64 // lookups that ended in ErrTimeout, ErrServer or ErrChain
	Kept     int    // names remembered now
}

// counters are the live form of Stats.
type counters struct {
	lookups, hits, merged, queries, ignored, failures atomic.Uint64
}

// Resolver is a caching stub resolver. It is safe for concurrent use.
//
// It relies on its upstreams for recursion and for DNSSEC validation. Against
// forged replies it has a random id and a random port for each query; it does
// not randomise the case of names, since some servers don't echo it.
type Resolver struct {
	now       func() time.Time
	timeout   time.Duration
	log       *slog.Logger
	table     *table
	exchanger exchanger
	stat      counters

	upstreams func(now time.Time) []*upstream
	hosts     *watched[hostsTable] // nil: not in use

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// errClosed is returned by Resolve after Close.
var errClosed = fmt.Errorf("the resolver: %w", net.ErrClosed)

// New makes a Resolver. It fails on an upstream that can't be read; whether
// one answers shows later. Close releases what it holds.
func New(c Config) (*Resolver, error) {
	c = c.withDefaults()
	r := &Resolver{
		now:     c.Now,
		timeout: c.Timeout,
		log:     c.Logger,
		table:   newTable(c.MaxEntries),
	}
	r.exchanger = exchanger{dial: c.Dial, stat: &r.stat}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if len(c.Upstreams) == 0 {
		if err := r.useSystem(c); err != nil {
			return nil, err
		}
		return r, nil
	}
	ups, err := parseUpstreams(c.Upstreams, c.RootCAs)
	if err != nil {
		return nil, err
	}
	r.upstreams = func(time.Time) []*upstream { return ups }
	return r, nil
}

// useSystem makes r follow the system's files.
func (r *Resolver) useSystem(c Config) error {
	servers := &watched[[]*upstream]{
		path: c.ResolvConf, parse: parseResolvConf, log: c.Logger,
		changed: r.table.forget, // another network may answer differently
	}
	hosts := &watched[hostsTable]{path: c.Hosts, parse: parseHosts, log: c.Logger}
	now := c.Now()
	if err := errors.Join(servers.load(now), hosts.load(now)); err != nil {
		return fmt.Errorf("the system's DNS configuration: %w", err)
	}
	r.upstreams = servers.get
	r.hosts = hosts
	return nil
}

// Resolve looks up the addresses of name, which must be canonical (see
// flow.ParseHost). The error is one of this package's, wrapped, or carries
// ctx's when that ends first; then the lookup goes on for those who still wait
// for it.
//
// Both families are asked for at the same time, and when one has addresses the
// other gets little time more. Names under localhost are the loopback
// addresses (RFC 6761); names under invalid and onion (RFC 7686) do not exist,
// nor does an address or any other name that could not stand in DNS: no server
// is asked about these.
func (r *Resolver) Resolve(ctx context.Context, name string) (Answer, error) {
	r.stat.lookups.Add(1)
	now := r.now()
	if r.hosts != nil {
		if a, ok := r.hosts.get(now)[name]; ok && !isSpecial(name) {
			r.stat.hits.Add(1)
			a.Expires = now.Add(recheck)
			return a, nil
		}
	}
	if out, ok := r.table.get(name, now); ok {
		r.stat.hits.Add(1)
		return out.answer, out.err
	}
	if isSpecial(name) {
		return special(name, now)
	}
	if !canonicalName(name) {
		return Answer{}, lookupError(name, ErrNotFound)
	}
	return r.wait(ctx, name, now)
}

// wait begins or joins the lookup of name and waits for its end or for ctx's.
func (r *Resolver) wait(ctx context.Context, name string, now time.Time) (Answer, error) {
	f, merged := r.table.join(name, now, func(f *flight) {
		var lookupCtx context.Context
		lookupCtx, f.cancel = context.WithTimeout(r.ctx, r.timeout)
		r.work.Go(func() {
			defer f.cancel()
			r.table.finish(name, f, r.lookup(lookupCtx, name), r.now())
		})
	})
	if f == nil {
		return Answer{}, lookupError(name, errClosed)
	}
	if merged {
		r.stat.merged.Add(1)
	}
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		r.table.leave(name, f)
	}
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return Answer{}, lookupError(name, err)
}

// Stats returns the counters as they stand.
func (r *Resolver) Stats() Stats {
	return Stats{
		Lookups:  r.stat.lookups.Load(),
		Hits:     r.stat.hits.Load(),
		Merged:   r.stat.merged.Load(),
		Queries:  r.stat.queries.Load(),
		Ignored:  r.stat.ignored.Load(),
		Failures: r.stat.failures.Load(),
		Kept:     r.table.size(),
	}
}

// Close ends all lookups, which return errors, and closes what connections are
// open. It always returns nil.
func (r *Resolver) Close() error {
	r.table.close()
	r.cancel()
	r.work.Wait()
	for _, u := range r.upstreams(r.now()) {
		u.idle.close()
	}
	return nil
}

// canonicalName reports whether name is a DNS name in canonical form.
func canonicalName(name string) bool {
	canonical, err := flow.ParseHost(name)
	if err != nil || canonical != name {
		return false
	}
	_, err = netip.ParseAddr(name)
	return err != nil
}

// isSpecial reports whether name is answered without asking anybody.
func isSpecial(name string) bool {
	return under(name, "localhost") || under(name, "invalid") || under(name, "onion")
}

// special answers for a special name.
func special(name string, now time.Time) (Answer, error) {
	if !canonicalName(name) || !under(name, "localhost") {
		return Answer{}, lookupError(name, ErrNotFound)
	}
	return Answer{
		Name:    name,
		Addrs:   []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		Expires: now.Add(maxTTL),
	}, nil
}

// under reports whether name is domain or a name below it.
func under(name, domain string) bool {
	head, ok := strings.CutSuffix(name, domain)
	return ok && (head == "" || head[len(head)-1] == '.')
}

func lookupError(name string, err error) error {
	return fmt.Errorf("resolve %s: %w", name, err)
}
