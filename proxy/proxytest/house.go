// Package proxytest makes it easy to test with a real proxy: a House has
// everything a proxy needs, with the real registry and baselines over stores
// in memory, a journal that remembers what it was told, and a resolver that is
// a map. Origins and clients speak real TCP and TLS over loopback.
package proxytest

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/proxy"
)

// House is what a proxy under test lives in. Make one with New, change what a
// test needs changed, and then Start it.
type House struct {
	Registry *identity.Registry
	Book     *baseline.Book
	Journal  *Journal
	Resolver *Resolver
	Risky    Risky
	Guard    atomic.Pointer[policy.Guard] // at first: loopback may be reached
	CA       *CA

	proxy atomic.Pointer[proxy.Proxy]
}

// Risky maps hosts to their class.
type Risky map[string]string

// Class returns the class of host.
func (r Risky) Class(host string) string { return r[host] }

// New returns a house without servers.
func New(tb testing.TB) *House {
	tb.Helper()
	h := &House{Journal: NewJournal(), Resolver: NewResolver(), Risky: Risky{}, CA: NewCA(tb)}
	h.Guard.Store(&policy.Guard{AllowPrivate: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	}})
	var err error
	h.Registry, err = identity.NewRegistry(tb.Context(), identity.Config{Store: nowhere{}, Revoked: func(id identity.ID, cred uuid.UUID) {
		if p := h.proxy.Load(); p != nil {
			p.Cut(id, cred)
		}
	}})
	if err != nil {
		tb.Fatal(err)
	}
	if h.Book, err = baseline.NewBook(tb.Context(), baseline.BookConfig{Store: nowhere{}}); err != nil {
		tb.Fatal(err)
	}
	return h
}

// Server enrols a server and returns it with its token.
func (h *House) Server(tb testing.TB, name identity.Name, mode identity.Mode) (identity.Server, string) {
	tb.Helper()
	s, token, err := h.Registry.Add(tb.Context(), identity.NewServer{Name: name, Mode: mode}, "test")
	if err != nil {
		tb.Fatal(err)
	}
	return s, token
}

// Approve approves a destination such as "api.test:443" for a server, with
// grades beside verified.
func (h *House) Approve(tb testing.TB, s identity.Server, target string, grades ...flow.Grade) {
	tb.Helper()
	t, err := baseline.ParseTarget(target)
	if err == nil {
		_, err = h.Book.Approve(tb.Context(), s, []baseline.Target{t}, baseline.Decision{Grades: grades}, "test")
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Reject rejects a destination for a server.
func (h *House) Reject(tb testing.TB, s identity.Server, target string) {
	tb.Helper()
	t, err := baseline.ParseTarget(target)
	if err == nil {
		_, err = h.Book.Reject(tb.Context(), s, []baseline.Target{t}, baseline.Decision{}, "test")
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Config returns the configuration of a proxy in this house.
func (h *House) Config(tb testing.TB) proxy.Config {
	roots := x509.NewCertPool()
	roots.AddCert(h.CA.Cert)
	return proxy.Config{
		Identities: h.Registry, Baseline: h.Book, Risky: h.Risky, Resolver: h.Resolver, Journal: h.Journal,
		Guard: h.Guard.Load, RootCAs: roots, Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)),
		Limits: proxy.Limits{ConnectsPerSec: -1},
	}
}

// Start runs a proxy, as change makes it, and returns it with its address. It
// is shut down when the test ends. change may be nil.
func (h *House) Start(tb testing.TB, change func(*proxy.Config)) (p *proxy.Proxy, addr string) {
	tb.Helper()
	cfg := h.Config(tb)
	if change != nil {
		change(&cfg)
	}
	p, err := proxy.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	h.proxy.Store(p)
	ln, err := proxy.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	Serve(tb, p, ln, uuid.Nil)
	return p, ln.Addr().String()
}

// Serve runs p on ln until the test ends: for all servers, or for the one
// given.
func Serve(tb testing.TB, p *proxy.Proxy, ln net.Listener, server identity.ID) {
	served := make(chan error, 1)
	go func() {
		if server == uuid.Nil {
			served <- p.Serve(context.Background(), ln)
			return
		}
		served <- p.ServeAs(context.Background(), ln, server)
	}()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second/10)
		defer cancel()
		_ = p.Shutdown(ctx) // its error says that flows were still open
		if err := <-served; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
}

// nowhere is a store that keeps nothing: what the registry and the book hold in
// memory is all there is.
type nowhere struct{}

func (nowhere) Identities(context.Context) ([]identity.Server, []identity.Credential, error) {
	return nil, nil, nil
}

func (nowhere) PutServer(context.Context, identity.Server, []identity.Credential, identity.Change) error {
	return nil
}

func (nowhere) RemoveServer(context.Context, identity.ID, identity.Change) error { return nil }

func (nowhere) Baselines(context.Context) ([]baseline.Entry, map[identity.ID]int64, error) {
	return nil, nil, nil
}

func (nowhere) Decide(context.Context, identity.ID, int64, []baseline.Entry, identity.Change) error {
	return nil
}
