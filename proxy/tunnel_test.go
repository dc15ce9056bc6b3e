package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/proxy/proxytest"
)

// records splits a ClientHello into TLS records of size bytes each.
func records(hello []byte, size int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		n := min(size, len(body))
		out = binary.BigEndian.AppendUint16(append(out, hello[:3]...), uint16(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

// TestHelloInAnyShape: the hello is understood however it is cut up, and what
// reaches the origin is what was sent.
func TestHelloInAnyShape(t *testing.T) {
	hello := proxytest.Hello(t, "echo.test")
	for _, test := range []struct {
		name string
		send func(t *testing.T, s *scene, target string) net.Conn
		sent []byte
	}{
		{"at once", func(t *testing.T, s *scene, target string) net.Conn {
			conn := s.connect(t, target)
			conn.Write(hello)
			return conn
		}, hello},
		{"with the CONNECT", func(t *testing.T, s *scene, target string) net.Conn {
			conn, a := proxytest.Send(t, s.addr, proxytest.Head(target, "calendar", s.token)+string(hello))
			if a.Status != 200 {
				t.Fatal(a.Phrase)
			}
			return conn
		}, hello},
		{"its first byte with the CONNECT", func(t *testing.T, s *scene, target string) net.Conn {
			conn, a := proxytest.Send(t, s.addr, proxytest.Head(target, "calendar", s.token)+string(hello[:1]))
			if a.Status != 200 {
				t.Fatal(a.Phrase)
			}
			conn.Write(hello[1:])
			return conn
		}, hello},
		{"byte by byte", func(t *testing.T, s *scene, target string) net.Conn {
			conn := s.connect(t, target)
			for i := range hello {
				conn.Write(hello[i : i+1])
			}
			return conn
		}, hello},
		{"in many records", func(t *testing.T, s *scene, target string) net.Conn {
			conn := s.connect(t, target)
			conn.Write(records(hello, 7))
			return conn
		}, records(hello, 7)},
		{"CONNECT by HTTP/1.0", func(t *testing.T, s *scene, target string) net.Conn {
			conn, a := proxytest.Send(t, s.addr, strings.Replace(proxytest.Head(target, "calendar", s.token), "HTTP/1.1", "HTTP/1.0", 1))
			if a.Status != 200 {
				t.Fatal(a.Phrase)
			}
			conn.Write(hello)
			return conn
		}, hello},
		{"head byte by byte", func(t *testing.T, s *scene, target string) net.Conn {
			conn := proxytest.Dial(t, s.addr)
			for _, c := range []byte(proxytest.Head(target, "calendar", s.token)) {
				conn.Write([]byte{c})
			}
			if a := proxytest.ReadAnswer(t, conn); a.Status != 200 {
				t.Fatal(a.Phrase)
			}
			conn.Write(hello)
			return conn
		}, hello},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, identity.ModeBlock, nil)
			origin := proxytest.Echo(t)
			s.Resolver.Add("echo.test", "127.0.0.1")
			s.Approve(t, s.server, "echo.test:"+origin.Port())
			conn := test.send(t, s, "echo.test:"+origin.Port())
			got := make([]byte, len(test.sent))
			if _, err := io.ReadFull(conn, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, test.sent) {
				t.Error("other bytes came back than were sent")
			}
			if f := s.Journal.WaitOpened(t, 1)[0]; f.Grade != flow.GradeVerified || f.SNI != "echo.test" {
				t.Errorf("grade %s, SNI %q", f.Grade, f.SNI)
			}
		})
	}
}

