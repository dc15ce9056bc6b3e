package flow

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Destination is a canonical host and port. Make one with ParseDestination;
// two Destinations are the same place exactly when they are ==. (An IPv6
// address that embeds an IPv4 address stays what it is, so that it can be
// reported; the address guard lets none of them be dialled.) The zero value is
// no destination.
type Destination struct {
	// Host is a name of LDH labels (and "_"), lower case, without a trailing
	// dot, or an IP address in the form that netip.Addr.String gives, without
	// brackets and without a zone.
	Host string
	Port uint16
}

// Errors of ParseDestination. They never carry the input: it is hostile.
var (
	ErrNoPort  = errors.New("the target has no port")
	ErrBadPort = errors.New("the target's port is not a number from 1 to 65535")
	ErrBadHost = errors.New("the target's host is neither a DNS name of letters, digits, '-' and '_' nor an IP address in its standard form")
)

// ParseDestination reads "host:port" as it stands in a CONNECT request
// (RFC 9110, section 9.3.6). It lowers ASCII letters and strips one trailing
// dot; whatever is then not plainly a name or an address is refused, never
// repaired or mapped.
func ParseDestination(hostport string) (Destination, error) {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 {
		return Destination{}, ErrNoPort
	}
	host, port := hostport[:i], hostport[i+1:]
	p, err := ParsePort(port)
	if err != nil {
		return Destination{}, err
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		addr, err := netip.ParseAddr(host[1 : len(host)-1])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return Destination{}, ErrBadHost
		}
		return Destination{Host: addr.String(), Port: p}, nil
	}
	if strings.IndexByte(host, ':') >= 0 {
		return Destination{}, ErrBadHost
	}
	h, err := ParseHost(host)
	if err != nil {
		return Destination{}, err
	}
	return Destination{Host: h, Port: p}, nil
}

// ParsePort reads a decimal port from 1 to 65535, without sign or leading zero.
func ParsePort(s string) (uint16, error) {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return 0, ErrBadPort
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrBadPort
		}
		n = n*10 + int(s[i]-'0')
	}
	if n > 65535 {
		return 0, ErrBadPort
	}
	return uint16(n), nil
}

// ParseHost returns the canonical form of a host without a port: a DNS name,
// an IPv4 address in four decimal parts, or an IPv6 address without brackets.
func ParseHost(s string) (string, error) {
	if strings.IndexByte(s, ':') >= 0 {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return "", ErrBadHost
		}
		return addr.String(), nil
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", ErrBadHost
	}
	if !ldhLabels(s) {
		return "", ErrBadHost
	}
	s = strings.ToLower(s) // ASCII by now
	last := s[strings.LastIndexByte(s, '.')+1:]
	if numeric(last) {
		// A name whose last label is a number is an IPv4 address to some
		// readers (WHATWG URL, inet_aton) and a name to others: it must be the
		// one form that all read alike.
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return "", ErrBadHost
		}
		return addr.String(), nil
	}
	return s, nil
}

// numeric reports whether some resolver would read label as a number: decimal
// or 0x-hexadecimal.
func numeric(label string) bool {
	if len(label) >= 2 && label[0] == '0' && label[1] == 'x' {
		return strings.Trim(label[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// ldhLabels reports whether s is dot-separated labels of 1 to 63 letters,
// digits, '-' and '_', none starting or ending with '-'.
func ldhLabels(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		n := len(label)
		if n == 0 || n > 63 || label[0] == '-' || label[n-1] == '-' || !ldh(label) {
			return false
		}
	}
	return true
}

// ldh reports whether label has only letters, digits, '-' and '_'.
func ldh(label string) bool {
	for i := range len(label) {
		c := label[i]
		if lower := c | 0x20; (lower < 'a' || lower > 'z') && !digit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Addr returns the address that Host is, and whether it is one.
func (d Destination) Addr() (netip.Addr, bool) {
	// Most hosts are names, and for those netip.ParseAddr would allocate an
	// error each time. A canonical IPv6 address has a colon, an IPv4 address
	// starts and ends with a digit.
	if strings.IndexByte(d.Host, ':') < 0 && (d.Host == "" || !digit(d.Host[0]) || !digit(d.Host[len(d.Host)-1])) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(d.Host)
	return addr, err == nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// IsZero reports whether d is the zero Destination.
func (d Destination) IsZero() bool { return d == Destination{} }

// String returns host:port, with brackets around an IPv6 address.
func (d Destination) String() string {
	return net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
}
