package resolve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is a real DNS server on loopback, UDP and TCP on one port, that
// counts what it is asked.
type testServer struct {
	addr string

	mu    sync.Mutex
	asked map[string]int // by "name TYPE transport"
}

// serve starts a server whose replies h makes.
func serve(t testing.TB, h dns.HandlerFunc) *testServer {
	t.Helper()
	s := &testServer{asked: make(map[string]int)}
	udp, tcp := listenBoth(t)
	s.addr = udp.LocalAddr().String()
	counted := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		s.count(w, q)
		h(w, q)
	})
	for _, srv := range []*dns.Server{{PacketConn: udp, Handler: counted}, {Listener: tcp, Handler: counted}} {
		done := make(chan error, 1)
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { done <- srv.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := errors.Join(srv.Shutdown(), <-done); err != nil {
				t.Errorf("DNS server: %v", err)
			}
		})
	}
	return s
}

func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *testServer) count(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q0 := q.Question[0]
	s.asked[fmt.Sprintf("%s %s %s", strings.TrimSuffix(q0.Name, "."), dns.TypeToString[q0.Qtype], w.RemoteAddr().Network())]++
}

// queries returns how many questions came whose "name TYPE transport" begins
// with prefix.
func (s *testServer) queries(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for key, count := range s.asked {
		if strings.HasPrefix(key, prefix) {
			n += count
		}
	}
	return n
}

// zone answers from records in zone-file form, as a recursive server does: with
// the CNAME chain, the SOA where there is nothing, NXDOMAIN for other names.
func zone(t testing.TB, records string) dns.HandlerFunc {
	t.Helper()
	byName := make(map[string][]dns.RR)
	parser := dns.NewZoneParser(strings.NewReader(records), ".", "zone")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		byName[name] = append(byName[name], rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		fillFromZone(m, byName)
		if opt := q.IsEdns0(); opt != nil {
			m.SetEdns0(4096, false)
		}
		w.WriteMsg(m)
	}
}

func fillFromZone(m *dns.Msg, byName map[string][]dns.RR) {
	q := m.Question[0]
	name := strings.ToLower(q.Name)
	for range 20 {
		next := ""
		for _, rr := range byName[name] {
			if rr.Header().Rrtype == q.Qtype {
				m.Answer = append(m.Answer, rr)
			}
			if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(c.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if byName[name] == nil {
		m.Rcode = dns.RcodeNameError
	}
	if n := len(m.Answer); n == 0 || m.Answer[n-1].Header().Rrtype != q.Qtype {
		m.Ns = soaFor(name, byName)
	}
}

func soaFor(name string, byName map[string][]dns.RR) []dns.RR {
	for labels := dns.SplitDomainName(name); len(labels) > 0; labels = labels[1:] {
		for _, rr := range byName[strings.Join(labels, ".")+"."] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return []dns.RR{rr}
			}
		}
	}
	return nil
}

// rr reads one record in zone-file form.
func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// silence is the address of an upstream that takes every query and never
// replies.
func silence(t testing.TB) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// clock is a clock that is set by hand.
type clock struct{ now atomic.Pointer[time.Time] }

func newClock() *clock {
	c := new(clock)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.now.Store(&start)
	return c
}

func (c *clock) Now() time.Time { return *c.now.Load() }

func (c *clock) advance(d time.Duration) {
	next := c.Now().Add(d)
	c.now.Store(&next)
}

// resolver makes a Resolver that is closed with the test.
func resolver(t testing.TB, c Config) *Resolver {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// mustResolve resolves name and fails the test on an error.
func mustResolve(t testing.TB, r *Resolver, name string) Answer {
	t.Helper()
	a, err := r.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// eventually waits for what no event tells.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func addrs(s ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}
