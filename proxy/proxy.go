// Package proxy is the synchronous walk of a connection: accept, authenticate,
// name, decide, resolve, decide again, dial, answer 200, peek at the hello,
// confirm, splice. What happened is handed to the Journal, once, in one place.
//
// Nothing about a refused name leaves the machine, and nothing that was let
// through is decrypted.
package proxy

import (
	"context"
	"errors"
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
	// Opened reports a tunnel whose bytes are about to be carried.
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
// default.
type Limits struct {
	TunnelsPerServer int           // open tunnels of one server; 1024
	ConnectsPerSec   int           // new connections a second of one server, burst of the same; 50
	HeaderBytes      int           // request head; 32 KiB
	HeaderFields     int           // fields of a request head; 100
	HeaderTimeout    time.Duration // from accept to the end of the head; 10 s
	HelloTimeout     time.Duration // from our 200 to the end of the hello; 10 s
	DialTimeout      time.Duration // all attempts together; 10 s
	IdleTimeout      time.Duration // without a byte either way; 1 h
	DrainTimeout     time.Duration // after one side closed; 30 s
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
	// Logger takes what an operator should see. It must not be nil.
	Logger *slog.Logger
}
