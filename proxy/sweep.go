package proxy

import (
	"time"

	"github.com/exeat/exeat/flow"
)

// sweep is the one idle clock of every flow: it looks at the counts from time
// to time, which costs a flow nothing, where a deadline would cost a timer for
// each read. A flow may stay up to a quarter of the shorter limit longer.
func (p *Proxy) sweep() {
	every := min(p.limits.IdleTimeout, p.limits.DrainTimeout) / 4
	tick := time.NewTicker(min(max(every, 5*time.Millisecond), 15*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case now := <-tick.C:
			for _, a := range p.accounts.list() {
				p.sweepAccount(a, now)
			}
		}
	}
}

func (p *Proxy) sweepAccount(a *account, now time.Time) {
	for _, s := range a.sessions(func(s *session) bool { return s.isOpen() && s.stale(now) }) {
		s.abort(flow.EndIdle)
	}
}

// stale reports whether the flow has been quiet for longer than it may: the
// idle timeout, or the drain timeout once one side has closed. Only the
// sweeper calls it.
func (s *session) stale(now time.Time) bool {
	bytes, drain := s.up.Load()+s.down.Load(), s.half.Load()
	if s.quiet.IsZero() || bytes != s.swept || drain != s.drain {
		s.swept, s.drain, s.quiet = bytes, drain, now
		return false
	}
	limit := s.p.limits.IdleTimeout
	if drain {
		limit = min(limit, s.p.limits.DrainTimeout)
	}
	return now.Sub(s.quiet) >= limit
}
