package launchtest

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The credential that Proxy asks for.
const (
	ProxyUser  = "probe"
	ProxyToken = "abcdefghij0123456789._~-ABCDEFGH"
)

// Visit is one request that reached a Proxy with the right credential.
type Visit struct {
	Method string
	Target string // host:port of a CONNECT, the URL of a request in absolute form
}

// Proxy is the smallest forward proxy that can tell a test who came through.
// It takes CONNECT and absolute form, asks for ProxyUser and ProxyToken, and
// reaches names only where Routes leads.
type Proxy struct {
	URL string // with the credential

	routes map[string]string
	refuse map[string]string
	hold   map[string]chan struct{}
	held   func()

	mu     sync.Mutex
	visits []Visit
	denied []string // requests without the right credential
	open   sync.WaitGroup
}

// ProxyConfig is what NewProxy needs.
type ProxyConfig struct {
	// Routes maps host:port, as clients ask for it, to an address.
	Routes map[string]string
	// Refuse maps host:port to the text of the status line of a 403.
	Refuse map[string]string
	// Hold maps host:port to a channel: the answer waits until it is closed or
	// the client is gone.
	Hold map[string]chan struct{}
	// Held is called when an answer begins to wait. It may be nil.
	Held func()
	// Authority makes it a proxy over TLS, at "localhost". Nil: in clear.
	Authority *Authority
}

// NewProxy returns a proxy on loopback that serves until the test ends.
func NewProxy(t testing.TB, c ProxyConfig) *Proxy {
	t.Helper()
	p := &Proxy{routes: c.Routes, refuse: c.Refuse, hold: c.Hold, held: c.Held}
	s := httptest.NewUnstartedServer(p)
	scheme, host := "http://", s.Listener.Addr().String()
	if c.Authority != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{c.Authority.Certificate(t, "localhost")}}
		s.StartTLS()
		_, port, _ := net.SplitHostPort(host)
		scheme, host = "https://", net.JoinHostPort("localhost", port)
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		p.open.Wait()
	})
	p.URL = scheme + ProxyUser + ":" + ProxyToken + "@" + host
	return p
}

// Visits returns what came through so far, in order.
func (p *Proxy) Visits() []Visit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.visits)
}

// Denied returns the targets that were asked for without the right credential.
func (p *Proxy) Denied() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.denied)
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.admit(r) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="test"`)
		http.Error(w, "no credential", http.StatusProxyAuthRequired)
		return
	}
	host := r.Host
	if _, _, err := net.SplitHostPort(host); err != nil {
		host += ":80"
	}
	if held := p.hold[host]; held != nil {
		if p.held != nil {
			p.held()
		}
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	if reason := p.refuse[host]; reason != "" {
		p.deny(w, reason)
		return
	}
	addr, ok := p.routes[host]
	if !ok {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, addr)
		return
	}
	p.forward(w, r, addr)
}

func (p *Proxy) admit(r *http.Request) bool {
	target := r.RequestURI
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(ProxyUser+":"+ProxyToken))
	right := r.Header.Get("Proxy-Authorization") == want
	p.mu.Lock()
	defer p.mu.Unlock()
	if right {
		p.visits = append(p.visits, Visit{Method: r.Method, Target: target})
	} else {
		p.denied = append(p.denied, r.Method+" "+target)
	}
	return right
}

// deny answers by hand: net/http can't send a status text of one's own.
func (p *Proxy) deny(w http.ResponseWriter, reason string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	kind, _, _ := strings.Cut(strings.TrimPrefix(reason, "exeat: "), " ")
	body := "Exeat refused it.\n"
	fmt.Fprintf(conn, "HTTP/1.1 403 %s\r\nX-Exeat-Reason: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", reason, kind, len(body), body)
}

func (p *Proxy) tunnel(w http.ResponseWriter, addr string) {
	far, err := net.Dial("tcp", addr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	p.open.Add(1)
	go func() {
		defer p.open.Done()
		_, _ = io.Copy(far, buffered)
		_ = far.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(near, far)
}

func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, addr string) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Header.Del("Proxy-Authorization")
	out.URL.Host = addr
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for key, values := range resp.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}
