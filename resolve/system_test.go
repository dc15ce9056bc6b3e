package resolve

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// systemConfig is a Config in system mode whose files are the test's own. A
// resolv.conf can't name a port, so Dial sends what goes to 192.0.2.53 to s
// and drops the rest.
func systemConfig(t testing.TB, s *testServer, hosts string) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		ResolvConf: filepath.Join(dir, "resolv.conf"),
		Hosts:      filepath.Join(dir, "hosts"),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "192.0.2.53:53" {
				return nil, errors.New("no route to " + address)
			}
			return new(net.Dialer).DialContext(ctx, network, s.addr)
		},
	}
	write(t, c.ResolvConf, "# a comment\nsearch example.test\nnameserver 192.0.2.53\noptions ndots:5\n")
	write(t, c.Hosts, hosts)
	return c
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSystemServers(t *testing.T) {
	s := serve(t, zone(t, example))
	r := resolver(t, systemConfig(t, s, ""))
	mustResolve(t, r, "v4.example.test")
	if _, err := r.Resolve(t.Context(), "v4"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a search domain was used: %v", err)
	}
}

func TestHostsFile(t *testing.T) {
	s := serve(t, zone(t, example))
	c := systemConfig(t, s, strings.Join([]string{
		"192.0.2.50   V4.example.test. printer # the printer",
		"2001:db8::50 printer",
		"192.0.2.51   printer",
		"192.0.2.52   localhost",
		"fe80::1%eth0 zoned.test",
		"nonsense     nonsense.test",
		"192.0.2.53",
		"# 192.0.2.54 commented.test",
	}, "\n"))
	clock := newClock()
	c.Now = clock.Now
	r := resolver(t, c)
	if a := mustResolve(t, r, "v4.example.test"); !slices.Equal(a.Addrs, addrs("192.0.2.50")) || a.Name != "v4.example.test" {
		t.Errorf("got %v", a)
	}
	if a := mustResolve(t, r, "printer"); !slices.Equal(a.Addrs, addrs("2001:db8::50", "192.0.2.50", "192.0.2.51")) {
		t.Errorf("got %v", a)
	}
	if a := mustResolve(t, r, "localhost"); !slices.Equal(a.Addrs, addrs("::1", "127.0.0.1")) {
		t.Errorf("localhost is %v", a.Addrs)
	}
	for _, name := range []string{"zoned.test", "nonsense.test", "commented.test"} {
		if _, err := r.Resolve(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.queries("printer") + s.queries("v4.example.test"); n != 0 {
		t.Errorf("%d queries for names of the hosts file", n)
	}

	write(t, c.Hosts, "192.0.2.99 printer\n")
	clock.advance(recheck)
	if a := mustResolve(t, r, "printer"); !slices.Equal(a.Addrs, addrs("192.0.2.99")) {
		t.Errorf("after a change: %v", a.Addrs)
	}
	if a := mustResolve(t, r, "v4.example.test"); !slices.Equal(a.Addrs, addrs("192.0.2.4")) {
		t.Errorf("after its removal: %v", a.Addrs)
	}
}

func TestResolvConfIsReadAgain(t *testing.T) {
	s := serve(t, zone(t, example))
	clock := newClock()
	c := systemConfig(t, s, "")
	c.Now = clock.Now
	write(t, c.ResolvConf, "nameserver 192.0.2.1\n")
	r := resolver(t, c)
	if _, err := r.Resolve(t.Context(), "v4.example.test"); !errors.Is(err, ErrServer) {
		t.Fatalf("got %v", err)
	}
	write(t, c.ResolvConf, "nameserver 192.0.2.53\nnameserver 192.0.2.1\n")
	clock.advance(recheck)
	r.Resolve(t.Context(), "v6.example.test") // takes notice, and forgets what was kept
	mustResolve(t, r, "v4.example.test")

	write(t, c.ResolvConf, "nameserver nonsense and so on\n")
	clock.advance(recheck)
	mustResolve(t, r, "both.example.test") // a bad file changes nothing
}

func TestSystemFilesThatAreMissingOrBad(t *testing.T) {
	dir := t.TempDir()
	var asked []string
	r := resolver(t, Config{
		ResolvConf: filepath.Join(dir, "none"), Hosts: filepath.Join(dir, "none"),
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			asked = append(asked, address)
			return nil, errors.New("no route")
		},
	})
	if _, err := r.ask(t.Context(), "a.test", 1); !errors.Is(err, ErrServer) || !slices.Equal(asked, []string{"127.0.0.1:53"}) {
		t.Errorf("without resolv.conf: asked %v, %v", asked, err)
	}
	if _, err := New(Config{ResolvConf: dir, Hosts: filepath.Join(dir, "none")}); err == nil {
		t.Error("a directory was read as resolv.conf")
	}
}

func TestUpstreamForms(t *testing.T) {
	for _, row := range []struct{ in, addr, name string }{
		{"192.0.2.1", "192.0.2.1:53", ""},
		{"192.0.2.1:5353", "192.0.2.1:5353", ""},
		{"2001:db8::1", "[2001:db8::1]:53", ""},
		{"[2001:db8::1]", "[2001:db8::1]:53", ""},
		{"[2001:db8::1]:54", "[2001:db8::1]:54", ""},
		{"fe80::1%eth0", "[fe80::1%eth0]:53", ""},
		{"dns", "dns:53", ""},
		{"dns:5353", "dns:5353", ""},
		{"tls://192.0.2.1", "192.0.2.1:853", "192.0.2.1"},
		{"tls://DNS.example", "dns.example:853", "dns.example"},
		{"tls://dns.example:8853", "dns.example:8853", "dns.example"},
		{"tls://dns.example@192.0.2.1", "192.0.2.1:853", "dns.example"},
		{"tls://dns.example@[2001:db8::1]:8853", "[2001:db8::1]:8853", "dns.example"},
	} {
		u, err := parseUpstream(row.in, nil)
		if err != nil {
			t.Errorf("%s: %v", row.in, err)
			continue
		}
		name := ""
		if u.tls != nil {
			name = u.tls.ServerName
		}
		if u.addr != row.addr || name != row.name {
			t.Errorf("%s: %s for %q, want %s for %q", row.in, u.addr, name, row.addr, row.name)
		}
	}
	for _, bad := range []string{"", ":53", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:99999", "https://dns.example", "tls://", "tls://@192.0.2.1", "a b", "tls://x@", "1.2.3"} {
		if u, err := New(Config{Upstreams: []string{bad}}); err == nil {
			u.Close()
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPartialAnswersAreKeptBriefly(t *testing.T) {
	now := time.Unix(0, 0)
	four := family{reply: reply{kind: found, addrs: addrs("192.0.2.1"), ttl: time.Hour}}
	none := family{reply: reply{kind: noData, ttl: time.Second}}
	if out := combine("a.test", none, four, now); out.keep != time.Hour {
		t.Errorf("with an empty family it is kept for %v", out.keep)
	}
	if out := combine("a.test", family{err: ErrTimeout}, four, now); out.keep != partialTTL || !out.answer.Expires.Equal(now.Add(partialTTL)) {
		t.Errorf("with a silent family it is kept for %v, until %v", out.keep, out.answer.Expires)
	}
	for _, row := range []struct {
		six, four family
		want      error
	}{
		{none, family{err: ErrTimeout}, ErrTimeout},
		{family{err: ErrTimeout}, family{err: ErrServer}, ErrServer},
		{family{err: ErrChain}, family{err: ErrTimeout}, ErrChain},
		{family{reply: reply{kind: noName}}, family{err: ErrServer}, ErrNotFound},
		{family{reply: reply{kind: noName}}, none, ErrNoAddress},
	} {
		if out := combine("a.test", row.six, row.four, now); !errors.Is(out.err, row.want) {
			t.Errorf("%v and %v: %v, want %v", row.six, row.four, out.err, row.want)
		}
		if out := combine("a.test", row.four, row.six, now); !errors.Is(out.err, row.want) {
			t.Errorf("%v and %v: %v, want %v", row.four, row.six, out.err, row.want)
		}
	}
}