// TestConfirm: what the hello shows is decided about before a byte of it goes
// upstream, and a TLS client hears why.
func TestConfirm(t *testing.T) {
	other := proxytest.Hello(t, "other.test")
	for _, test := range []struct {
		name   string
		mode   identity.Mode
		send   []byte
		reason flow.Reason
		alert  []byte // what the client gets; nil: the flow opens
	}{
		{"SNI differs, block", identity.ModeBlock, other, flow.ReasonSNIMismatch, []byte{21, 3, 3, 0, 2, 2, 112}},
		{"SNI differs, alert", identity.ModeAlert, other, flow.ReasonSNIMismatch, nil},
		{"SNI differs, learn", identity.ModeLearn, other, flow.ReasonSNIMismatch, nil},
		{"no SNI, block", identity.ModeBlock, proxytest.Hello(t, ""), flow.ReasonNoSNI, []byte{21, 3, 3, 0, 2, 2, 112}},
		{"not TLS, block", identity.ModeBlock, []byte("GET / HTTP/1.1\r\n\r\n"), flow.ReasonNotTLS, []byte{}},
		{"not TLS, alert", identity.ModeAlert, []byte("SSH-2.0-x\r\n"), flow.ReasonNotTLS, nil},
		{"malformed", identity.ModeLearn, append([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 9}, other...), flow.ReasonBadHello, []byte{21, 3, 3, 0, 2, 2, 50}},
		{"a warning first", identity.ModeLearn, append([]byte{21, 3, 1, 0, 2, 1, 0}, other...), flow.ReasonBadHello, []byte{21, 3, 3, 0, 2, 2, 50}},
		{"SNI differs, with ECH, block", identity.ModeBlock, withECH(other), flow.ReasonHiddenName, []byte{21, 3, 3, 0, 2, 2, 49}},
		{"SNI differs, with ECH, learn", identity.ModeLearn, withECH(other), flow.ReasonHiddenName, nil},
		{"too long", identity.ModeLearn, []byte{22, 3, 1, 64, 0, 1, 2, 0, 0, 3, 3}, flow.ReasonBadHello, []byte{21, 3, 3, 0, 2, 2, 50}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, test.mode, nil)
			origin := proxytest.Echo(t)
			target := "echo.test:" + origin.Port()
			s.Resolver.Add("echo.test", "127.0.0.1")
			s.Approve(t, s.server, target)
			conn := s.connect(t, target)
			conn.Write(test.send)
			if test.alert == nil {
				if f := s.Journal.WaitOpened(t, 1)[0]; f.Reason != test.reason || f.Verdict != flow.Allowed {
					t.Errorf("%s for %s", f.Verdict, f.Reason)
				}
				if a := s.Journal.WaitAlarms(t, 1); a[0].Reason != test.reason {
					t.Errorf("alarms: %+v", a)
				}
				return
			}
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, test.alert) {
				t.Errorf("got % x, %v; want % x", got, err, test.alert)
			}
			f := s.Journal.WaitClosed(t, 1)[0]
			if f.Reason != test.reason || f.Verdict != flow.Refused || f.End != flow.EndRefused {
				t.Errorf("%s for %s, end %s", f.Verdict, f.Reason, f.End)
			}
			if received, _ := origin.Received(); received != 0 {
				t.Errorf("the origin got %d bytes", received)
			}
			if len(s.Journal.WaitOpened(t, 0)) != 0 {
				t.Error("reported as open")
			}
		})
	}
}

// withECH adds an empty encrypted_client_hello to a hello of crypto/tls, which
// is one record.
func withECH(hello []byte) []byte {
	b := append(bytes.Clone(hello), 0xfe, 0x0d, 0, 0)
	grow := func(at int) { binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+4) }
	grow(3) // the record
	grow(7) // the message
	at := 5 + 4 + 2 + 32
	at += 1 + int(b[at])                           // the session id
	at += 2 + int(binary.BigEndian.Uint16(b[at:])) // the cipher suites
	at += 1 + int(b[at])                           // the compression methods
	grow(at)
	return b
}

