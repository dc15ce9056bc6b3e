package resolve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// certificate makes a self-signed certificate for dns.test and 127.0.0.1.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "DNS over TLS in a test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"dns.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// tlsServer is a DNS server over TLS whose connections can be counted and cut.
type tlsServer struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *tlsServer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *tlsServer) accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *tlsServer) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

func serveTLS(t testing.TB, h dns.HandlerFunc, c *tls.Config) *tlsServer {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &tlsServer{Listener: inner}
	started := make(chan struct{})
	srv := &dns.Server{Listener: tls.NewListener(l, c), Handler: h, NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		l.cut()
		if err := errors.Join(srv.Shutdown(), <-done); err != nil {
			t.Errorf("DNS server: %v", err)
		}
	})
	return l
}

func TestTLSUpstream(t *testing.T) {
	cert, roots := certificate(t)
	l := serveTLS(t, zone(t, example), &tls.Config{Certificates: []tls.Certificate{cert}})
	for _, upstream := range []string{"tls://", "tls://dns.test@"} {
		t.Run(upstream, func(t *testing.T) {
			before := l.accepted()
			r := resolver(t, Config{Upstreams: []string{upstream + l.Addr().String()}, RootCAs: roots})
			a := mustResolve(t, r, "alias.example.test")
			if !slices.Equal(a.Addrs, addrs("2001:db8::1", "192.0.2.1", "192.0.2.2")) {
				t.Errorf("got %v", a)
			}
			for i := range 20 {
				r.Resolve(t.Context(), fmt.Sprintf("n%d.example.test", i))
			}
			if n := l.accepted() - before; n > 2 {
				t.Errorf("%d connections for 42 queries", n)
			}
		})
	}
}

func TestKeptTLSConnectionThatDied(t *testing.T) {
	cert, roots := certificate(t)
	l := serveTLS(t, zone(t, example), &tls.Config{Certificates: []tls.Certificate{cert}})
	r := resolver(t, Config{Upstreams: []string{"tls://" + l.Addr().String()}, RootCAs: roots})
	mustResolve(t, r, "v4.example.test")
	l.cut()
	mustResolve(t, r, "v6.example.test")
	if got := r.Stats(); got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTLSUpstreamIsVerified(t *testing.T) {
	cert, roots := certificate(t)
	good := serveTLS(t, zone(t, example), &tls.Config{Certificates: []tls.Certificate{cert}})
	old := serveTLS(t, zone(t, example), &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	for _, row := range []struct {
		name, upstream string
		roots          *x509.CertPool
	}{
		{"unknown authority", "tls://" + good.Addr().String(), x509.NewCertPool()},
		{"another name", "tls://other.test@" + good.Addr().String(), roots},
		{"TLS 1.1", "tls://" + old.Addr().String(), roots},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := resolver(t, Config{Upstreams: []string{row.upstream}, RootCAs: row.roots})
			if a, err := r.Resolve(t.Context(), "v4.example.test"); !errors.Is(err, ErrServer) {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
}

func TestSilentTLSUpstream(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // connects, and that's all
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := resolver(t, Config{Upstreams: []string{"tls://" + l.Addr().String()}, Timeout: 200 * time.Millisecond})
	if _, err := r.Resolve(t.Context(), "a.test"); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

// closeCounter is a connection that only counts how often it is closed.
type closeCounter struct {
	net.Conn
	closed *int
}

func (c closeCounter) Close() error { *c.closed++; return nil }

func TestPoolIsBounded(t *testing.T) {
	var p pool
	var closed [maxIdle + 2]int
	for i := range closed {
		p.put(closeCounter{closed: &closed[i]})
	}
	if closed != [maxIdle + 2]int{maxIdle: 1, maxIdle + 1: 1} {
		t.Errorf("closed while putting: %v", closed)
	}
	if p.take() == nil {
		t.Error("nothing was kept")
	}
	p.close()
	if p.take() != nil {
		t.Error("a closed pool gave a connection")
	}
	if closed != [maxIdle + 2]int{1, 1, 1, 0, 1, 1} {
		t.Errorf("closed in the end: %v", closed)
	}
}

func TestIdleConnectionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		closed := 0
		p.put(closeCounter{closed: &closed})
		<-time.After(idleFor + 1) // of the bubble's clock
		synctest.Wait()
		if closed != 1 || p.take() != nil {
			t.Errorf("closed %d times", closed)
		}
	})
}
