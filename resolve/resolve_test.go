package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const example = `
example.test.       300 IN SOA   ns.example.test. admin.example.test. 1 3600 600 86400 60
both.example.test.  120 IN A     192.0.2.1
both.example.test.  120 IN A     192.0.2.2
both.example.test.  90  IN AAAA  2001:db8::1
v4.example.test.    120 IN A     192.0.2.4
v6.example.test.    120 IN AAAA  2001:db8::6
text.example.test.  120 IN TXT   "no address"
alias.example.test. 200 IN CNAME hop.example.test.
hop.example.test.   20  IN CNAME both.example.test.
gone.example.test.  200 IN CNAME nowhere.example.test.
brief.example.test. 0   IN A     192.0.2.9
UPPER.example.test. 120 IN CNAME BoTh.Example.TEST.
long.example.test.  999999 IN A  192.0.2.10
`

func TestResolve(t *testing.T) {
	s := serve(t, zone(t, example))
	c := newClock()
	r := resolver(t, Config{Upstreams: []string{s.addr}, Now: c.Now})
	for _, row := range []struct {
		name  string
		chain []string
		addrs []netip.Addr
		ttl   time.Duration
		err   error
	}{
		{name: "both.example.test", addrs: addrs("2001:db8::1", "192.0.2.1", "192.0.2.2"), ttl: 90 * time.Second},
		{name: "v4.example.test", addrs: addrs("192.0.2.4"), ttl: 120 * time.Second},
		{name: "v6.example.test", addrs: addrs("2001:db8::6"), ttl: 120 * time.Second},
		{name: "alias.example.test", addrs: addrs("2001:db8::1", "192.0.2.1", "192.0.2.2"), ttl: 20 * time.Second,
			chain: []string{"hop.example.test", "both.example.test"}},
		{name: "upper.example.test", addrs: addrs("2001:db8::1", "192.0.2.1", "192.0.2.2"), ttl: 90 * time.Second,
			chain: []string{"both.example.test"}},
		{name: "brief.example.test", addrs: addrs("192.0.2.9"), ttl: 0},
		{name: "long.example.test", addrs: addrs("192.0.2.10"), ttl: time.Hour},
		{name: "text.example.test", err: ErrNoAddress},
		{name: "missing.example.test", err: ErrNotFound},
		{name: "gone.example.test", err: ErrNotFound},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, err := r.Resolve(t.Context(), row.name)
			if !errors.Is(err, row.err) {
				t.Fatalf("error %v, want %v", err, row.err)
			}
			if err != nil {
				return
			}
			if a.Name != row.name || !slices.Equal(a.Chain, row.chain) || !slices.Equal(a.Addrs, row.addrs) {
				t.Errorf("got %v, want chain %v, addresses %v", a, row.chain, row.addrs)
			}
			if got := a.Expires.Sub(c.Now()); got != row.ttl {
				t.Errorf("expires in %v, want %v", got, row.ttl)
			}
		})
	}
}

func TestNamesThatNeverLeave(t *testing.T) {
	s := serve(t, zone(t, example))
	r := resolver(t, Config{Upstreams: []string{s.addr}})
	for _, name := range []string{"localhost", "app.localhost"} {
		if a := mustResolve(t, r, name); !slices.Equal(a.Addrs, addrs("::1", "127.0.0.1")) {
			t.Errorf("%s: %v", name, a.Addrs)
		}
	}
	for _, name := range []string{
		"", ".", "192.0.2.1", "::1", "x.invalid", "hidden.onion", "Both.example.test", "both.example.test.",
		"a b.example.test", "a..b", "ex\x00ample.test", strings.Repeat("a", 64) + ".test", ".localhost", "..invalid",
	} {
		if a, err := r.Resolve(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v, %v", name, a, err)
		}
	}
	if n := s.queries(""); n != 0 {
		t.Errorf("%d queries left", n)
	}
}

func TestCacheFollowsTTL(t *testing.T) {
	for _, row := range []struct {
		name string
		keep time.Duration
	}{
		{"both.example.test", 90 * time.Second},
		{"missing.example.test", time.Minute},
		{"text.example.test", time.Minute},
		{"long.example.test", time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t, zone(t, example))
			c := newClock()
			r := resolver(t, Config{Upstreams: []string{s.addr}, Now: c.Now})
			want := 2
			for _, step := range []time.Duration{0, row.keep - 1, 1} {
				c.advance(step)
				if step == 1 {
					want = 4
				}
				_, err := r.Resolve(t.Context(), row.name)
				_, again := r.Resolve(t.Context(), row.name)
				if fmt.Sprint(err) != fmt.Sprint(again) {
					t.Errorf("first %v, then %v", err, again)
				}
				if n := s.queries(""); n != want {
					t.Fatalf("%d queries after %v more, want %d", n, step, want)
				}
			}
		})
	}
}