func TestSilentClient(t *testing.T) {
	short := func(c *proxy.Config) { c.Limits.HelloTimeout = 100 * time.Millisecond }
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	t.Run("nobody speaks", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, identity.ModeLearn, short)
		s.connect(t, "api.test:"+proxytest.NewOrigin(t, silent).Port())
		f := s.Journal.WaitClosed(t, 1)[0]
		if f.Reason != flow.ReasonHelloTimeout || f.End != flow.EndFailed {
			t.Errorf("%s, end %s", f.Reason, f.End)
		}
		if n := s.proxy.Counters().HelloTimeout; n != 1 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("half a hello", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, identity.ModeLearn, short)
		origin := proxytest.NewOrigin(t, silent)
		s.connect(t, "api.test:"+origin.Port()).Write(proxytest.Hello(t, "api.test")[:100])
		if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != flow.ReasonHelloTimeout {
			t.Errorf("%s", f.Reason)
		}
		if n, _ := origin.Received(); n != 0 {
			t.Errorf("%d bytes left", n)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, identity.ModeLearn, nil)
		s.connect(t, s.target).Close()
		if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndClient || f.Verdict != flow.Allowed {
			t.Errorf("%s, end %s", f.Verdict, f.End)
		}
	})
	t.Run("upstream leaves", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, identity.ModeLearn, nil)
		s.connect(t, "api.test:"+proxytest.NewOrigin(t, func(net.Conn) {}).Port())
		if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndServer {
			t.Errorf("end %s", f.End)
		}
	})
	t.Run("slow, and then a hello", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, identity.ModeBlock, nil)
		s.Approve(t, s.server, s.target)
		conn := s.connect(t, s.target)
		<-time.After(200 * time.Millisecond) // longer than we wait before we listen to the upstream too
		echo(t, proxytest.TLS(s.CA, conn, "api.test"), "hello")
		if f := s.Journal.WaitOpened(t, 1)[0]; f.Grade != flow.GradeVerified {
			t.Errorf("grade %s", f.Grade)
		}
	})
}

func TestServerSpeaksFirst(t *testing.T) {
	const banner = "220 mail.test ready\r\n"
	greet := func(c net.Conn) {
		io.WriteString(c, banner)
		io.Copy(c, c)
	}
	for _, test := range []struct {
		mode   identity.Mode
		grades []flow.Grade
		opens  bool
	}{
		{identity.ModeBlock, nil, false},
		{identity.ModeBlock, []flow.Grade{flow.GradeNotTLS}, true},
		{identity.ModeLearn, nil, true},
	} {
		s := newScene(t, test.mode, nil)
		target := "mail.test:" + proxytest.NewOrigin(t, greet).Port()
		s.Resolver.Add("mail.test", "127.0.0.1")
		s.Approve(t, s.server, target, test.grades...)
		conn := s.connect(t, target)
		if !test.opens {
			expectEOF(t, conn)
			if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != flow.ReasonNotTLS {
				t.Errorf("%s", f.Reason)
			}
			continue
		}
		got := make([]byte, len(banner))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != banner {
			t.Fatalf("%q, %v", got, err)
		}
		echo(t, conn, "EHLO\r\n")
		conn.Close()
		f := s.Journal.WaitClosed(t, 1)[0]
		if f.Grade != flow.GradeNotTLS || f.BytesDown != int64(len(banner)+6) || f.BytesUp != 6 {
			t.Errorf("grade %s, %d up, %d down", f.Grade, f.BytesUp, f.BytesDown)
		}
	}
}

// megabyte is a reply that doesn't fit into any buffer on the way.
var megabyte = bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

func TestHalfClose(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		s := newScene(t, identity.ModeLearn, nil)
		origin := proxytest.NewOrigin(t, func(c net.Conn) {
			request, _ := io.ReadAll(c) // until the half-close comes through
			c.Write(megabyte)
			c.Write(request)
		})
		conn := s.connect(t, "api.test:"+origin.Port())
		io.WriteString(conn, "bye")
		conn.CloseWrite()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, append(megabyte[:len(megabyte):len(megabyte)], "bye"...)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		f := s.Journal.WaitClosed(t, 1)[0]
		if f.End != flow.EndClient || f.BytesUp != 3 || f.BytesDown != int64(len(megabyte)+3) {
			t.Errorf("end %s, %d up, %d down", f.End, f.BytesUp, f.BytesDown)
		}
	})
	t.Run("upstream first", func(t *testing.T) {
		s := newScene(t, identity.ModeLearn, nil)
		heard := make(chan []byte, 1)
		origin := proxytest.NewOrigin(t, func(c net.Conn) {
			c.(interface{ CloseWrite() error }).CloseWrite()
			all, _ := io.ReadAll(c)
			heard <- all
		})
		conn := s.connect(t, "api.test:"+origin.Port())
		io.WriteString(conn, "start")
		expectEOF(t, conn)
		conn.Write(megabyte)
		conn.Close()
		if got := <-heard; len(got) != len(megabyte)+5 {
			t.Errorf("the origin got %d bytes", len(got))
		}
		if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndServer {
			t.Errorf("end %s", f.End)
		}
	})
}

