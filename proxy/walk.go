package proxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
	"github.com/exeat/exeat/resolve"
)

// judge asks policy with what is known by now. What the baseline says was read
// once, at the first question: an answer that changed half-way could otherwise
// leave an alarm out, which is only due at the question that raises it.
func (s *session) judge(addr netip.Addr, grade flow.Grade) policy.Decision {
	return policy.Decide(s.p.cfg.Guard(), policy.Evidence{
		Mode: s.flow.Mode, Revoked: s.revoked, Dest: s.dest(),
		Match: s.match, Risk: s.risk,
		Addr: addr, Grade: grade,
	})
}

// heed does what a decision asks for. After it returned nil the walk may take
// its next step: the alarm that was due is on disk, or the server is learning.
func (s *session) heed(d policy.Decision) *refusal {
	s.flow.Verdict, s.flow.Reason = d.Verdict, d.Reason
	err := s.alarm(d)
	switch {
	case d.Verdict != flow.Allowed:
		return judged(d.Reason)
	case err != nil && s.flow.Mode != identity.ModeLearn:
		return &refusal{status: 503, reason: flow.ReasonStoreUnavailable, verdict: flow.Refused,
			why: "that is outside its baseline and the alert about it could not be stored"}
	case s.ctx.Err() != nil: // cut while the alarm, or what came before it, took its time
		return failed(503, flow.ReasonDialFailed, "the connection was given up")
	}
	return nil
}

// alarm makes the alert of a decision durable, once for each reason.
func (s *session) alarm(d policy.Decision) error {
	if !d.Alarm || !s.remember(d.Reason) {
		return nil
	}
	err := s.p.cfg.Journal.Alarm(s.ctx, s.flow, d.Reason)
	if err != nil {
		s.p.count.alarmsLost.Add(1)
	}
	return err
}

// find walks from the name to the addresses that may be dialled: decide about
// the name, resolve it, decide about each address. A name that is refused is
// not resolved.
func (s *session) find() ([]netip.Addr, *refusal) {
	if r := s.heed(s.judge(netip.Addr{}, "")); r != nil {
		return nil, r
	}
	addrs, r := s.resolve()
	if r != nil {
		return nil, r
	}
	return s.permit(addrs)
}

// resolve returns the addresses of the destination's name, or the one address
// that it is.
func (s *session) resolve() ([]netip.Addr, *refusal) {
	if addr, ok := s.dest().Addr(); ok {
		return []netip.Addr{addr}, nil
	}
	answer, err := s.p.cfg.Resolver.Resolve(s.ctx, s.flow.Host)
	switch {
	case errors.Is(err, resolve.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return nil, failed(504, flow.ReasonDNSFailed, resolve.ErrTimeout.Error())
	case err != nil:
		return nil, failed(502, flow.ReasonDNSFailed, "its name could not be resolved: "+dnsText(err))
	case len(answer.Addrs) == 0:
		return nil, failed(502, flow.ReasonDNSFailed, "its name could not be resolved: "+resolve.ErrNoAddress.Error())
	}
	s.p.cfg.Journal.Resolved(s.flow.ServerID, answer)
	s.flow.Chain = answer.Chain
	return answer.Addrs, nil
}

// dnsText is the error for a client: one of resolve's own sentences, never what
// a DNS server sent.
func dnsText(err error) string {
	for _, known := range []error{resolve.ErrNotFound, resolve.ErrNoAddress, resolve.ErrChain} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return resolve.ErrServer.Error()
}

// permit decides about each address, raises the alarms that are due, and
// returns those that may be dialled, in their order. If there is none, the
// gravest refusal stands for all, wherever in the answer it is.
func (s *session) permit(addrs []netip.Addr) ([]netip.Addr, *refusal) {
	var allowed policy.Decision
	var refused []answered
	permitted := make([]netip.Addr, 0, len(addrs))
	for _, addr := range addrs {
		d := s.judge(addr, s.grade)
		if d.Verdict == flow.Allowed {
			allowed = d
			permitted = append(permitted, addr)
			continue
		}
		refused = append(refused, answered{addr, d})
	}
	if len(permitted) == 0 {
		worst := slices.MaxFunc(refused, func(a, b answered) int { return cmp.Compare(a.gravity(), b.gravity()) })
		s.flow.IP = worst.addr
		return nil, s.heed(worst.Decision)
	}
	if r := s.passOver(refused); r != nil {
		return nil, r
	}
	s.flow.IP = permitted[0]
	if r := s.heed(allowed); r != nil {
		return nil, r
	}
	return permitted, nil
}

// answered is an address of a DNS answer with what was decided about it.
type answered struct {
	addr netip.Addr
	policy.Decision
}

// gravity orders the reasons for which an address is refused; it is above 1 for
// those that no honest name of the outside leads to.
func (a answered) gravity() int {
	switch a.Reason {
	case flow.ReasonMetadataAccess:
		return 3
	case flow.ReasonSelfAccess:
		return 2
	case flow.ReasonPrivateAddress:
		return 1
	}
	return 0
}

// passOver raises the alarms about addresses that are not dialled while others
// of the same answer are. A private one beside a public one is common: names
// differ inside and outside, and localhost has two addresses. A metadata
// service or Exeat itself beside a public one is how rebinding starts. The flow
// goes on, and so the alarm has it as allowed.
func (s *session) passOver(refused []answered) *refusal {
	for _, a := range refused {
		if a.gravity() <= 1 {
			continue
		}
		s.flow.IP = a.addr
		if r := s.heed(policy.Decision{Verdict: flow.Allowed, Reason: a.Reason, Alarm: a.Alarm}); r != nil {
			return r
		}
	}
	return nil
}

// dial connects to the destination at one of the addresses that were checked.
func (s *session) dial(addrs []netip.Addr) *refusal {
	conn, err := s.p.dialAny(s.ctx, addrs, s.flow.Port)
	if err != nil {
		return s.dialFailed(err)
	}
	if !s.attach(conn) {
		return failed(502, flow.ReasonDialFailed, "the connection was given up")
	}
	if addr, ok := remoteAddr(conn); ok {
		s.flow.IP = addr
	}
	return nil
}

// dialFailed says why dialling failed, in words that hold no address but the
// one that was asked for.
func (s *session) dialFailed(err error) *refusal {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &refusal{status: 503, reason: flow.ReasonOverloaded, verdict: flow.Refused, why: "Exeat has no descriptor left to connect with"}
	case errors.Is(err, errGuard):
		return judged(flow.ReasonPrivateAddress)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failed(504, flow.ReasonDialTimeout, "it did not answer in time")
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed(502, flow.ReasonDialFailed, "it refused the connection")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return failed(502, flow.ReasonDialFailed, "there is no route to it")
	}
	return failed(502, flow.ReasonDialFailed, "it could not be connected to")
}

// remoteAddr is the address at the other end of c.
func remoteAddr(c net.Conn) (netip.Addr, bool) {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		addr := a.AddrPort().Addr().Unmap()
		return addr, addr.IsValid()
	}
	return netip.Addr{}, false
}
