package resolve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/exeat/exeat/flow"
)

const (
	headerLen = 12 // RFC 1035, section 4.1.1

	// maxAddrs bounds the addresses of one family that are kept of an answer:
	// a hostile zone could fill a 64 KiB message with them.
	maxAddrs = 32

	// maxTTL bounds how long an answer is kept, whatever it says.
	maxTTL = time.Hour
	// maxNegativeTTL bounds how long the absence of a name or of addresses is
	// kept (RFC 2308, section 5, leaves it to the resolver).
	maxNegativeTTL = 5 * time.Minute
	// failureTTL is how long a failure is kept, so that a storm of requests
	// for a broken name does not become a storm of queries (RFC 9520).
	failureTTL = 2 * time.Second
)

// Outcomes of parseReply that lead to another exchange instead of an answer.
var (
	errForeign   = errors.New("not a reply to this query")
	errTruncated = errors.New("the reply is truncated")
	errNoEDNS    = errors.New("the server does not speak EDNS")
)

// question is what one query message asks.
type question struct {
	id    uint16
	name  string // canonical, without the trailing dot
	qtype uint16 // dns.TypeA or dns.TypeAAAA
}

// kind says what a reply came to.
type kind uint8

const (
	found    kind = iota + 1 // addresses
	dangling                 // a CNAME chain whose end is not in the message
	noData                   // the name exists and has no such address
	noName                   // the name, or the end of its chain, does not exist
)

// reply is what one message answered to a question.
type reply struct {
	kind  kind
	chain []string // CNAME targets in order, canonical, at most MaxChain
	addrs []netip.Addr
	ttl   time.Duration // how long it may be kept; 0: not at all
}

// parseReply reads msg, a whole DNS message from an upstream, as the reply to
// q. It is a pure function of its arguments.
//
// It returns errForeign for what is no reply to q, errTruncated and errNoEDNS
// for what should be asked again in another way, ErrChain, or ErrServer for
// everything that the upstream did wrong.
func parseReply(msg []byte, q question) (reply, error) {
	if !repliesTo(msg, q) {
		return reply{}, errForeign
	}
	if binary.BigEndian.Uint16(msg[2:])&(1<<9) != 0 {
		return reply{}, errTruncated // before unpacking: it may end anywhere
	}
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return reply{}, fmt.Errorf("%w: unreadable reply: %w", ErrServer, err)
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return chase(&m, q)
	case dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		return reply{}, fmt.Errorf("%w (%w: %s)", errNoEDNS, ErrServer, rcodeText(m.Rcode))
	}
	return reply{}, fmt.Errorf("%w: %s", ErrServer, rcodeText(m.Rcode))
}

// repliesTo reports whether msg is a reply to q: its id, the QR bit, the
// opcode and its one question must be the ones of the query (RFC 5452,
// section 9.1).
func repliesTo(msg []byte, q question) bool {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg) != q.id {
		return false
	}
	bits := binary.BigEndian.Uint16(msg[2:])
	if response, opcode := bits>>15 == 1, bits>>11&0xf; !response || opcode != dns.OpcodeQuery {
		return false
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return false
	}
	name, off, err := dns.UnpackDomainName(msg, headerLen)
	if err != nil || off+4 > len(msg) || !sameName(name, q.name) {
		return false
	}
	return binary.BigEndian.Uint16(msg[off:]) == q.qtype &&
		binary.BigEndian.Uint16(msg[off+2:]) == dns.ClassINET
}

// chase follows the CNAMEs of m from the name asked for. Only records of the
// owners on that chain count: what the message says of other names is nobody's
// business.
func chase(m *dns.Msg, q question) (reply, error) {
	r := reply{ttl: maxTTL}
	owner := q.name
	for {
		if r.collect(m.Answer, owner, q.qtype); len(r.addrs) > 0 && m.Rcode == dns.RcodeSuccess {
			r.kind = found
			return r, nil
		}
		alias := aliasOf(m.Answer, owner)
		if alias == nil {
			r.absent(m, owner)
			return r, nil
		}
		target, err := aliasTarget(alias.Target)
		if err != nil {
			return reply{}, err
		}
		if r.chain, err = extend(q.name, r.chain, target); err != nil {
			return reply{}, err
		}
		r.atMost(alias.Hdr.Ttl)
		owner = target
	}
}

