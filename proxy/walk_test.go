package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/proxy/proxytest"
	"github.com/exeat/exeat/resolve"
)

// scene is a house with one server and a TLS origin at api.test.
type scene struct {
	*proxytest.House
	server identity.Server
	token  string
	origin *proxytest.Origin
	target string
	proxy  *proxy.Proxy
	addr   string
}

func newScene(t *testing.T, mode identity.Mode, change func(*proxy.Config)) *scene {
	t.Helper()
	s := &scene{House: proxytest.New(t)}
	s.server, s.token = s.Server(t, "calendar", mode)
	s.origin = proxytest.TLSEcho(t, s.CA, "api.test")
	s.target = "api.test:" + s.origin.Port()
	s.Resolver.Add("api.test", "127.0.0.1")
	s.proxy, s.addr = s.Start(t, change)
	return s
}

// connect opens a tunnel to target.
func (s *scene) connect(t *testing.T, target string) *net.TCPConn {
	t.Helper()
	return proxytest.Connect(t, s.addr, target, "calendar", s.token)
}

// ask sends a CONNECT for target and returns the answer.
func (s *scene) ask(t *testing.T, target string) proxytest.Answer {
	t.Helper()
	_, a := proxytest.Send(t, s.addr, proxytest.Head(target, "calendar", s.token))
	return a
}

// echo sends message and waits for it to come back.
func echo(t *testing.T, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != message {
		t.Fatalf("got %q back", got)
	}
}