func TestZeroTTLIsNotKept(t *testing.T) {
	s := serve(t, zone(t, example))
	r := resolver(t, Config{Upstreams: []string{s.addr}, Now: newClock().Now})
	mustResolve(t, r, "brief.example.test")
	mustResolve(t, r, "brief.example.test")
	if n := s.queries("brief.example.test A udp"); n != 2 {
		t.Errorf("%d queries, want 2", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 300 IN A 192.0.2.1")}
		}
		w.WriteMsg(m)
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}, MaxEntries: 3})
	mustResolve(t, r, "kept.test")
	for i := range 10 {
		mustResolve(t, r, fmt.Sprintf("n%d.test", i))
		mustResolve(t, r, "kept.test") // used all the time, and so never evicted
	}
	if got := r.Stats(); got.Kept != 3 || got.Hits != 10 {
		t.Errorf("%+v, want 3 kept and 10 hits", got)
	}
	if n := s.queries("kept.test A "); n != 1 {
		t.Errorf("the name in use was asked for %d times", n)
	}
}

// chainZone has hop0 → hop1 → … → hopN, which has an address.
func chainZone(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "hop%d.test. 60 IN CNAME hop%d.test.\n", i, i+1)
	}
	fmt.Fprintf(&b, "hop%d.test. 60 IN A 192.0.2.1\n", n)
	return b.String()
}

func TestChainLength(t *testing.T) {
	for _, row := range []struct {
		name    string
		handler func(testing.TB, string) dns.HandlerFunc
	}{
		{"in one answer", zone},
		{"one link an answer", linkByLink},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t, row.handler(t, chainZone(MaxChain)))
			a := mustResolve(t, resolver(t, Config{Upstreams: []string{s.addr}}), "hop0.test")
			if len(a.Chain) != MaxChain || a.Chain[MaxChain-1] != "hop10.test" || !slices.Equal(a.Addrs, addrs("192.0.2.1")) {
				t.Errorf("got %v", a)
			}
			s = serve(t, row.handler(t, chainZone(MaxChain+1)))
			_, err := resolver(t, Config{Upstreams: []string{s.addr}}).Resolve(t.Context(), "hop0.test")
			if !errors.Is(err, ErrChain) {
				t.Errorf("a chain of %d: %v", MaxChain+1, err)
			}
		})
	}
}

// linkByLink answers with the records of the name asked for and nothing more.
func linkByLink(t testing.TB, records string) dns.HandlerFunc {
	byName := make(map[string][]dns.RR)
	for line := range strings.SplitSeq(strings.TrimSpace(records), "\n") {
		r := rr(t, line)
		byName[r.Header().Name] = append(byName[r.Header().Name], r)
	}
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, r := range byName[q.Question[0].Name] {
			if r.Header().Rrtype == q.Question[0].Qtype || r.Header().Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, r)
			}
		}
		w.WriteMsg(m)
	}
}

func TestLoops(t *testing.T) {
	for _, row := range []struct {
		name, records string
	}{
		{"itself", "a.test. 60 IN CNAME a.test."},
		{"two", "a.test. 60 IN CNAME b.test.\nb.test. 60 IN CNAME a.test."},
		{"a tail", "a.test. 60 IN CNAME b.test.\nb.test. 60 IN CNAME c.test.\nc.test. 60 IN CNAME B.test."},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, handler := range []dns.HandlerFunc{zone(t, row.records), linkByLink(t, row.records)} {
				s := serve(t, handler)
				r := resolver(t, Config{Upstreams: []string{s.addr}})
				if _, err := r.Resolve(t.Context(), "a.test"); !errors.Is(err, ErrChain) {
					t.Errorf("got %v, want ErrChain", err)
				}
				if n := s.queries(""); n > 2*MaxChain {
					t.Errorf("%d queries", n)
				}
			}
		})
	}
}