// TestBulk sends enough in both directions at once that it is spliced, and
// checks every byte.
func TestBulk(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	conn := s.connect(t, "api.test:"+proxytest.Echo(t).Port())
	const rounds = 64
	go func() {
		for i := range rounds {
			block := bytes.Clone(megabyte)
			block[0] = byte(i)
			conn.Write(block)
		}
		conn.CloseWrite()
	}()
	got := make([]byte, len(megabyte))
	for i := range rounds {
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if got[0] != byte(i) || !bytes.Equal(got[1:], megabyte[1:]) {
			t.Fatalf("megabyte %d came back different", i)
		}
	}
	expectEOF(t, conn)
	if f := s.Journal.WaitClosed(t, 1)[0]; f.BytesUp != rounds<<20 || f.BytesDown != rounds<<20 {
		t.Errorf("%d up, %d down", f.BytesUp, f.BytesDown)
	}
}

func TestReset(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	origin := proxytest.NewOrigin(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 5))
		c.(interface{ SetLinger(int) error }).SetLinger(0)
	})
	conn := s.connect(t, "api.test:"+origin.Port())
	io.WriteString(conn, "start")
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v; want a reset", err)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndError {
		t.Errorf("end %s", f.End)
	}
}

func TestIdle(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.IdleTimeout = 200 * time.Millisecond })
	conn := s.connect(t, "api.test:"+proxytest.Echo(t).Port())
	echo(t, conn, "hello")
	expectEOF(t, conn)
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndIdle || f.BytesUp != 5 {
		t.Errorf("end %s", f.End)
	}
	if n := s.proxy.Counters().Idle; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestOneIdleClock: a stream in one direction keeps the tunnel open, however
// quiet the other is.
func TestOneIdleClock(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.IdleTimeout = 200 * time.Millisecond })
	origin := proxytest.NewOrigin(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range 12 {
			<-tick.C
			if _, err := io.WriteString(c, "."); err != nil {
				return
			}
		}
	})
	conn := s.connect(t, "api.test:"+origin.Port())
	io.WriteString(conn, "x")
	if got, err := io.ReadAll(conn); err != nil || len(got) != 12 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestDrain(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.DrainTimeout = 100 * time.Millisecond })
	origin := proxytest.NewOrigin(t, func(c net.Conn) {
		c.(interface{ CloseWrite() error }).CloseWrite()
		io.Copy(io.Discard, c)
	})
	conn := s.connect(t, "api.test:"+origin.Port())
	io.WriteString(conn, "start") // and then hold the connection open
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndServer {
		t.Errorf("end %s", f.End)
	}
}