func TestVerifiedTunnel(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	s.Approve(t, s.server, s.target)
	s.Resolver.Set(resolve.Answer{Name: "api.test", Chain: []string{"cdn.test"}, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	conn := s.connect(t, s.target)
	tunnel := proxytest.TLS(s.CA, conn, "api.test")
	echo(t, tunnel, "hello")
	opened := s.Journal.WaitOpened(t, 1)[0]
	live := s.proxy.Live()
	if len(live) != 1 || live[0].ID != opened.ID || live[0].BytesUp == 0 || live[0].BytesDown == 0 || live[0].End != "" {
		t.Errorf("live: %+v", live)
	}
	conn.Close()
	f := s.Journal.WaitClosed(t, 1)[0]
	if f.Grade != flow.GradeVerified || f.Verdict != flow.Allowed || f.Reason != flow.ReasonApproved || f.End != flow.EndClient {
		t.Errorf("grade %s, %s for %s, end %s", f.Grade, f.Verdict, f.Reason, f.End)
	}
	if f.SNI != "api.test" || f.JA4 == "" || !slices.Equal(f.ALPN, []string{"http/1.1"}) || f.IP.String() != "127.0.0.1" {
		t.Errorf("SNI %q, JA4 %q, ALPN %q, IP %s", f.SNI, f.JA4, f.ALPN, f.IP)
	}
	if f.ServerID != s.server.ID || f.Host != "api.test" || f.Method != flow.MethodConnect || !slices.Equal(f.Chain, []string{"cdn.test"}) {
		t.Errorf("flow: %+v", f)
	}
	if received, _ := s.origin.Received(); f.BytesUp != received {
		t.Errorf("%d bytes up, the origin got %d", f.BytesUp, received)
	}
	if f.Opened.IsZero() || f.Closed.Before(f.Opened) {
		t.Errorf("opened %v, closed %v", f.Opened, f.Closed)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   identity.Mode
		target string // HOST:PORT; PORT stands for the origin's port
		before func(*testing.T, *scene)
		status int
		reason flow.Reason
		end    flow.End
		alarm  bool
		asked  int // DNS queries
	}{
		{name: "new destination", mode: identity.ModeBlock, target: "evil.test:443", status: 403, reason: flow.ReasonNewDestination, end: flow.EndRefused, alarm: true},
		{name: "risky destination", mode: identity.ModeBlock, target: "drop.test:443", status: 403, reason: flow.ReasonRiskyDestination, end: flow.EndRefused, alarm: true,
			before: func(_ *testing.T, s *scene) { s.Risky["drop.test"] = "file drop" }},
		{name: "rejected", mode: identity.ModeLearn, target: "bad.test:443", status: 403, reason: flow.ReasonRejected, end: flow.EndRefused,
			before: func(t *testing.T, s *scene) { s.Reject(t, s.server, "bad.test:443") }},
		{name: "metadata", mode: identity.ModeLearn, target: "169.254.169.254:80", status: 403, reason: flow.ReasonMetadataAccess, end: flow.EndRefused, alarm: true},
		{name: "private literal", mode: identity.ModeLearn, target: "10.1.2.3:443", status: 403, reason: flow.ReasonPrivateAddress, end: flow.EndRefused, alarm: true},
		{name: "private by name", mode: identity.ModeLearn, target: "inside.test:443", status: 403, reason: flow.ReasonPrivateAddress, end: flow.EndRefused, alarm: true, asked: 1,
			before: func(_ *testing.T, s *scene) { s.Resolver.Add("inside.test", "10.1.2.3", "fd00::1") }},
		{name: "ourselves by name", mode: identity.ModeLearn, target: "self.test:PORT", status: 403, reason: flow.ReasonSelfAccess, end: flow.EndRefused, alarm: true, asked: 1,
			before: func(_ *testing.T, s *scene) {
				s.Resolver.Add("self.test", "127.0.0.1")
				g := *s.Guard.Load()
				g.OwnPorts = []uint16{s.origin.Addr.Port()}
				s.Guard.Store(&g)
			}},
		{name: "IP literal", mode: identity.ModeBlock, target: "127.0.0.1:PORT", status: 403, reason: flow.ReasonIPLiteral, end: flow.EndRefused, alarm: true},
		{name: "unknown name", mode: identity.ModeLearn, target: "nowhere.test:443", status: 502, reason: flow.ReasonDNSFailed, end: flow.EndFailed, asked: 1},
		{name: "name without an address", mode: identity.ModeLearn, target: "empty.test:443", status: 502, reason: flow.ReasonDNSFailed, end: flow.EndFailed, asked: 1,
			before: func(_ *testing.T, s *scene) { s.Resolver.Add("empty.test") }},
		{name: "nobody listens", mode: identity.ModeLearn, target: "closed.test:1", status: 502, reason: flow.ReasonDialFailed, end: flow.EndFailed, asked: 1,
			before: func(_ *testing.T, s *scene) { s.Resolver.Add("closed.test", "127.0.0.1") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, test.mode, nil)
			if test.before != nil {
				test.before(t, s)
			}
			target := strings.ReplaceAll(test.target, "PORT", s.origin.Port())
			expectRefusal(t, s, target, test.status, test.reason)
			f := s.Journal.WaitClosed(t, 1)[0]
			if f.Reason != test.reason || f.End != test.end {
				t.Errorf("flow: %s, end %s", f.Reason, f.End)
			}
			if want := (test.end == flow.EndFailed); (f.Verdict == flow.Allowed) != want {
				t.Errorf("verdict %s", f.Verdict)
			}
			if got := len(s.Journal.WaitAlarms(t, 0)); (got == 1) != test.alarm || got > 1 {
				t.Errorf("%d alarms, want %v", got, test.alarm)
			}
			if asked := s.Resolver.Asked(); len(asked) != test.asked {
				t.Errorf("asked the DNS for %q", asked)
			}
			if _, conns := s.origin.Received(); conns != 0 {
				t.Errorf("%d connections reached the origin", conns)
			}
		})
	}
}

// expectRefusal asks for target and looks at everything that a client is told.
func expectRefusal(t *testing.T, s *scene, target string, status int, reason flow.Reason) {
	t.Helper()
	a := s.ask(t, target)
	if a.Status != status || a.Reason != string(reason) {
		t.Errorf("%d %s; want %d %s", a.Status, a.Reason, status, reason)
	}
	if !strings.Contains(a.Phrase, "exeat: "+string(reason)+" "+target) {
		t.Errorf("status line %q", a.Phrase)
	}
	if !strings.Contains(a.Body, "calendar asked for "+target) || strings.Count(a.Body, "\n") != 2 {
		t.Errorf("body %q", a.Body)
	}
	if n := s.proxy.Counters().Refused[reason]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestDialTimeout(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) {
		c.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c.Limits.DialTimeout = 20 * time.Millisecond
	})
	if a := s.ask(t, s.target); a.Status != 504 || a.Reason != "dial_timeout" {
		t.Errorf("%s", a.Phrase)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != flow.ReasonDialTimeout || f.End != flow.EndFailed {
		t.Errorf("%s, %s", f.Reason, f.End)
	}
}

func TestDNSTimeout(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Resolver = failing{resolve.ErrTimeout} })
	if a := s.ask(t, s.target); a.Status != 504 || a.Reason != "dns_failed" {
		t.Errorf("%s", a.Phrase)
	}
}

