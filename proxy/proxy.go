// Package proxy is the synchronous walk of a connection: accept, authenticate,
// name, decide, resolve, decide again, dial, answer 200, peek at the hello,
// confirm, splice. What happened is handed to the Journal, once, in one place.
//
// Nothing about a refused name leaves the machine, and nothing that was let
// through is decrypted.
package proxy

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/resolve"
)

// Authenticator says whose credential a client shows. It is implemented by
// identity.Registry.
type Authenticator interface {
	// Authenticate returns the server that name and token prove, or
	// identity.ErrBadCredential, ErrThrottled or, with the grant, ErrRevoked.
	Authenticate(name, token string, from netip.Addr) (identity.Grant, error)
	// Server returns the live server of an ID, for listeners that need no
	// credentials.
	Server(id identity.ID) (identity.Server, bool)
}

// Matcher says what a server's baseline holds of a destination. It is
// implemented by baseline.Book.
type Matcher interface {
	Match(server identity.ID, d flow.Destination) baseline.Match
}

// Classifier names the class of a risky host, or "". It is implemented by
// detect.Risky.
type Classifier interface {
	Class(host string) string
}

// Resolver turns a canonical name into addresses. It is implemented by
// resolve.Resolver.
type Resolver interface {
	Resolve(ctx context.Context, name string) (resolve.Answer, error)
}

// Journal is told what happened. It is implemented by record.Journal. Its
// methods are safe for concurrent use.
type Journal interface {
	// Admit makes sure that there is room to record one more flow. While the
	// queue is full it waits, which slows new connections down; it gives up
	// with ErrOverloaded.
	Admit(ctx context.Context) error
	// Alarm makes the alert about f of the kind in reason durable before it
	// returns. It is called before anything about a destination outside the
	// baseline leaves the machine. On error nothing may leave, unless the
	// server is in learn mode.
	Alarm(ctx context.Context, f flow.Flow, reason flow.Reason) error
	// Opened reports a flow whose bytes are being carried. It is called before
	// Closed, and not at all for a plain request that is over in no time.
	Opened(f flow.Flow)
	// Closed reports a flow that ended, or that never came to be (refused or
	// failed). It is called exactly once for each flow.
	Closed(f flow.Flow)
	// Resolved tells the passive memory which name led to which addresses.
	Resolved(server identity.ID, a resolve.Answer)
	// AuthFailed reports a wrong credential: the name it claimed, if that is a
	// well-formed name, and where it came from.
	AuthFailed(claimed identity.Name, from netip.Addr)
}

// ErrOverloaded is what Journal.Admit returns when no room came free.
var ErrOverloaded = errors.New("the record is not keeping up")

// Limits bound what one client and one server may use. A zero field takes its
// default; a negative TunnelsPerServer or ConnectsPerSec means no limit.
type Limits struct {
	TunnelsPerServer int           // open tunnels of one server; 1024
	ConnectsPerSec   int           // new connections a second of one server, burst of the same; 50 (plain requests count by the connection they come on)
	HeaderBytes      int           // request head; 32 KiB
	HeaderFields     int           // fields of a request head; 100
	HeaderTimeout    time.Duration // from accept to the end of the head; 10 s
	HelloTimeout     time.Duration // from our 200 to the end of the hello; 10 s
	DialTimeout      time.Duration // all attempts together; 10 s
	IdleTimeout      time.Duration // without a byte either way; 1 h
	DrainTimeout     time.Duration // without a byte, after one side closed; 30 s
	// Waiting is how many connections may be open that have not proved who
	// they are, idle ones between two plain requests included; 1024. When one
	// more comes, the oldest of them gives way: a client that does nothing
	// can't keep out one that does.
	Waiting int
}

// Config is what New needs.
type Config struct {
	Identities Authenticator // must not be nil
	Baseline   Matcher       // must not be nil
	Risky      Classifier    // must not be nil
	Resolver   Resolver      // must not be nil
	Journal    Journal       // must not be nil
	// Guard returns the address guard in force. It is called for each
	// decision and must be quick. It must not be nil.
	Guard func() *policy.Guard
	// Dial connects to an address that was checked. Nil: a net.Dialer whose
	// Control hook checks the address against Guard once more.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	// Hint returns the command or link that would allow a flow that was
	// refused, for the refusal's text. Nil: "exeat baseline approve …".
	Hint   func(f flow.Flow) string
	Limits Limits
	// RootCAs verify the upstream of an absolute-form request for https://,
	// where TLS is ours to do. Nil: the system's.
	RootCAs *x509.CertPool
	// Logger takes what an operator should see. It must not be nil.
	Logger *slog.Logger
}

// withDefaults returns l with every zero field set.
func (l Limits) withDefaults() Limits {
	l.TunnelsPerServer = cmp.Or(l.TunnelsPerServer, 1024)
	l.ConnectsPerSec = cmp.Or(l.ConnectsPerSec, 50)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 32<<10)
	l.HeaderFields = cmp.Or(l.HeaderFields, 100)
	l.HeaderTimeout = cmp.Or(l.HeaderTimeout, 10*time.Second)
	l.HelloTimeout = cmp.Or(l.HelloTimeout, 10*time.Second)
	l.DialTimeout = cmp.Or(l.DialTimeout, 10*time.Second)
	l.IdleTimeout = cmp.Or(l.IdleTimeout, time.Hour)
	l.DrainTimeout = cmp.Or(l.DrainTimeout, 30*time.Second)
	l.Waiting = cmp.Or(l.Waiting, 1024)
	return l
}

// validate names the first thing that is missing.
func (c *Config) validate() error {
	missing := func(what string) error { return fmt.Errorf("proxy: Config.%s is nil", what) }
	switch {
	case c.Identities == nil:
		return missing("Identities")
	case c.Baseline == nil:
		return missing("Baseline")
	case c.Risky == nil:
		return missing("Risky")
	case c.Resolver == nil:
		return missing("Resolver")
	case c.Journal == nil:
		return missing("Journal")
	case c.Guard == nil:
		return missing("Guard")
	case c.Logger == nil:
		return missing("Logger")
	}
	return nil
}
