// Package resolve turns names into addresses: Exeat's own stub resolver over
// configured or system upstreams (UDP with TCP fallback, EDNS, or DNS over
// TLS), and the passive memory of which name led to which address for whom.
//
// The client's own idea of an address is no evidence, so nothing of the
// operating system's resolver is used: every answer is checked for id,
// question and owner, the CNAME chain is followed inside the answer for at most
// ten hops and kept, and only addresses at the end of that chain count.
// Answers, negative ones too, are cached for their TTL; one query a name is in
// flight at a time, and no name waits for another.
package resolve

import (
	"errors"
	"net/netip"
	"time"
)

// MaxChain is how many CNAMEs are followed from a name to its addresses.
const MaxChain = 10

// Answer is what a name resolved to. Its slices are shared between callers and
// must not be written to.
type Answer struct {
	// Name is the canonical name that was asked for.
	Name string
	// Chain has the CNAME targets from Name to the owner of the addresses, in
	// order; empty when Name has addresses of its own.
	Chain []string
	// Addrs are the addresses, both families, in the order to try them
	// (RFC 8305, section 4): IPv6 first, then alternating.
	Addrs []netip.Addr
	// Expires is when the shortest TTL in the answer runs out.
	Expires time.Time
}

// Errors of Resolver.Resolve; test with errors.Is.
var (
	// ErrNotFound: the name does not exist.
	ErrNotFound = errors.New("the name does not exist")
	// ErrNoAddress: the name exists and has neither A nor AAAA.
	ErrNoAddress = errors.New("the name has no address")
	// ErrTimeout: no upstream answered in time.
	ErrTimeout = errors.New("no DNS server answered in time")
	// ErrServer: the upstreams failed or refused (SERVFAIL, REFUSED, garbage).
	ErrServer = errors.New("the DNS server failed")
	// ErrChain: the CNAME chain is longer than MaxChain or loops.
	ErrChain = errors.New("the CNAME chain is too long or loops")
)