func TestCut(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	_, otherToken := s.Server(t, "mail", identity.ModeLearn)
	target := "api.test:" + proxytest.Echo(t).Port()
	first := s.connect(t, target)
	echo(t, first, "hello")
	token, err := s.Registry.Rotate(t.Context(), s.server.ID, time.Hour, "test")
	if err != nil {
		t.Fatal(err)
	}
	second := proxytest.Connect(t, s.addr, target, "calendar", token)
	echo(t, second, "hello")
	other := proxytest.Connect(t, s.addr, target, "mail", otherToken)
	echo(t, other, "hello")

	if err := s.Registry.RevokeCredential(t.Context(), s.Registry.Credentials(s.server.ID)[0].ID, "test"); err != nil {
		t.Fatal(err)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndRevoked || f.BytesUp != 5 {
		t.Errorf("end %s, %d up", f.End, f.BytesUp)
	}
	expectEOF(t, first)
	echo(t, second, "still here")

	if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if f := s.Journal.WaitClosed(t, 2)[1]; f.End != flow.EndRevoked {
		t.Errorf("end %s", f.End)
	}
	expectEOF(t, second)
	echo(t, other, "not me")
	if n := s.proxy.Counters().Cut; n != 2 {
		t.Errorf("counted %d", n)
	}
}

// TestCutDuringTheWalk: a flow that is still being decided about is cut as well.
func TestCutDuringTheWalk(t *testing.T) {
	s := newScene(t, identity.ModeAlert, nil)
	release := make(chan error)
	s.Journal.OnAlarm = func(proxytest.Alarm) error { return <-release }
	conn := proxytest.Dial(t, s.addr)
	io.WriteString(conn, proxytest.Head(s.target, "calendar", s.token))
	s.Journal.WaitAlarms(t, 1)
	if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
		t.Fatal(err)
	}
	release <- nil
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndRevoked || f.Verdict != flow.Refused || f.Reason != flow.ReasonRevoked {
		t.Errorf("end %s, %s for %s", f.End, f.Verdict, f.Reason)
	}
	if _, conns := s.origin.Received(); conns != 0 {
		t.Error("connected all the same")
	}
}

// TestCutDuringAuthentication: a credential that is revoked between being
// looked up and being let in is asked for again.
func TestCutDuringAuthentication(t *testing.T) {
	late := &lateRevocation{}
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) {
		late.Authenticator = c.Identities
		c.Identities = late
	})
	late.after = func() {
		if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
			t.Error(err)
		}
	}
	conn := proxytest.Dial(t, s.addr)
	io.WriteString(conn, proxytest.Head(s.target, "calendar", s.token))
	expectEOF(t, conn)
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndRevoked {
		t.Errorf("end %s", f.End)
	}
}

type lateRevocation struct {
	proxy.Authenticator
	once  sync.Once
	after func()
}

func (l *lateRevocation) Authenticate(name, token string, from netip.Addr) (identity.Grant, error) {
	g, err := l.Authenticator.Authenticate(name, token, from)
	l.once.Do(l.after)
	return g, err
}

func TestLimits(t *testing.T) {
	t.Run("open tunnels", func(t *testing.T) {
		s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.TunnelsPerServer = 2 })
		_, otherToken := s.Server(t, "mail", identity.ModeLearn)
		target := "api.test:" + proxytest.Echo(t).Port()
		first := s.connect(t, target)
		s.connect(t, target)
		a := s.ask(t, target)
		if a.Status != 429 || a.Reason != "limit" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s", a.Phrase)
		}
		if f := s.Journal.WaitClosed(t, 1)[0]; f.Reason != flow.ReasonLimit || f.End != flow.EndRefused {
			t.Errorf("%s, end %s", f.Reason, f.End)
		}
		proxytest.Connect(t, s.addr, target, "mail", otherToken) // has limits of its own
		first.Close()
		s.Journal.WaitClosed(t, 2)
		s.connect(t, target)
		if c := s.proxy.Counters(); c.LimitTunnels != 1 || c.Open != 3 {
			t.Errorf("%d over the limit, %d open", c.LimitTunnels, c.Open)
		}
	})
	t.Run("rate", func(t *testing.T) {
		s := newScene(t, identity.ModeBlock, func(c *proxy.Config) { c.Limits.ConnectsPerSec = 3 })
		refused := 0
		for range 20 {
			if a := s.ask(t, "new.test:443"); a.Status == 429 {
				refused++
			}
		}
		c := s.proxy.Counters()
		if refused < 10 || c.LimitRate != int64(refused) {
			t.Errorf("%d refused, %d counted", refused, c.LimitRate)
		}
		// A flood is counted, and shown once a second; it doesn't fill the record.
		limits := 0
		for _, f := range s.Journal.WaitClosed(t, 1) {
			if f.Reason == flow.ReasonLimit {
				limits++
			}
		}
		if limits == 0 || limits > refused/2 {
			t.Errorf("%d of %d refusals recorded", limits, refused)
		}
	})
}

