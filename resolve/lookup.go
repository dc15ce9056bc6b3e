package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	// resolutionDelay is what the second family gets after the first one has
	// addresses (RFC 8305, section 3, which gives it to the IPv6 answer).
	resolutionDelay = 50 * time.Millisecond
	// partialTTL bounds how long an answer is kept in which one family failed
	// or was late, so that it is soon made whole.
	partialTTL = 5 * time.Second
)

// family is what asking for the addresses of one family came to.
type family struct {
	reply
	err   error
	qtype uint16
}

func (f family) found() bool { return f.err == nil && f.kind == found }

// lookup asks for both families of name and makes one outcome of them.
func (r *Resolver) lookup(ctx context.Context, name string) outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan family, 2)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r.work.Go(func() { results <- r.family(ctx, name, qtype) })
	}
	first := <-results
	second := family{err: ErrTimeout, qtype: dns.TypeA + dns.TypeAAAA - first.qtype}
	if first.found() {
		delay := time.NewTimer(resolutionDelay)
		defer delay.Stop()
		select {
		case second = <-results:
		case <-delay.C:
		}
	} else {
		second = <-results
	}
	if first.qtype == dns.TypeA {
		first, second = second, first
	}
	out := combine(name, first, second, r.now())
	if out.err != nil && !errors.Is(out.err, ErrNotFound) && !errors.Is(out.err, ErrNoAddress) {
		r.stat.failures.Add(1)
		r.log.Debug("lookup failed", "name", name, "err", out.err)
	}
	return out
}

// combine makes the outcome of the two families of name, as of now.
func combine(name string, six, four family, now time.Time) outcome {
	if six.found() || four.found() {
		return combineFound(name, six, four, now)
	}
	err := worse(six.err, four.err)
	keep := failureTTL
	switch {
	case six.err == nil && four.err == nil:
		keep = min(six.ttl, four.ttl)
		err = ErrNoAddress
		if six.kind == noName && four.kind == noName {
			err = ErrNotFound
		}
	case six.err == nil && six.kind == noName, four.err == nil && four.kind == noName:
		// A name that does not exist has no addresses of either family
		// (RFC 8020); that one query failed changes nothing.
		err = ErrNotFound
	}
	return outcome{err: lookupError(name, err), keep: keep}
}

func combineFound(name string, six, four family, now time.Time) outcome {
	a := Answer{Name: name}
	keep := maxTTL
	for _, f := range []family{four, six} {
		switch {
		case f.found():
			a.Chain = f.chain // the IPv6 one where the families differ
			keep = min(keep, f.ttl)
		case f.err != nil:
			keep = min(keep, partialTTL)
		}
	}
	a.Addrs = alternate(six.addrs, four.addrs)
	a.Expires = now.Add(keep)
	return outcome{answer: a, keep: keep}
}

// worse returns the error that says more: a failure rather than silence.
func worse(a, b error) error {
	if a == nil || (b != nil && errors.Is(a, ErrTimeout)) {
		return b
	}
	return a
}

// alternate merges two families, the first of which comes first.
func alternate(first, second []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, 0, len(first)+len(second))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			all = append(all, first[i])
		}
		if i < len(second) {
			all = append(all, second[i])
		}
	}
	return all
}

// family asks for one family of name, and goes on asking where a CNAME chain
// leaves the message.
func (r *Resolver) family(ctx context.Context, name string, qtype uint16) (f family) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic in a DNS lookup", "name", name, "panic", p)
			f = family{err: ErrServer, qtype: qtype}
		}
	}()
	f = family{reply: reply{ttl: maxTTL}, qtype: qtype}
	for at := name; ; at = f.chain[len(f.chain)-1] {
		rep, err := r.ask(ctx, at, qtype)
		if err != nil {
			return family{err: err, qtype: qtype}
		}
		for _, target := range rep.chain {
			if f.chain, err = extend(name, f.chain, target); err != nil {
				return family{err: err, qtype: qtype}
			}
		}
		f.kind, f.addrs, f.ttl = rep.kind, rep.addrs, min(f.ttl, rep.ttl)
		if f.kind != dangling {
			return f
		}
	}
}

// ask puts one question to the upstreams in turn until one of them knows. A
// server that fails gives way to the next and isn't asked again; those that
// are silent are asked again with twice the patience, until ctx ends.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (reply, error) {
	turn := inOrder(r.upstreams(r.now()), r.now())
	for patience := r.timeout / 5; ; patience *= 2 {
		rep, err := r.askEach(ctx, turn, name, qtype, patience)
		if !errors.Is(err, ErrTimeout) || ctx.Err() != nil {
			return rep, err
		}
	}
}

// askEach puts one question to each upstream until one of them knows. The
// error is ErrTimeout when all were silent.
func (r *Resolver) askEach(ctx context.Context, turn []*upstream, name string, qtype uint16, patience time.Duration) (reply, error) {
	fault := ErrTimeout
	for _, u := range turn {
		rep, err := r.askOne(ctx, u, name, qtype, patience)
		if err == nil || errors.Is(err, ErrChain) {
			return rep, err
		}
		fault = worse(fault, err)
		if ctx.Err() != nil {
			break
		}
	}
	return reply{}, fault
}

// askOne asks u and keeps its health.
func (r *Resolver) askOne(ctx context.Context, u *upstream, name string, qtype uint16, patience time.Duration) (reply, error) {
	rep, err := r.exchanger.ask(ctx, u, name, qtype, patience)
	silent := errors.Is(err, ErrTimeout) || errors.Is(err, errUnreachable)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		// We went away, not the server.
	case silent && u.failed(r.now()):
		r.log.Warn("DNS server does not answer; it is asked last for now", "server", u.addr, "err", err)
	case !silent && u.worked():
		r.log.Info("DNS server answers again", "server", u.addr)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", u.addr, err)
	}
	return rep, err
}