type failing struct{ err error }

func (f failing) Resolve(context.Context, string) (resolve.Answer, error) {
	return resolve.Answer{}, f.err
}

// TestMixedAnswer: the whole answer is judged, in whatever order it comes. What
// may be dialled is; a metadata service or Exeat itself beside it is worth an
// alarm, about a flow that goes on; a private address is not.
func TestMixedAnswer(t *testing.T) {
	const inside, own, metadata, open = "10.1.2.3", "::1", "169.254.169.254", "93.184.216.34"
	for _, test := range []struct {
		addrs  []string
		reason flow.Reason // of the flow
		alarms []string    // what they are about, in order
	}{
		{[]string{inside, open, "fd00::1"}, flow.ReasonLearning, nil},
		{[]string{inside, metadata, open}, flow.ReasonLearning, []string{"allowed metadata_access 169.254.169.254"}},
		{[]string{open, own}, flow.ReasonLearning, []string{"allowed self_access ::1"}},
		{[]string{inside, own, metadata, open}, flow.ReasonLearning, []string{"allowed self_access ::1", "allowed metadata_access 169.254.169.254"}},
		{[]string{inside, metadata, own}, flow.ReasonMetadataAccess, []string{"refused metadata_access 169.254.169.254"}},
		{[]string{inside, own}, flow.ReasonSelfAccess, []string{"refused self_access ::1"}},
	} {
		t.Run(strings.Join(test.addrs, " "), func(t *testing.T) {
			t.Parallel()
			var dialled []string
			origin := proxytest.Echo(t)
			s := newScene(t, identity.ModeLearn, func(c *proxy.Config) {
				c.Dial = func(_ context.Context, ap netip.AddrPort) (net.Conn, error) {
					dialled = append(dialled, ap.Addr().String()) // by the walk, which is over before its flow is reported
					conn, err := net.Dial("tcp", origin.Addr.String())
					return farConn{conn, ap}, err
				}
			})
			s.Guard.Store(&policy.Guard{OwnPorts: []uint16{443}})
			s.Resolver.Add("mixed.test", test.addrs...)
			conn, a := proxytest.Send(t, s.addr, proxytest.Head("mixed.test:443", "calendar", s.token))
			if a.Status == http.StatusOK {
				conn.Write(proxytest.Hello(t, "mixed.test"))
				s.Journal.WaitOpened(t, 1)
			} else if a.Reason != string(test.reason) {
				t.Errorf("%s", a.Phrase)
			}
			conn.Close()
			if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != test.reason {
				t.Errorf("%s for %s", f.Verdict, f.Reason)
			}
			var alarms []string
			for _, a := range s.Journal.WaitAlarms(t, 0) {
				alarms = append(alarms, fmt.Sprintf("%s %s %s", a.Flow.Verdict, a.Reason, a.Flow.IP))
			}
			if !slices.Equal(alarms, test.alarms) {
				t.Errorf("alarms: %q", alarms)
			}
			if a.Status == http.StatusOK && !slices.Equal(dialled, []string{open}) || a.Status != http.StatusOK && len(dialled) > 0 {
				t.Errorf("dialled %q", dialled)
			}
		})
	}
}