// TestLobby: clients that stall can't keep out one that asks.
func TestLobby(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.Waiting = 8 })
	var stalled []net.Conn
	for range 20 {
		conn := proxytest.Dial(t, s.addr)
		io.WriteString(conn, "CONNECT api.te")
		stalled = append(stalled, conn)
	}
	s.connect(t, s.target)
	for _, conn := range stalled[:12] {
		io.Copy(io.Discard, conn) // ends only when the proxy closes it
	}
	if c := s.proxy.Counters(); c.Evicted < 12 || c.Waiting > 8 {
		t.Errorf("%d evicted, %d waiting", c.Evicted, c.Waiting)
	}
}

func TestSlowAndLargeHeads(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.HeaderTimeout = 100 * time.Millisecond })
	t.Run("silent", func(t *testing.T) { expectEOF(t, proxytest.Dial(t, s.addr)) })
	t.Run("half a CONNECT", func(t *testing.T) {
		conn := proxytest.Dial(t, s.addr)
		io.WriteString(conn, "CONNECT api.test:443 HTTP/1.1\r\nHost: ")
		expectEOF(t, conn)
	})
	t.Run("half a GET", func(t *testing.T) {
		conn := proxytest.Dial(t, s.addr)
		io.WriteString(conn, "GET http://api.test/ HTTP/1.1\r\nHost: ")
		io.Copy(io.Discard, conn) // ends
	})
	for _, test := range []struct {
		name, head string
		status     int
	}{
		{"large", "CONNECT api.test:443 HTTP/1.1\r\nA: " + strings.Repeat("x", 33<<10) + "\r\n\r\n", 431},
		{"many fields", "CONNECT api.test:443 HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", 431},
		{"bare LF", "CONNECT api.test:443 HTTP/1.1\n\n", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, a := proxytest.Send(t, s.addr, test.head); a.Status != test.status {
				t.Errorf("%s", a.Phrase)
			}
		})
	}
}

func TestListenerOfOneServer(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	ln, err := proxy.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxytest.Serve(t, s.proxy, ln, s.server.ID)
	addr := ln.Addr().String()
	head := "CONNECT " + s.target + " HTTP/1.1\r\n"
	for _, fields := range []string{"", "Proxy-Authorization: Basic d3Jvbmc6d3Jvbmc=\r\n"} {
		if _, a := proxytest.Send(t, addr, head+fields+"\r\n"); a.Status != 200 {
			t.Errorf("%s", a.Phrase)
		}
	}
	if n := len(s.Journal.Failures()); n != 0 {
		t.Errorf("%d failures reported", n)
	}
	if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if _, a := proxytest.Send(t, addr, head+"\r\n"); a.Status != 403 || a.Reason != "revoked" {
		t.Errorf("%s", a.Phrase)
	}
	nobody, err := proxy.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.proxy.ServeAs(t.Context(), nobody, uuid.Nil); err == nil {
		t.Error("a listener of nobody was served")
	}
}

// TestStrangers: a listener without credentials takes nobody from elsewhere.
func TestStrangers(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	near, far := net.Pipe()
	defer near.Close()
	proxytest.Serve(t, s.proxy, &oneConn{conn: far, done: make(chan struct{})}, s.server.ID)
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
	if n := s.proxy.Counters().Strangers; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// oneConn is a listener with one connection that says it comes from a public
// address.
type oneConn struct {
	conn net.Conn
	once sync.Once
	end  sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = fromAfar{l.conn} })
	if c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.end.Do(func() { close(l.done) })
	return nil
}
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

type fromAfar struct{ net.Conn }

func (fromAfar) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(9, 9, 9, 9), Port: 1} }

