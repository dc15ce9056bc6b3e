package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/proxy/proxytest"
)

// site is an HTTP origin that remembers what it was asked.
type site struct {
	port string
	seen chan *http.Request
}

func newSite(t *testing.T, cert *tls.Certificate, handle http.HandlerFunc) *site {
	t.Helper()
	s := &site{seen: make(chan *http.Request, 100)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen <- r
		if handle != nil {
			handle(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
	}))
	if cert == nil {
		server.Start()
	} else {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	_, s.port, _ = net.SplitHostPort(server.Listener.Addr().String())
	return s
}

// plainClient is an HTTP client that goes through the proxy as a server.
func (s *scene) plainClient(t *testing.T) *http.Client {
	t.Helper()
	via := &url.URL{Scheme: "http", Host: s.addr, User: url.UserPassword("calendar", s.token)}
	transport := &http.Transport{Proxy: http.ProxyURL(via)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// raw sends a request with the credential of the scene's server and returns
// the answer. request has {auth} where the credential goes.
func (s *scene) raw(t *testing.T, request string) (net.Conn, proxytest.Answer) {
	t.Helper()
	auth := "Proxy-Authorization: " + proxytest.Basic("calendar", s.token) + "\r\n"
	return proxytest.Send(t, s.addr, strings.ReplaceAll(request, "{auth}", auth))
}

func TestPlainHTTP(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	origin := newSite(t, nil, nil)
	s.Approve(t, s.server, "api.test:"+origin.port)
	client := s.plainClient(t)
	for i := range 3 {
		res, err := client.Post("http://API.test:"+origin.port+"/a%2Fb?q=1;2&%zz", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "POST /a%2Fb?q=1;2&%zz body" {
			t.Fatalf("%q, %v", body, err)
		}
		got := <-origin.seen
		if got.Host != "api.test:"+origin.port || got.Header.Get("Proxy-Authorization") != "" || got.Header.Get("X-Forwarded-For") != "" {
			t.Errorf("the origin saw host %q, %v", got.Host, got.Header)
		}
		f := s.Journal.WaitClosed(t, i+1)[i]
		if f.Method != flow.MethodHTTP || f.Grade != flow.GradeVerified || f.Verdict != flow.Allowed || f.Reason != flow.ReasonApproved || f.End != flow.EndServer {
			t.Errorf("%s %s, %s for %s, end %s", f.Method, f.Grade, f.Verdict, f.Reason, f.End)
		}
		if f.BytesUp != 4 || f.BytesDown != int64(len(body)) || f.IP.String() != "127.0.0.1" || f.Host != "api.test" {
			t.Errorf("%d up, %d down, to %s (%s)", f.BytesUp, f.BytesDown, f.Host, f.IP)
		}
	}
	if len(s.Resolver.Asked()) != 3 {
		t.Errorf("asked for %q: each request is decided by itself", s.Resolver.Asked())
	}
}

func TestPlainHTTPS(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	good := s.CA.Issue(t, "api.test")
	wrong := s.CA.Issue(t, "other.test")
	strange := proxytest.NewCA(t).Issue(t, "api.test")
	for _, test := range []struct {
		name   string
		cert   *tls.Certificate
		status int
		reason string
		sni    string
		grade  flow.Grade
	}{
		{"verified", &good, 200, "", "api.test", flow.GradeVerified},
		{"another name", &wrong, 502, "tls_failed", "", ""},
		{"unknown issuer", &strange, 502, "tls_failed", "", ""},
		{"no TLS at all", nil, 502, "tls_failed", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			origin := newSite(t, test.cert, nil)
			target := "api.test:" + origin.port
			s.Approve(t, s.server, target)
			before := len(s.Journal.WaitClosed(t, 0))
			_, a := s.raw(t, "GET https://"+target+"/secret HTTP/1.1\r\nHost: "+target+"\r\n{auth}Connection: close\r\n\r\n")
			if a.Status != test.status || a.Reason != test.reason {
				t.Errorf("%s\n%s", a.Phrase, a.Body)
			}
			f := s.Journal.WaitClosed(t, before+1)[before]
			if f.Method != flow.MethodHTTPS || f.SNI != test.sni || f.Grade != test.grade {
				t.Errorf("%s, SNI %q, grade %q", f.Method, f.SNI, f.Grade)
			}
			if test.status != 200 && (string(f.Reason) != test.reason || f.End != flow.EndFailed || len(origin.seen) != 0) {
				t.Errorf("%s, end %s, %d requests", f.Reason, f.End, len(origin.seen))
			}
		})
	}
}

func TestPlainRefusals(t *testing.T) {
	s := newScene(t, identity.ModeBlock, nil)
	origin := newSite(t, nil, nil)
	self := "api.test:" + origin.port
	s.Approve(t, s.server, self)
	for _, test := range []struct {
		name, request string
		status        int
		reason        string
	}{
		{"new destination", "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n{auth}\r\n", 403, "new_destination"},
		{"Host says something approved", "GET http://evil.test/ HTTP/1.1\r\nHost: " + self + "\r\n{auth}\r\n", 403, "new_destination"},
		{"metadata", "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: " + self + "\r\n{auth}\r\n", 403, "metadata_access"},
		{"https", "GET https://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n{auth}\r\n", 403, "new_destination"},
		{"with a body unread", "POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 1000000\r\n{auth}\r\npart", 403, "new_destination"},
		{"no credential", "GET http://" + self + "/ HTTP/1.1\r\nHost: a\r\n\r\n", 407, "auth_failed"},
		{"wrong credential", "GET http://" + self + "/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: " + proxytest.Basic("calendar", "x") + "\r\n\r\n", 407, ""},
		{"two credentials", "GET http://" + self + "/ HTTP/1.1\r\nHost: a\r\n{auth}{auth}\r\n", 400, "bad_request"},
		{"origin form", "GET / HTTP/1.1\r\nHost: " + self + "\r\n{auth}\r\n", 400, "bad_request"},
		{"origin form, two slashes", "GET //" + self + "/ HTTP/1.1\r\nHost: " + self + "\r\n{auth}\r\n", 400, "bad_request"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: " + self + "\r\n{auth}\r\n", 400, "bad_request"},
		{"TRACE", "TRACE http://" + self + "/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 405, "bad_request"},
		{"user in the URL", "GET http://evil.test@" + self + "/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, "bad_request"},
		{"backslash", "GET http://" + self + "\\@evil.test/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, ""},
		{"percent in the host", "GET http://api%2etest:" + origin.port + "/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, ""},
		{"decimal address", "GET http://2130706433/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, "bad_request"},
		{"mapped address", "GET http://[::ffff:169.254.169.254]/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 403, "metadata_access"},
		{"zone", "GET http://[fe80::1%25lo]/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, "bad_request"},
		{"ftp", "GET ftp://" + self + "/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n", 400, "bad_request"},
		{"two hosts", "GET http://" + self + "/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n{auth}\r\n", 400, ""},
		{"conflicting lengths", "POST http://" + self + "/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n{auth}\r\nxx", 400, ""},
		{"unknown coding", "POST http://" + self + "/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n{auth}\r\n0\r\n\r\n", 501, ""},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"},
		{"not HTTP", "\x05\x01\x00\r\n\r\n", 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, a := s.raw(t, test.request)
			if a.Status != test.status || (test.reason != "" && a.Reason != test.reason) {
				t.Errorf("%s (%s)\n%s", a.Phrase, a.Reason, a.Body)
			}
		})
	}
	if len(origin.seen) != 0 {
		t.Errorf("%d requests reached the origin", len(origin.seen))
	}
	if asked := s.Resolver.Asked(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
	for _, f := range s.Journal.WaitClosed(t, 6) {
		if f.Grade != "" {
			t.Errorf("%s, %s: graded %s, and nothing was dialled", f.Host, f.Reason, f.Grade)
		}
	}
}

// TestPlainSmuggling: a request that hides a second one in its framing reaches
// the origin as one request, or not at all.
func TestPlainSmuggling(t *testing.T) {
	hidden := "GET http://api.test/hidden HTTP/1.1\r\nHost: api.test\r\n\r\n"
	for _, framing := range []string{
		"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" + hidden,
		"Connection: Content-Length\r\nContent-Length: %d\r\n\r\n" + hidden,
	} {
		s := newScene(t, identity.ModeBlock, nil)
		origin := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
		target := "api.test:" + origin.port
		s.Approve(t, s.server, target)
		request := "POST http://" + target + "/outer HTTP/1.1\r\nHost: a\r\n{auth}" + fmt.Sprintf(framing, len(hidden))
		s.raw(t, request)
		s.Journal.WaitClosed(t, 1)
		close(origin.seen)
		for r := range origin.seen {
			if r.URL.Path != "/outer" {
				t.Errorf("%q: the origin saw %s", framing, r.URL.Path)
			}
		}
	}
}

func TestHopByHopFields(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	origin := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.Header().Set("X-End", "1")
	})
	target := "api.test:" + origin.port
	_, a := s.raw(t, "GET http://"+target+"/ HTTP/1.1\r\nHost: a\r\n{auth}Proxy-Connection: keep-alive\r\nProxy-Secret: x\r\n"+
		"Connection: X-Private, close\r\nX-Private: x\r\nKeep-Alive: 1\r\nTE: gzip\r\nX-Public: y\r\n\r\n")
	if a.Status != 200 || a.Header.Get("X-End") != "1" || a.Header.Get("X-Hop") != "" || a.Header.Get("Proxy-Authenticate") != "" {
		t.Errorf("%s %v", a.Phrase, a.Header)
	}
	got := (<-origin.seen).Header
	for name := range got {
		if strings.HasPrefix(name, "Proxy-") || name == "X-Private" || name == "Keep-Alive" || name == "Te" || name == "User-Agent" {
			t.Errorf("%s came through", name)
		}
	}
	if got.Get("X-Public") != "y" {
		t.Errorf("fields: %v", got)
	}
}

func TestUpstreamCantAskForOurCredential(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	origin := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(407) })
	_, a := s.raw(t, "GET http://api.test:"+origin.port+"/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n")
	if a.Status != 502 {
		t.Errorf("%s", a.Phrase)
	}
}

// TestUpgrade: a WebSocket over plain http passes, counted, and Cut ends it.
func TestUpgrade(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	origin := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if buf.Flush() != nil {
			return
		}
		io.Copy(conn, buf)
	})
	conn := proxytest.Dial(t, s.addr)
	fmt.Fprintf(conn, "GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nProxy-Authorization: %s\r\n\r\n",
		origin.port, proxytest.Basic("calendar", s.token))
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	io.WriteString(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "ping" {
		t.Fatalf("%q, %v", got, err)
	}
	if live := s.proxy.Live(); len(live) != 1 || live[0].BytesUp != 4 || live[0].BytesDown != 4 {
		t.Errorf("live: %+v", live)
	}
	if err := s.Registry.Revoke(t.Context(), s.server.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndRevoked {
		t.Errorf("end %s", f.End)
	}
	io.Copy(io.Discard, conn) // ends
}

// TestPoolsAreNotShared: two servers never use one upstream connection, while
// one server uses its own again; and not after its address was closed to it.
func TestPoolsAreNotShared(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	conns := make(chan string, 10)
	origin := newSite(t, nil, func(_ http.ResponseWriter, r *http.Request) { conns <- r.RemoteAddr })
	_, otherToken := s.Server(t, "mail", identity.ModeLearn)
	get := func(name, token string) proxytest.Answer {
		_, a := proxytest.Send(t, s.addr, fmt.Sprintf("GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n",
			origin.port, proxytest.Basic(name, token)))
		return a
	}
	get("calendar", s.token)
	first := <-conns
	s.Journal.WaitClosed(t, 1)
	get("mail", otherToken)
	if other := <-conns; other == first {
		t.Error("two servers shared a connection")
	}
	get("calendar", s.token)
	if again := <-conns; again != first {
		t.Error("the server's own connection was not used again")
	}
	s.Guard.Store(&policy.Guard{})
	if a := get("calendar", s.token); a.Status != 403 {
		t.Errorf("%s", a.Phrase)
	}
	if len(conns) != 0 {
		t.Error("the request went out on a connection that was pooled before")
	}
}

// TestStalePooledConnection: a pooled connection to an address that may no
// longer be reached carries nothing, even if the name leads elsewhere now.
func TestStalePooledConnection(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	first := newSite(t, nil, nil)
	get := func() proxytest.Answer {
		_, a := s.raw(t, "GET http://api.test:"+first.port+"/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n")
		return a
	}
	if a := get(); a.Status != 200 {
		t.Fatal(a.Phrase)
	}
	<-first.seen
	s.Journal.WaitClosed(t, 1)
	// The name moves to 127.0.0.2, where nobody listens, and 127.0.0.1 is closed.
	s.Resolver.Add("api.test", "127.0.0.2")
	s.Guard.Store(guardFor("127.0.0.2/32"))
	if a := get(); a.Status != 502 {
		t.Errorf("%s", a.Phrase)
	}
	if len(first.seen) != 0 {
		t.Error("the request went to the old address")
	}
}

func TestPlainAlarmComesFirst(t *testing.T) {
	s := newScene(t, identity.ModeAlert, nil)
	origin := newSite(t, nil, nil)
	release := make(chan error)
	s.Journal.OnAlarm = func(proxytest.Alarm) error { return <-release }
	conn := proxytest.Dial(t, s.addr)
	fmt.Fprintf(conn, "GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", origin.port, proxytest.Basic("calendar", s.token))
	s.Journal.WaitAlarms(t, 1)
	if asked := s.Resolver.Asked(); len(asked) != 0 || len(origin.seen) != 0 {
		t.Errorf("asked for %q, %d requests", asked, len(origin.seen))
	}
	release <- nil
	if a := proxytest.ReadAnswer(t, conn); a.Status != 200 {
		t.Errorf("%s", a.Phrase)
	}
}

// TestPlainOpened: a request that lasts is reported while it does, so that it
// is found as lost should Exeat die; and before its end.
func TestPlainOpened(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	proceed := make(chan bool)
	origin := newSite(t, nil, func(http.ResponseWriter, *http.Request) { <-proceed })
	conn := proxytest.Dial(t, s.addr)
	fmt.Fprintf(conn, "GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", origin.port, proxytest.Basic("calendar", s.token))
	opened := s.Journal.WaitOpened(t, 1)[0]
	if ended := s.Journal.WaitClosed(t, 0); len(ended) != 0 {
		t.Errorf("ended: %+v", ended)
	}
	proceed <- true
	if f := s.Journal.WaitClosed(t, 1)[0]; f.ID != opened.ID || !opened.Closed.IsZero() || opened.IP.String() != "127.0.0.1" {
		t.Errorf("opened as %+v, ended as %+v", opened, f)
	}
	if n := len(s.Journal.WaitOpened(t, 1)); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

func TestPlainIdle(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Limits.IdleTimeout = 100 * time.Millisecond })
	origin := newSite(t, nil, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	conn := proxytest.Dial(t, s.addr)
	fmt.Fprintf(conn, "GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", origin.port, proxytest.Basic("calendar", s.token))
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndIdle {
		t.Errorf("end %s", f.End)
	}
	io.Copy(io.Discard, conn) // ends
}

func TestPlainClientLeaves(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	origin := newSite(t, nil, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	conn := proxytest.Dial(t, s.addr)
	fmt.Fprintf(conn, "GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", origin.port, proxytest.Basic("calendar", s.token))
	<-origin.seen
	conn.Close()
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndClient {
		t.Errorf("end %s", f.End)
	}
}

// TestStreaming: an answer is passed on as it comes, and counted while it does.
func TestStreaming(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	next := make(chan bool)
	origin := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range next {
			io.WriteString(w, "data: x\n\n")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://api.test:"+origin.port, nil)
	go func() { next <- true }()
	res, err := s.plainClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	event := make([]byte, 9)
	for i := range 3 {
		if i > 0 {
			next <- true
		}
		if _, err := io.ReadFull(res.Body, event); err != nil {
			t.Fatal(err)
		}
		if live := s.proxy.Live(); len(live) != 1 || live[0].BytesDown != int64(9*(i+1)) {
			t.Errorf("live: %+v", live)
		}
	}
	close(next)
}

func TestPlainPanicIsContained(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.Resolver = &panics{Resolver: c.Resolver} })
	origin := newSite(t, nil, nil)
	request := fmt.Sprintf("GET http://api.test:%s/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: %s\r\n\r\n", origin.port, proxytest.Basic("calendar", s.token))
	conn := proxytest.Dial(t, s.addr)
	io.WriteString(conn, request)
	expectEOF(t, conn)
	if f := s.Journal.WaitClosed(t, 1)[0]; f.End != flow.EndError {
		t.Errorf("end %s", f.End)
	}
	if _, a := proxytest.Send(t, s.addr, request); a.Status != 200 {
		t.Errorf("%s", a.Phrase)
	}
	if n := s.proxy.Counters().Panics; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestPlainShutdown: a request under way may end, and the pools are emptied.
func TestPlainShutdown(t *testing.T) {
	s := newScene(t, identity.ModeLearn, nil)
	proceed := make(chan bool)
	origin := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		<-proceed
		io.WriteString(w, "done")
	})
	answered := make(chan string, 1)
	go func() {
		res, err := s.plainClient(t).Get("http://api.test:" + origin.port)
		if err != nil {
			answered <- err.Error()
			return
		}
		body, _ := io.ReadAll(res.Body)
		answered <- string(body)
	}()
	<-origin.seen
	done := make(chan error, 1)
	go func() { done <- s.proxy.Shutdown(context.Background()) }()
	proceed <- true
	if got := <-answered; got != "done" {
		t.Error(got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRoots: without RootCAs the system's are used, which don't know the test's.
func TestRoots(t *testing.T) {
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) { c.RootCAs = x509.NewCertPool() })
	cert := s.CA.Issue(t, "api.test")
	origin := newSite(t, &cert, nil)
	if _, a := s.raw(t, "GET https://api.test:"+origin.port+"/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n"); a.Status != 502 || a.Reason != "tls_failed" {
		t.Errorf("%s", a.Phrase)
	}
}