// farConn is a connection to loopback that says it leads elsewhere.
type farConn struct {
	net.Conn
	to netip.AddrPort
}

func (c farConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// TestMixedAnswerAlarmIsStored: the flow goes on only once the alarm is on disk.
func TestMixedAnswerAlarmIsStored(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	s.Journal.OnAlarm = func(proxytest.Alarm) error { return errors.New("the disk is full") }
	target := "mixed.test:" + s.origin.Port()
	s.Approve(t, s.server, target)
	s.Resolver.Add("mixed.test", "127.0.0.1", "169.254.169.254")
	if a := s.ask(t, target); a.Status != 503 || a.Reason != string(flow.ReasonStoreUnavailable) {
		t.Errorf("%s", a.Phrase)
	}
}

// TestFallback: the second address is tried when the first does not answer.
func TestFallback(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	s.Resolver.Add("two.test", "::1", "127.0.0.1") // the origin listens on IPv4 only
	s.connect(t, "two.test:"+s.origin.Port()).Write(proxytest.Hello(t, "two.test"))
	if f := s.Journal.WaitOpened(t, 1)[0]; f.IP.String() != "127.0.0.1" {
		t.Errorf("dialled %s", f.IP)
	}
}

// TestGuardAtTheSocket: even an address that policy let through is not dialled
// when the guard in force at that moment refuses it.
func TestGuardAtTheSocket(t *testing.T) {
	s := newScene(t, identity.ModeAlert, nil)
	s.Journal.OnAlarm = func(proxytest.Alarm) error { return nil }
	s.Resolver.Add("shift.test", "127.0.0.1")
	closed := &policy.Guard{}
	calls := 0
	_, addr := s.Start(t, func(c *proxy.Config) {
		c.Guard = func() *policy.Guard {
			if calls++; calls > 2 { // the name, the address; then the socket
				return closed
			}
			return s.Guard.Load()
		}
	})
	_, a := proxytest.Send(t, addr, proxytest.Head("shift.test:"+s.origin.Port(), "calendar", s.token))
	if a.Status != 403 || a.Reason != "private_address" {
		t.Errorf("%s", a.Phrase)
	}
}

func TestAuthentication(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	head := func(fields string) string {
		return "CONNECT " + s.target + " HTTP/1.1\r\n" + fields + "\r\n"
	}
	good := "Proxy-Authorization: " + proxytest.Basic("calendar", s.token) + "\r\n"
	_, otherToken := s.Server(t, "mail", identity.ModeLearn)
	for _, test := range []struct {
		name, fields string
		status       int
		close        bool
		failures     int
	}{
		{"right", good, 200, false, 0},
		{"missing", "", 407, false, 0},
		{"missing, HTTP closes", "Connection: close\r\n", 407, true, 0},
		{"another scheme", "Proxy-Authorization: Bearer x\r\n", 407, false, 0},
		{"wrong token", "Proxy-Authorization: " + proxytest.Basic("calendar", "wrong") + "\r\n", 407, true, 1},
		{"another server's token", "Proxy-Authorization: " + proxytest.Basic("calendar", otherToken) + "\r\n", 407, true, 1},
		{"no token", "Proxy-Authorization: " + proxytest.Basic("calendar", "") + "\r\n", 407, true, 1},
		{"name in capitals", "Proxy-Authorization: " + proxytest.Basic("Calendar", s.token) + "\r\n", 407, true, 1},
		{"percent-encoded", "Proxy-Authorization: " + proxytest.Basic("%63alendar", s.token) + "\r\n", 407, true, 1},
		{"twice", good + good, 400, true, 0},
		{"an identity field", "X-Exeat-Server: calendar\r\n", 407, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.Journal.Failures())
			conn, a := proxytest.Send(t, s.addr, head(test.fields))
			if a.Status != test.status {
				t.Fatalf("%s", a.Phrase)
			}
			if test.status == 407 && a.Header.Get("Proxy-Authenticate") != `Basic realm="exeat"` {
				t.Errorf("challenge %q", a.Header.Get("Proxy-Authenticate"))
			}
			if n := len(s.Journal.Failures()) - before; n != test.failures {
				t.Errorf("%d failures reported", n)
			}
			if test.close {
				expectEOF(t, conn)
				return
			}
			if test.status == 407 {
				// As git does: once more, on the same connection.
				io.WriteString(conn, head(good))
				if a := proxytest.ReadAnswer(t, conn); a.Status != 200 {
					t.Errorf("second try: %s", a.Phrase)
				}
			}
		})
	}
	if asked := s.Resolver.Asked(); slices.ContainsFunc(asked, func(n string) bool { return n != "api.test" }) {
		t.Errorf("asked for %q", asked)
	}
}