// TestTLSListener: the proxy itself behind TLS, where nothing can be spliced.
func TestTLSListener(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	s.Approve(t, s.server, s.target)
	bare, err := proxy.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := tls.NewListener(bare, &tls.Config{Certificates: []tls.Certificate{s.CA.Issue(t, "proxy.test")}})
	proxytest.Serve(t, s.proxy, ln, uuid.Nil)
	outer := proxytest.TLS(s.CA, proxytest.Dial(t, ln.Addr().String()), "proxy.test")
	io.WriteString(outer, proxytest.Head(s.target, "calendar", s.token))
	if a := proxytest.ReadAnswer(t, outer); a.Status != 200 {
		t.Fatal(a.Phrase)
	}
	inner := proxytest.TLS(s.CA, outer, "api.test")
	go func() {
		inner.Write(megabyte)
		inner.CloseWrite()
	}()
	if got, err := io.ReadAll(inner); err != nil || !bytes.Equal(got, megabyte) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	outer.Close()
	if f := s.Journal.WaitClosed(t, 1)[0]; f.Grade != flow.GradeVerified {
		t.Errorf("grade %s", f.Grade)
	}
}

// TestPanic: a panic ends its connection, is counted, and its flow is reported.
func TestPanic(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Resolver = &panics{Resolver: c.Resolver} })
	conn := proxytest.Dial(t, s.addr)
	io.WriteString(conn, proxytest.Head(s.target, "calendar", s.token))
	expectEOF(t, conn)
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndError {
		t.Errorf("end %s", f.End)
	}
	s.connect(t, s.target)
	if c := s.proxy.Counters(); c.Panics != 1 || c.Open != 1 {
		t.Errorf("%d panics, %d open", c.Panics, c.Open)
	}
}

func TestShutdown(t *testing.T) {
	t.Run("waits", func(t *testing.T) {
		s := newScene(t, identity.ModeLearn, nil)
		conn := s.connect(t, "api.test:"+proxytest.Echo(t).Port())
		echo(t, conn, "hello")
		idle := proxytest.Dial(t, s.addr)
		done := make(chan error, 1)
		go func() { done <- s.proxy.Shutdown(context.Background()) }()
		expectEOF(t, idle) // has asked for nothing: let go at once
		echo(t, conn, "still here")
		conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndClient {
			t.Errorf("end %s", f.End)
		}
		if _, err := net.Dial("tcp", s.addr); err == nil {
			t.Error("still listening")
		}
	})
	t.Run("cuts", func(t *testing.T) {
		s := newScene(t, identity.ModeLearn, nil)
		conn := s.connect(t, "api.test:"+proxytest.Echo(t).Port())
		echo(t, conn, "hello")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.proxy.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndShutdown {
			t.Errorf("end %s", f.End)
		}
	})
}

// slowBook answers about one host only when it is told to.
type slowBook struct {
	proxy.Matcher
	host         string
	asked, reply chan struct{}
}

func (b *slowBook) Match(id identity.ID, d flow.Destination) baseline.Match {
	if d.Host == b.host {
		close(b.asked)
		<-b.reply
	}
	return b.Matcher.Match(id, d)
}