// collect adds owner's addresses of one family.
func (r *reply) collect(answer []dns.RR, owner string, qtype uint16) {
	for _, rr := range answer {
		h := rr.Header()
		if h.Rrtype != qtype || h.Class != dns.ClassINET || !sameName(h.Name, owner) {
			continue
		}
		addr, ok := addrOf(rr)
		if !ok || len(r.addrs) == maxAddrs || slices.Contains(r.addrs, addr) {
			continue
		}
		r.addrs = append(r.addrs, addr)
		r.atMost(h.Ttl)
	}
}

// absent fills r for a chain that ends at owner without an address.
func (r *reply) absent(m *dns.Msg, owner string) {
	r.addrs = nil
	soa := soaOf(m.Ns, owner)
	switch {
	case m.Rcode == dns.RcodeNameError:
		r.kind = noName
	case len(r.chain) > 0 && soa == nil:
		r.kind = dangling
		return
	default:
		r.kind = noData
	}
	if soa == nil {
		// RFC 2308, section 5: not to be cached. It is kept as briefly as a
		// failure, for the same reason.
		r.ttl = min(r.ttl, failureTTL)
		return
	}
	r.atMost(min(soa.Hdr.Ttl, soa.Minttl))
	r.ttl = min(r.ttl, maxNegativeTTL)
}

// atMost lowers r's time to live to that of one more record.
func (r *reply) atMost(ttl uint32) {
	if ttl > 1<<31-1 {
		ttl = 0 // RFC 2181, section 8
	}
	r.ttl = min(r.ttl, time.Duration(ttl)*time.Second)
}

// extend appends target to the chain that starts at name, or returns ErrChain.
func extend(name string, chain []string, target string) ([]string, error) {
	if target == name || slices.Contains(chain, target) || len(chain) == MaxChain {
		return nil, ErrChain
	}
	return append(chain, target), nil
}

// aliasOf returns owner's CNAME record, or nil. There may only be one
// (RFC 2181, section 10.1); of several the first counts.
func aliasOf(answer []dns.RR, owner string) *dns.CNAME {
	for _, rr := range answer {
		c, ok := rr.(*dns.CNAME)
		if ok && c.Hdr.Class == dns.ClassINET && sameName(c.Hdr.Name, owner) {
			return c
		}
	}
	return nil
}

// aliasTarget returns the canonical form of a CNAME's target, which must be a
// name that could itself be asked for.
func aliasTarget(fqdn string) (string, error) {
	name, err := flow.ParseHost(fqdn)
	if err != nil {
		return "", fmt.Errorf("%w: a CNAME points at something that is no host name", ErrServer)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", fmt.Errorf("%w: a CNAME points at an address", ErrServer)
	}
	return name, nil
}

// soaOf returns the SOA record of a zone that holds name, or nil.
func soaOf(authority []dns.RR, name string) *dns.SOA {
	for _, rr := range authority {
		soa, ok := rr.(*dns.SOA)
		if ok && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, name+".") {
			return soa
		}
	}
	return nil
}

// addrOf returns the address of an A or AAAA record. An IPv4-mapped address in
// an AAAA record stays one, for the address guard to see.
func addrOf(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		return netip.AddrFromSlice(rr.A.To4())
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA.To16())
	}
	return netip.Addr{}, false
}

// sameName reports whether fqdn, as the dns package unpacks names, is the
// canonical name. That package escapes everything but printable ASCII, so
// folding case can't go beyond ASCII here.
func sameName(fqdn, name string) bool {
	return len(fqdn) == len(name)+1 && fqdn[len(name)] == '.' && strings.EqualFold(fqdn[:len(name)], name)
}

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}