func TestFailedAuthenticationAsksNoDNS(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	proxytest.Send(t, s.addr, proxytest.Head("secret-in-a-label.test:443", "calendar", "wrong"))
	if asked := s.Resolver.Asked(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
}

func TestCredentialRetriesAreBounded(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	conn := proxytest.Dial(t, s.addr)
	for range 4 {
		io.WriteString(conn, "CONNECT api.test:443 HTTP/1.1\r\n\r\n")
		if a := proxytest.ReadAnswer(t, conn); a.Status != 407 {
			t.Fatalf("%s", a.Phrase)
		}
	}
	expectEOF(t, conn)
}

func TestThrottle(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) {
		c.Identities = throttled{c.Identities}
	})
	conn, a := proxytest.Send(t, s.addr, proxytest.Head(s.target, "calendar", "wrong"))
	if a.Status != 407 {
		t.Errorf("%s", a.Phrase)
	}
	expectEOF(t, conn)
	if n := s.proxy.Counters().AuthThrottled; n != 1 {
		t.Errorf("counted %d", n)
	}
}

type throttled struct{ proxy.Authenticator }

func (throttled) Authenticate(string, string, netip.Addr) (identity.Grant, error) {
	return identity.Grant{}, identity.ErrThrottled
}

func TestRevokedServerIsTold(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if a := s.ask(t, s.target); a.Status != 403 || a.Reason != "revoked" {
		t.Errorf("%s", a.Phrase)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != flow.ReasonRevoked || f.End != flow.EndRefused {
		t.Errorf("%s, %s", f.Reason, f.End)
	}
	if asked := s.Resolver.Asked(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
}

func TestBadTargets(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	for _, target := range []string{
		"api.test", "api.test:", "api.test:0", "api.test:65536", "api.test:+443", "api.test:0443", ":443",
		"user@api.test:443", "api..test:443", "-api.test:443", "api.test%00.evil.test:443", "api.test/:443",
		"2130706433:443", "0x7f.1:443", "127.1:443", "0177.0.0.1:443", "[::1%25lo]:443", "[127.0.0.1]:443", "::1:443", "[::1]443",
		"ápi.test:443", "http://api.test:443", "api.test:443:443", "*.test:443",
	} {
		t.Run(target, func(t *testing.T) {
			_, a := proxytest.Send(t, s.addr, proxytest.Head(target, "calendar", s.token))
			if a.Status != http.StatusBadRequest || a.Reason != "bad_request" {
				t.Errorf("%s", a.Phrase)
			}
			if strings.Contains(a.Body+a.Phrase, "evil") {
				t.Errorf("the input is in the answer: %q", a.Body)
			}
		})
	}
	if asked := s.Resolver.Asked(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
}

func TestTargetIsMadeCanonicalOnce(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	s.Approve(t, s.server, s.target)
	conn := s.connect(t, "API.Test.:"+s.origin.Port())
	echo(t, proxytest.TLS(s.CA, conn, "api.test"), "hello")
	if f := s.Journal.WaitOpened(t, 1)[0]; f.Host != "api.test" || f.Grade != flow.GradeVerified {
		t.Errorf("host %q, grade %s", f.Host, f.Grade)
	}
}

// TestAlarmComesFirst is promise 1: while the alert about a new destination is
// not on disk, neither DNS nor the destination hears of it.
func TestAlarmComesFirst(t *testing.T) {
	s := newScene(t, identity.ModeAlert, nil)
	release := make(chan error)
	s.Journal.OnAlarm = func(proxytest.Alarm) error { return <-release }
	conn := proxytest.Dial(t, s.addr)
	io.WriteString(conn, proxytest.Head(s.target, "calendar", s.token))
	if a := s.Journal.WaitAlarms(t, 1)[0]; a.Reason != flow.ReasonNewDestination || a.Flow.Host != "api.test" {
		t.Errorf("alarm: %+v", a)
	}
	if asked := s.Resolver.Asked(); len(asked) != 0 {
		t.Errorf("asked for %q before the alarm was kept", asked)
	}
	if _, conns := s.origin.Received(); conns != 0 {
		t.Error("connected before the alarm was kept")
	}
	release <- nil
	if a := proxytest.ReadAnswer(t, conn); a.Status != 200 {
		t.Fatalf("%s", a.Phrase)
	}
	// The second alarm of this walk is about what the hello shows.
	conn.Write(proxytest.Hello(t, ""))
	if a := s.Journal.WaitAlarms(t, 2)[1]; a.Reason != flow.ReasonNoSNI {
		t.Errorf("alarm: %+v", a)
	}
	if received, _ := s.origin.Received(); received != 0 {
		t.Errorf("%d bytes left before the alarm was kept", received)
	}
	release <- nil
	s.Journal.WaitOpened(t, 1)
}

func TestAlarmThatFails(t *testing.T) {
	for _, test := range []struct {
		mode   identity.Mode
		target string
		status int
		reason string
	}{
		{identity.ModeAlert, "api.test", 503, "store_unavailable"},
		{identity.ModeBlock, "api.test", 403, "new_destination"},
		{identity.ModeLearn, "drop.test", 200, ""},
		{identity.ModeAlert, "approved.test", 200, ""},
	} {
		t.Run(string(test.mode)+" "+test.target, func(t *testing.T) {
			s := newScene(t, test.mode, nil)
			s.Risky["drop.test"] = "file drop"
			s.Resolver.Add("drop.test", "127.0.0.1")
			s.Resolver.Add("approved.test", "127.0.0.1")
			s.Approve(t, s.server, "approved.test:"+s.origin.Port())
			s.Journal.OnAlarm = func(proxytest.Alarm) error { return errors.New("disk full") }
			a := s.ask(t, test.target+":"+s.origin.Port())
			if a.Status != test.status || a.Reason != test.reason {
				t.Errorf("%s", a.Phrase)
			}
			if asked := s.Resolver.Asked(); (len(asked) > 0) != (test.status == 200) {
				t.Errorf("asked for %q", asked)
			}
		})
	}
}

func TestOverloaded(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	s.Journal.OnAdmit = func() error { return proxy.ErrOverloaded }
	if a := s.ask(t, s.target); a.Status != 503 || a.Reason != "overloaded" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s", a.Phrase)
	}
	if c := s.proxy.Counters(); c.Overloaded != 1 || c.Open != 0 || c.Flows != 0 {
		t.Errorf("counters: %+v", c)
	}
	if n := len(s.Journal.WaitClosed(t, 0)); n != 0 {
		t.Errorf("%d flows recorded without room", n)
	}
}

// expectEOF fails unless the proxy closes conn.
func expectEOF(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, conn); err != nil || n != 0 {
		t.Errorf("%d more bytes, %v; want the connection closed", n, err)
	}
}

// panics is a resolver that panics the first time.
type panics struct {
	proxy.Resolver
	once sync.Once
}

func (p *panics) Resolve(ctx context.Context, name string) (resolve.Answer, error) {
	p.once.Do(func() { panic("a bug") })
	return p.Resolver.Resolve(ctx, name)
}

// guardFor lets the given networks be reached, beside the public Internet.
func guardFor(prefixes ...string) *policy.Guard {
	g := &policy.Guard{}
	for _, p := range prefixes {
		g.AllowPrivate = append(g.AllowPrivate, netip.MustParsePrefix(p))
	}
	return g
}