// TestShutdownMeetsNewFlow: a request that has left the lobby and is not yet a
// flow when Shutdown cuts what is left is cut as well.
func TestShutdownMeetsNewFlow(t *testing.T) {
	for _, request := range []string{"CONNECT late.test:{port} HTTP/1.1", "GET http://late.test:{port}/ HTTP/1.1"} {
		method, _, _ := strings.Cut(request, " ")
		t.Run(method, func(t *testing.T) {
			book := &slowBook{host: "late.test", asked: make(chan struct{}), reply: make(chan struct{})}
			s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { book.Matcher, c.Baseline = c.Baseline, book })
			early, late := proxytest.Echo(t), proxytest.Echo(t)
			s.Resolver.Add("late.test", "127.0.0.1")
			echo(t, s.connect(t, "api.test:"+early.Port()), "hello")
			conn := proxytest.Dial(t, s.addr)
			io.WriteString(conn, strings.ReplaceAll(request, "{port}", late.Port())+"\r\nHost: late.test:"+late.Port()+
				"\r\nProxy-Authorization: "+proxytest.Basic("calendar", s.token)+"\r\n\r\n")
			<-book.asked
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			done := make(chan error, 1)
			go func() { done <- s.proxy.Shutdown(ctx) }()
			s.Journal.WaitClosed(t, 1) // the flow before it was cut: who was in the list is known
			close(book.reply)
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(5 * time.Second):
				t.Error("Shutdown hangs")
				conn.Close()
			}
			if f := s.Journal.WaitClosed(t, 2)[1]; f.Host != "late.test" || f.End != flow.EndShutdown {
				t.Errorf("%s, end %s", f.Host, f.End)
			}
			if received, conns := late.Received(); conns != 0 {
				t.Errorf("%d connections and %d bytes reached the origin", conns, received)
			}
		})
	}
}

// TestChurn: many clients that come and go in every way leave nothing behind.
func TestChurn(t *testing.T) {
	connections := 5000
	if raceEnabled || testing.Short() {
		connections = 1000
	}
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.TunnelsPerServer = -1 })
	target := "api.test:" + proxytest.Echo(t).Port()
	hello := proxytest.Hello(t, "api.test")
	var wg sync.WaitGroup
	work := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range work {
				churn(s.addr, target, s.token, hello, i)
			}
		})
	}
	for i := range connections {
		work <- i
	}
	close(work)
	wg.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for s.proxy.Counters().Open > 0 && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	c := s.proxy.Counters()
	if c.Open != 0 || c.Panics != 0 || c.Accepted != int64(connections) {
		t.Errorf("%+v", c)
	}
	if n := len(s.Journal.WaitClosed(t, int(c.Flows))); int64(n) != c.Flows {
		t.Errorf("%d flows closed of %d", n, c.Flows)
	}
}

// churn is one client, that ends in the i-th way.
func churn(addr, target, token string, hello []byte, i int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	conn := c.(*net.TCPConn)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	head := proxytest.Head(target, "calendar", token)
	switch i % 6 {
	case 0: // nothing at all
		return
	case 1: // half a head, and a reset
		io.WriteString(conn, head[:20])
		conn.SetLinger(0)
		return
	case 2: // wrong credential
		head = proxytest.Head(target, "calendar", "wrong")
	}
	io.WriteString(conn, head)
	buf := make([]byte, 4096)
	n, _ := conn.Read(buf)
	if i%6 == 2 || !bytes.Contains(buf[:n], []byte(" 200 ")) {
		return
	}
	switch i % 6 {
	case 3: // reset in the middle of the hello
		conn.Write(hello[:50])
		conn.SetLinger(0)
	case 4: // reset with data under way
		conn.Write(hello)
		conn.SetLinger(0)
	default: // a proper end
		conn.Write(hello)
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	}
}

// TestOutOfDescriptors: accepting goes on after it failed for want of
// descriptors, and a connection that only waits is let go for it.
func TestOutOfDescriptors(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	waiting := proxytest.Dial(t, s.addr)
	for s.proxy.Counters().Waiting == 0 {
		runtime.Gosched()
	}
	bare, err := proxy.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxytest.Serve(t, s.proxy, &failsOnce{Listener: bare}, uuid.Nil)
	expectEOF(t, waiting)
	if _, a := proxytest.Send(t, bare.Addr().String(), proxytest.Head(s.target, "calendar", s.token)); a.Status != 200 {
		t.Errorf("%s", a.Phrase)
	}
	if c := s.proxy.Counters(); c.AcceptErrors != 1 || c.Evicted != 1 {
		t.Errorf("%d errors, %d evicted", c.AcceptErrors, c.Evicted)
	}
}

type failsOnce struct {
	net.Listener
	once sync.Once
}

func (l *failsOnce) Accept() (conn net.Conn, err error) {
	l.once.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}