func TestOddTargets(t *testing.T) {
	for _, target := range []string{`a\.b.test.`, `sp\032ace.test.`, `nul\000.test.`, "192.0.2.1.", ".", "*.test.", `\192\168.test.`, "0x7f000001."} {
		t.Run(target, func(t *testing.T) {
			s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
				m := new(dns.Msg).SetReply(q)
				m.Answer = []dns.RR{
					rr(t, "odd.test. 60 IN CNAME "+target),
					rr(t, target+" 60 IN A 192.0.2.1"),
					rr(t, target+" 60 IN AAAA 2001:db8::1"),
				}
				w.WriteMsg(m)
			})
			r := resolver(t, Config{Upstreams: []string{s.addr}})
			if a, err := r.Resolve(t.Context(), "odd.test"); !errors.Is(err, ErrServer) {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
}

func TestForeignRecordsDoNotCount(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, line := range []string{
			"stranger.test. 60 IN A 203.0.113.1", "stranger.test. 60 IN AAAA 2001:db8::bad",
			"asked.test.stranger.test. 60 IN A 203.0.113.2",
			"asked.test. 60 CH A 203.0.113.3",
		} {
			if r, err := dns.NewRR(line); err == nil {
				m.Answer = append(m.Answer, r)
			}
		}
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr(t, "ASKED.test. 60 IN A 192.0.2.1"))
		}
		m.Extra = append(m.Extra, rr(t, "asked.test. 60 IN A 203.0.113.4"))
		w.WriteMsg(m)
	})
	a := mustResolve(t, resolver(t, Config{Upstreams: []string{s.addr}}), "asked.test")
	if !slices.Equal(a.Addrs, addrs("192.0.2.1")) {
		t.Errorf("got %v", a.Addrs)
	}
}

// forgeries are replies to q that are none, all with an address in them.
func forgeries(t testing.TB, q *dns.Msg) [][]byte {
	t.Helper()
	base := func() *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 60 IN A 203.0.113.66")}
		return m
	}
	var out [][]byte
	for _, alter := range []func(*dns.Msg){
		func(m *dns.Msg) { m.Id++ },
		func(m *dns.Msg) { m.Response = false },
		func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate },
		func(m *dns.Msg) { m.Question[0].Name = "other.test." },
		func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT },
		func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		func(m *dns.Msg) { m.Question = nil },
		func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
	} {
		m := base()
		m.Question = slices.Clone(m.Question)
		alter(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, packed)
	}
	return append(out, nil, []byte{1}, make([]byte, 12), make([]byte, 5000))
}

func TestForgedRepliesArePassedOver(t *testing.T) {
	honest := zone(t, "asked.test. 60 IN A 192.0.2.1\nasked.test. 60 IN AAAA 2001:db8::1")
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		for _, forged := range forgeries(t, q) {
			w.Write(forged)
		}
		honest(w, q)
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}})
	a := mustResolve(t, r, "asked.test")
	if !slices.Equal(a.Addrs, addrs("2001:db8::1", "192.0.2.1")) {
		t.Errorf("got %v", a.Addrs)
	}
	if got := r.Stats(); got.Ignored != 24 || got.Queries != 2 {
		t.Errorf("%+v, want 24 messages ignored of 2 queries", got)
	}
}

func TestForgeriesAloneTimeOut(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		for _, forged := range forgeries(t, q) {
			w.Write(forged)
		}
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}, Timeout: 200 * time.Millisecond})
	if a, err := r.Resolve(t.Context(), "asked.test"); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, %v", a, err)
	}
}

func TestTruncatedReplyIsAskedForOverTCP(t *testing.T) {
	honest := zone(t, "big.test. 60 IN A 192.0.2.1\nbig.test. 60 IN AAAA 2001:db8::1")
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "tcp" {
			honest(w, q)
			return
		}
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		m.Answer = []dns.RR{rr(t, "big.test. 60 IN A 203.0.113.1")} // only a part of the truth
		packed, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		w.Write(packed[:len(packed)-3])
	})
	a := mustResolve(t, resolver(t, Config{Upstreams: []string{s.addr}}), "big.test")
	if !slices.Equal(a.Addrs, addrs("2001:db8::1", "192.0.2.1")) {
		t.Errorf("got %v", a.Addrs)
	}
	if udp, tcp := s.queries("big.test A udp"), s.queries("big.test A tcp"); udp != 1 || tcp != 1 {
		t.Errorf("%d over UDP, %d over TCP", udp, tcp)
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	honest := zone(t, "old.test. 60 IN A 192.0.2.1")
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeFormatError))
			return
		}
		honest(w, q)
	})
	mustResolve(t, resolver(t, Config{Upstreams: []string{s.addr}}), "old.test")
}

