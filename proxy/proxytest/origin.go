package proxytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/resolve"
)

// Resolver answers from a map and counts what it was asked. It is safe for
// concurrent use.
type Resolver struct {
	mu      sync.Mutex
	answers map[string]resolve.Answer
	asked   []string
}

var _ proxy.Resolver = (*Resolver)(nil)

// NewResolver returns a resolver that knows no name.
func NewResolver() *Resolver { return &Resolver{answers: make(map[string]resolve.Answer)} }

// Add makes name lead to addrs.
func (r *Resolver) Add(name string, addrs ...string) {
	a := resolve.Answer{Name: name}
	for _, addr := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(addr))
	}
	r.Set(a)
}

// Set makes a the answer for its name.
func (r *Resolver) Set(a resolve.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[a.Name] = a
}

// Resolve implements proxy.Resolver.
func (r *Resolver) Resolve(_ context.Context, name string) (resolve.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, name)
	a, ok := r.answers[name]
	if !ok {
		return resolve.Answer{}, resolve.ErrNotFound
	}
	return a, nil
}

// Asked returns the names that were asked for, in order.
func (r *Resolver) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// CA issues certificates for origins.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a certificate authority that only lives in memory.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca := &CA{key: newKey(tb)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxytest"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	ca.Cert, _ = ca.sign(tb, template, template, ca.key)
	return ca
}

// Issue returns a certificate for names.
func (ca *CA) Issue(tb testing.TB, names ...string) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	_, der := ca.sign(tb, template, ca.Cert, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (ca *CA) sign(tb testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, der
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Origin is a server on loopback that treats each connection as it is told to.
type Origin struct {
	Addr netip.AddrPort

	mu    sync.Mutex
	bytes int64
	conns int
}

// NewOrigin starts an origin. It ends, with its connections, when the test does.
func NewOrigin(tb testing.TB, serve func(net.Conn)) *Origin {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	o := &Origin{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			o.accepted()
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				serve(&counted{conn.(*net.TCPConn), o})
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		cancel()
		wg.Wait()
	})
	return o
}

// Echo starts an origin that sends back what it gets.
func Echo(tb testing.TB) *Origin {
	tb.Helper()
	return NewOrigin(tb, func(c net.Conn) {
		io.Copy(c, c)
		c.(*counted).CloseWrite()
	})
}

// TLSEcho starts an origin that sends back what it gets over TLS, with a
// certificate of ca for names.
func TLSEcho(tb testing.TB, ca *CA, names ...string) *Origin {
	tb.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.Issue(tb, names...)}}
	return NewOrigin(tb, func(c net.Conn) {
		t := tls.Server(c, cfg)
		io.Copy(t, t)
		t.Close()
	})
}

// Port returns the port that the origin listens on.
func (o *Origin) Port() string { return portOf(o.Addr) }

// Received returns how many bytes reached the origin, and on how many
// connections.
func (o *Origin) Received() (bytes int64, conns int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes, o.conns
}

func (o *Origin) accepted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns++
}

// counted counts what an origin gets.
type counted struct {
	*net.TCPConn
	o *Origin
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	c.o.bytes += int64(n)
	return n, err
}

// WriteTo keeps io.Copy from going past Read.
func (c *counted) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
