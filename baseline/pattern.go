package baseline

import (
	_ "embed" // for the names above public suffixes
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/exeat/exeat/flow"
)

//go:generate go run ./internal/suffixgen

const wildcard = "*."

// DefaultPort is the port of a target that names none: HTTPS.
const DefaultPort = 443

// ParsePattern reads a host as flow.ParseHost does, or "*." and such a host. It
// refuses with ErrSharedHosting a wildcard that would cover names of
// strangers: whose base is a suffix of the Public Suffix List, its private
// section included ("*.co.uk", "*.workers.dev"); lies above one
// ("*.amazonaws.com", above s3.amazonaws.com); or has a single label. Anything
// else is ErrBadPattern, a wildcard over an IP address too.
//
// The list is the one that golang.org/x/net/publicsuffix carries; it names only
// the shared hosts whose owners asked for it.
func ParsePattern(s string) (Pattern, error) {
	base, wild := strings.CutPrefix(s, wildcard)
	host, err := flow.ParseHost(base)
	if err != nil {
		return "", fmt.Errorf("%w: %q", ErrBadPattern, s)
	}
	if !wild {
		return Pattern(host), nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", fmt.Errorf("%w: %q", ErrBadPattern, s)
	}
	if shared(host) {
		return "", fmt.Errorf("%w: %q", ErrSharedHosting, s)
	}
	return Pattern(wildcard + host), nil
}

// shared reports whether the sub-domains of host belong to more than one
// owner.
func shared(host string) bool {
	suffix, _ := publicsuffix.PublicSuffix(host)
	return suffix == host || aboveSuffix(host) || strings.IndexByte(host, '.') < 0
}

// aboveSuffixes has the names that lie above a public suffix and are none
// themselves, one a line; the file says where they come from.
//
//go:embed data/above_suffixes.txt
var aboveSuffixes string

// aboveSuffix reports whether a public suffix lies below host, which is none
// itself: its sub-domains then belong to strangers. Patterns are read seldom,
// so the list is simply searched.
func aboveSuffix(host string) bool {
	return strings.Contains(aboveSuffixes, "\n"+host+"\n")
}

// Matches reports whether p covers a canonical host.
func (p Pattern) Matches(host string) bool {
	base, wild := p.base()
	if !wild {
		return host == base
	}
	sub, ok := strings.CutSuffix(host, base)
	return ok && len(sub) > 1 && sub[len(sub)-1] == '.'
}

// base returns p without its "*.", and whether it had one.
func (p Pattern) base() (string, bool) { return strings.CutPrefix(string(p), wildcard) }

// literal reports whether p is an IP address.
func (p Pattern) literal() bool {
	_, ok := flow.Destination{Host: string(p)}.Addr()
	return ok
}

// Target is what a decision is about: the hosts of a pattern at one port. Make
// one with ParseTarget.
type Target struct {
	Host Pattern
	Port uint16
}

// ParseTarget reads "host[:port]", where host is as in ParsePattern, and an IPv6
// address with a port has brackets. Without a port it is DefaultPort.
func ParseTarget(s string) (Target, error) {
	host, port := s, ""
	switch colon := strings.LastIndexByte(s, ':'); {
	case strings.HasPrefix(s, "["):
		var ok bool
		host, port, ok = strings.Cut(s[1:], "]")
		if !ok || strings.IndexByte(host, ':') < 0 || (port != "" && port[0] != ':') {
			return Target{}, fmt.Errorf("%w: %q", ErrBadPattern, s)
		}
	case colon >= 0 && strings.IndexByte(s, ':') == colon:
		host, port = s[:colon], s[colon:]
	}
	p, err := ParsePattern(host)
	if err != nil {
		return Target{}, err
	}
	if port == "" {
		return Target{Host: p, Port: DefaultPort}, nil
	}
	n, err := flow.ParsePort(port[1:])
	if err != nil {
		return Target{}, err
	}
	return Target{Host: p, Port: n}, nil
}

// String returns host:port, with brackets around an IPv6 address.
func (t Target) String() string {
	return net.JoinHostPort(string(t.Host), strconv.Itoa(int(t.Port)))
}
