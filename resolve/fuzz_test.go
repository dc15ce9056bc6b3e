package resolve

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/exeat/exeat/flow"
)

// FuzzAnswer reads any message as the reply to a question.
func FuzzAnswer(f *testing.F) {
	for _, lines := range [][]string{
		{"asked.test. 60 IN A 192.0.2.1", "asked.test. 60 IN AAAA 2001:db8::1"},
		{"asked.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME c.test.", "c.test. 60 IN A 192.0.2.1"},
		{"asked.test. 60 IN CNAME asked.test."},
		{`asked.test. 60 IN CNAME o\.dd.test.`, `o\.dd.test. 60 IN A 192.0.2.1`},
		{"stranger.test. 60 IN A 192.0.2.1"},
		{"asked.test. 60 IN DNAME b.test."},
		{"asked.test. 4294967295 IN A 192.0.2.1"},
		nil,
	} {
		for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure} {
			m := new(dns.Msg).SetQuestion("asked.test.", dns.TypeA)
			m.Id, m.Response, m.Rcode, m.Compress = 1, true, rcode, true
			for _, line := range lines {
				m.Answer = append(m.Answer, rr(f, line))
			}
			m.Ns = []dns.RR{rr(f, "test. 900 IN SOA ns.test. admin.test. 1 2 3 4 60")}
			m.SetEdns0(1232, false)
			packed, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed, uint16(1), false)
			f.Add(packed, uint16(2), true)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte, id uint16, six bool) {
		q := question{id: id, name: "asked.test", qtype: dns.TypeA}
		if six {
			q.qtype = dns.TypeAAAA
		}
		rep, err := parseReply(msg, q)
		if len(msg) >= 2 && binary.BigEndian.Uint16(msg) != id && !errors.Is(err, errForeign) {
			t.Fatalf("another id: %v", err)
		}
		if err != nil {
			if !reflect.DeepEqual(rep, reply{}) {
				t.Fatalf("a reply %v with the error %v", rep, err)
			}
			return
		}
		checkReply(t, q, rep)
		again, err := parseReply(msg, q)
		if err != nil || !reflect.DeepEqual(rep, again) {
			t.Fatalf("%v, and then %v, %v", rep, again, err)
		}
	})
}

// checkReply holds what is true of every reply.
func checkReply(t *testing.T, q question, rep reply) {
	t.Helper()
	if rep.ttl < 0 || rep.ttl > maxTTL || rep.kind == 0 {
		t.Fatalf("%+v", rep)
	}
	if (rep.kind == found) != (len(rep.addrs) > 0) || len(rep.addrs) > maxAddrs {
		t.Fatalf("kind %d with %d addresses", rep.kind, len(rep.addrs))
	}
	for i, a := range rep.addrs {
		if a.Is4() != (q.qtype == dns.TypeA) || a.Zone() != "" || slices.Contains(rep.addrs[:i], a) {
			t.Fatalf("addresses %v", rep.addrs)
		}
	}
	if len(rep.chain) > MaxChain {
		t.Fatalf("a chain of %d", len(rep.chain))
	}
	for i, name := range rep.chain {
		canonical, err := flow.ParseHost(name)
		if _, isAddr := netip.ParseAddr(name); err != nil || canonical != name || isAddr == nil {
			t.Fatalf("%q is in the chain", name)
		}
		if name == q.name || slices.Contains(rep.chain[:i], name) {
			t.Fatalf("a loop: %q", rep.chain)
		}
	}
}
