package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// account is what one server uses of the proxy: its live flows and its share
// of the limits. Nothing in it is shared between servers, so that none can
// starve another.
type account struct {
	id identity.ID

	mu     sync.Mutex
	first  *session // the live flows, newest first
	open   int
	tokens float64 // of the bucket that bounds new connections
	filled time.Time
	noted  time.Time // when a refusal for a limit was last made a flow
	pool   *http.Transport
}

// accounts has an account for each server that was ever authenticated.
type accounts struct {
	mu  sync.RWMutex
	all map[identity.ID]*account
}

// get returns the account of a server.
func (as *accounts) get(id identity.ID) *account {
	as.mu.RLock()
	a := as.all[id]
	as.mu.RUnlock()
	if a != nil {
		return a
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if a = as.all[id]; a == nil {
		a = &account{id: id}
		as.all[id] = a
	}
	return a
}

// list returns every account.
func (as *accounts) list() []*account {
	as.mu.RLock()
	defer as.mu.RUnlock()
	all := make([]*account, 0, len(as.all))
	for _, a := range as.all {
		all = append(all, a)
	}
	return all
}

// rate takes a token for one new connection, and reports whether there was one.
func (a *account) rate(perSec int, now time.Time) bool {
	if perSec < 0 {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	burst := float64(perSec)
	if a.filled.IsZero() {
		a.tokens = burst
	} else {
		a.tokens = min(burst, a.tokens+now.Sub(a.filled).Seconds()*burst)
	}
	a.filled = now
	if a.tokens < 1 {
		return false
	}
	a.tokens--
	return true
}

// note reports whether a refusal for a limit is to be recorded as a flow: one a
// second is, so that a person sees it; a flood of them would only fill the
// record that all servers share. The rest is counted.
func (a *account) note(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.noted.IsZero() && now.Sub(a.noted) < time.Second {
		return false
	}
	a.noted = now
	return true
}

// enter puts s among the live flows, unless there are limit already.
func (a *account) enter(s *session, limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if limit >= 0 && a.open >= limit {
		return false
	}
	a.open++
	s.next = a.first
	if a.first != nil {
		a.first.prev = s
	}
	a.first = s
	return true
}

// leave takes s out, once.
func (a *account) leave(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		a.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

// sessions returns the live flows for which keep reports true.
func (a *account) sessions(keep func(*session) bool) []*session {
	a.mu.Lock()
	defer a.mu.Unlock()
	var some []*session
	for s := a.first; s != nil; s = s.next {
		if keep(s) {
			some = append(some, s)
		}
	}
	return some
}

// transport returns the server's own pool of upstream connections for plain
// requests, made by mk when it is first needed.
func (a *account) transport(mk func() *http.Transport) *http.Transport {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool == nil {
		a.pool = mk()
	}
	return a.pool
}

// closeIdle closes the pooled upstream connections that no request is using.
func (a *account) closeIdle() {
	a.mu.Lock()
	pool := a.pool
	a.mu.Unlock()
	if pool != nil {
		pool.CloseIdleConnections()
	}
}

// Cut ends the live flows of a server that were opened with the given
// credential, or all of them for uuid.Nil, with flow.EndRevoked. Call it after
// the credential stopped to work: what is being authenticated at the same
// moment is then asked again.
func (p *Proxy) Cut(server identity.ID, cred uuid.UUID) {
	p.cuts.Add(1)
	a := p.accounts.get(server)
	for _, s := range a.sessions(func(s *session) bool { return cred == uuid.Nil || s.cred == cred }) {
		s.abort(flow.EndRevoked)
	}
	a.closeIdle()
}

// Live returns the flows that carry bytes right now, with their counts so far.
func (p *Proxy) Live() []flow.Flow {
	var flows []flow.Flow
	for _, a := range p.accounts.list() {
		for _, s := range a.sessions((*session).isOpen) {
			flows = append(flows, s.snapshot())
		}
	}
	return flows
}
