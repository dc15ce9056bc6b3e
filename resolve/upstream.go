package resolve

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/exeat/exeat/flow"
)

const (
	// downAfter failures in a row make an upstream one that is asked last.
	downAfter = 2
	// downFor is how long it stays so before one query tries it again.
	downFor = 10 * time.Second
)

// upstream is one DNS server that is asked.
type upstream struct {
	addr string      // host:port
	tls  *tls.Config // nil: plain DNS over UDP and TCP
	idle pool        // connections to a TLS upstream that wait for reuse

	mu    sync.Mutex
	fails int       // in a row
	retry time.Time // when a down upstream is tried again
}

// parseUpstream reads "ip", "host:port", "tls://host[:port]" or
// "tls://name@ip[:port]".
func parseUpstream(s string, roots *x509.CertPool) (*upstream, error) {
	rest, secure := strings.CutPrefix(s, "tls://")
	if !secure {
		host, port, err := splitUpstream(rest, "53")
		if err != nil {
			return nil, fmt.Errorf("DNS upstream %q: %w", s, err)
		}
		return &upstream{addr: net.JoinHostPort(host, port)}, nil
	}
	name, at, named := strings.Cut(rest, "@")
	if !named {
		at = rest
	}
	host, port, err := splitUpstream(at, "853")
	if err == nil && !named {
		name = host
	}
	if err == nil {
		name, err = flow.ParseHost(name)
	}
	if err != nil {
		return nil, fmt.Errorf("DNS upstream %q: %w", s, err)
	}
	return &upstream{addr: net.JoinHostPort(host, port), tls: &tls.Config{
		ServerName: name,
		RootCAs:    roots,
		MinVersion: tls.VersionTLS12,
	}}, nil
}

// splitUpstream splits an address or host name from its port, if it has one.
// Unlike in a destination, an IPv6 zone is welcome: link-local DNS servers are
// announced with one.
func splitUpstream(s, defaultPort string) (host, port string, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		return addr.String(), defaultPort, nil
	}
	host, port = s, defaultPort
	if strings.Contains(s, ":") {
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", "", err
		}
		if _, err := flow.ParsePort(port); err != nil {
			return "", "", err
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			return addr.String(), port, nil
		}
	}
	host, err = flow.ParseHost(host)
	return host, port, err
}

// parseUpstreams reads all of list.
func parseUpstreams(list []string, roots *x509.CertPool) ([]*upstream, error) {
	ups := make([]*upstream, 0, len(list))
	for _, s := range list {
		u, err := parseUpstream(s, roots)
		if err != nil {
			return nil, err
		}
		ups = append(ups, u)
	}
	return ups, nil
}

// inOrder returns the upstreams in the order to ask them: those that work, as
// configured, then those that are down.
func inOrder(ups []*upstream, now time.Time) []*upstream {
	order := make([]*upstream, 0, len(ups))
	var down []*upstream
	for _, u := range ups {
		if u.eligible(now) {
			order = append(order, u)
		} else {
			down = append(down, u)
		}
	}
	return append(order, down...)
}

// eligible reports whether u is to be asked in its turn. Of a down upstream
// whose rest is over it says so once: that one query finds out for all.
func (u *upstream) eligible(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fails < downAfter {
		return true
	}
	if now.Before(u.retry) {
		return false
	}
	u.retry = now.Add(downFor)
	return true
}

// failed notes that u was silent or out of reach, and reports whether that
// took it down.
func (u *upstream) failed(now time.Time) (wentDown bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fails++
	if u.fails >= downAfter {
		u.retry = now.Add(downFor)
	}
	return u.fails == downAfter
}

// worked notes that u replied, whatever it said, and reports whether it had
// been down.
func (u *upstream) worked() (cameBack bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	cameBack = u.fails >= downAfter
	u.fails = 0
	return cameBack
}