func TestFloodOfAddressesIsBounded(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Truncated = w.RemoteAddr().Network() == "udp"
		for i := 0; i < 3000 && !m.Truncated && q.Question[0].Qtype == dns.TypeA; i++ {
			m.Answer = append(m.Answer, rr(t, fmt.Sprintf("flood.test. 60 IN A 192.0.%d.%d", i/250, i%250)))
		}
		m.Compress = true
		w.WriteMsg(m)
	})
	a := mustResolve(t, resolver(t, Config{Upstreams: []string{s.addr}}), "flood.test")
	if len(a.Addrs) != maxAddrs {
		t.Errorf("%d addresses", len(a.Addrs))
	}
}

func rcode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, code)) }
}

func TestFailingServers(t *testing.T) {
	for _, code := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeNotAuth} {
		t.Run(dns.RcodeToString[code], func(t *testing.T) {
			bad, good := serve(t, rcode(code)), serve(t, zone(t, example))
			a := mustResolve(t, resolver(t, Config{Upstreams: []string{bad.addr, good.addr}}), "v4.example.test")
			if !slices.Equal(a.Addrs, addrs("192.0.2.4")) {
				t.Errorf("got %v", a.Addrs)
			}
			c := newClock()
			alone := resolver(t, Config{Upstreams: []string{bad.addr}, Now: c.Now})
			for range 50 {
				if _, err := alone.Resolve(t.Context(), "storm.test"); !errors.Is(err, ErrServer) {
					t.Fatalf("got %v, want ErrServer", err)
				}
			}
			storm := bad.queries("storm.test")
			if storm > 4 { // with and without EDNS, a family
				t.Errorf("a storm of %d queries", storm)
			}
			c.advance(failureTTL)
			alone.Resolve(t.Context(), "storm.test")
			if bad.queries("storm.test") != 2*storm {
				t.Error("the failure was kept for too long")
			}
		})
	}
}

func TestDeadUpstreamSlowsOnlyTheFirst(t *testing.T) {
	good := serve(t, zone(t, "*.test. 0 IN A 192.0.2.1\n"+chainZone(0)))
	c := newClock()
	dead := silence(t)
	r := resolver(t, Config{Upstreams: []string{dead, good.addr}, Timeout: time.Second, Now: c.Now})
	mustResolve(t, r, "hop0.test") // finds out
	before := r.Stats().Queries
	for i := range 20 {
		r.Resolve(t.Context(), fmt.Sprintf("n%d.test", i))
	}
	if n := r.Stats().Queries - before; n != 40 {
		t.Errorf("%d queries for 20 names: the dead server was asked again", n)
	}
	c.advance(downFor)
	before = r.Stats().Queries
	for i := range 20 {
		r.Resolve(t.Context(), fmt.Sprintf("m%d.test", i))
	}
	if n := r.Stats().Queries - before; n != 41 {
		t.Errorf("%d queries for 20 names, want 40 and one trial", n)
	}
}

func TestUpstreamComesBack(t *testing.T) {
	var dead sync.Map
	dead.Store("dead", true)
	honest := zone(t, example)
	first := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if _, silent := dead.Load("dead"); !silent {
			honest(w, q)
		}
	})
	second := serve(t, honest)
	c := newClock()
	r := resolver(t, Config{Upstreams: []string{first.addr, second.addr}, Timeout: time.Second, Now: c.Now})
	mustResolve(t, r, "v4.example.test")
	dead.Delete("dead")
	c.advance(downFor)
	mustResolve(t, r, "v6.example.test") // one of its queries tries
	mustResolve(t, r, "both.example.test")
	if n := second.queries("both.example.test"); n != 0 {
		t.Errorf("the second server was asked %d times though the first is back", n)
	}
}

func TestNobodyListens(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	r := resolver(t, Config{Upstreams: []string{conn.LocalAddr().String()}})
	if _, err := r.Resolve(t.Context(), "a.test"); !errors.Is(err, ErrServer) {
		t.Errorf("got %v, want ErrServer", err)
	}
	if got := r.Stats(); got.Failures != 1 {
		t.Errorf("%+v", got)
	}
}

func TestOneFamilyFails(t *testing.T) {
	for _, row := range []struct {
		name  string
		other func(w dns.ResponseWriter, q *dns.Msg)
	}{
		{"silence", func(dns.ResponseWriter, *dns.Msg) {}},
		{"SERVFAIL", rcode(dns.RcodeServerFailure)},
		{"NXDOMAIN", rcode(dns.RcodeNameError)},
	} {
		for qtype, want := range map[uint16]string{dns.TypeA: "192.0.2.1", dns.TypeAAAA: "2001:db8::1"} {
			t.Run(row.name+" but "+dns.TypeToString[qtype], func(t *testing.T) {
				honest := zone(t, "half.test. 60 IN A 192.0.2.1\nhalf.test. 60 IN AAAA 2001:db8::1")
				s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
					if q.Question[0].Qtype == qtype {
						honest(w, q)
						return
					}
					row.other(w, q)
				})
				r := resolver(t, Config{Upstreams: []string{s.addr}, Timeout: time.Minute})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // far less than one attempt
				defer cancel()
				a, err := r.Resolve(ctx, "half.test")
				if err != nil || !slices.Equal(a.Addrs, addrs(want)) {
					t.Errorf("got %v, %v", a.Addrs, err)
				}
			})
		}
	}
}

func TestOneQueryInFlight(t *testing.T) {
	release := make(chan struct{})
	honest := zone(t, example)
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		honest(w, q)
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}, Timeout: time.Minute})
	const callers = 100
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if a, err := r.Resolve(t.Context(), "both.example.test"); err != nil || len(a.Addrs) != 3 {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
	eventually(t, "all but one wait for the first", func() bool { return r.Stats().Merged == callers-1 })
	close(release)
	wg.Wait()
	if a, aaaa := s.queries("both.example.test A "), s.queries("both.example.test AAAA "); a != 1 || aaaa != 1 {
		t.Errorf("%d queries for A, %d for AAAA", a, aaaa)
	}
}

func TestCancelledCallerLeavesTheOthers(t *testing.T) {
	release := make(chan struct{})
	honest := zone(t, example)
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "v4.") {
			<-release
		}
		honest(w, q)
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := r.Resolve(ctx, "v4.example.test"); first <- err }()
	eventually(t, "the query is out", func() bool { return s.queries("v4.example.test") == 2 })
	go func() { _, err := r.Resolve(t.Context(), "v4.example.test"); second <- err }()
	eventually(t, "the second waits too", func() bool { return r.Stats().Merged == 1 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled caller got %v", err)
	}
	mustResolve(t, r, "both.example.test") // time for the other to go wrong
	mustResolve(t, r, "v6.example.test")
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the other caller got %v", err)
	}
}

func TestLastCallerEndsTheLookup(t *testing.T) {
	r := resolver(t, Config{Upstreams: []string{silence(t)}, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := r.Resolve(ctx, "a.test"); done <- err }()
	eventually(t, "the queries are out", func() bool { return r.Stats().Queries == 2 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.work.Wait() // an hour, if it went on
	if got := r.Stats(); got.Kept != 0 {
		t.Errorf("%+v: something was kept of a lookup that nobody waited for", got)
	}
}

func TestCallersDeadline(t *testing.T) {
	r := resolver(t, Config{Upstreams: []string{silence(t)}, Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Resolve(ctx, "a.test"); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestNoNameWaitsForAnother(t *testing.T) {
	honest := zone(t, example)
	release := make(chan struct{})
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			<-release
		}
		honest(w, q)
	})
	r := resolver(t, Config{Upstreams: []string{s.addr}, Timeout: time.Minute})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { r.Resolve(t.Context(), fmt.Sprintf("slow%d.test", i)) })
	}
	eventually(t, "50 names are slow", func() bool { return s.queries("slow") == 100 })
	mustResolve(t, r, "both.example.test")
	close(release)
	wg.Wait()
}

func TestClose(t *testing.T) {
	r, err := New(Config{Upstreams: []string{silence(t)}, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := r.Resolve(context.Background(), "a.test"); done <- err }()
	eventually(t, "the queries are out", func() bool { return r.Stats().Queries == 2 })
	r.Close()
	if err := <-done; err == nil {
		t.Error("the lookup ended without an error")
	}
	if _, err := r.Resolve(t.Context(), "b.test"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func BenchmarkCached(b *testing.B) {
	s := serve(b, zone(b, example))
	for name, c := range map[string]Config{
		"configured": {Upstreams: []string{s.addr}},
		"system":     systemConfig(b, s, "192.0.2.77 other.test"),
	} {
		b.Run(name, func(b *testing.B) {
			r := resolver(b, c)
			mustResolve(b, r, "both.example.test")
			ctx := b.Context()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := r.Resolve(ctx, "both.example.test"); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
