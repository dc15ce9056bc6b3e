package proxy

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// session is one flow while it lives: from the moment its client has proved
// who it is until what became of it was handed to the Journal. Whoever holds it
// may call abort, snapshot and isOpen at any time; the rest belongs to the
// goroutine that walks it, and to the two that carry its bytes after that.
type session struct {
	p     *Proxy
	acct  *account
	cred  uuid.UUID
	match baseline.Match
	risk  string // class of the destination in the list of risky ones
	// revoked says that the credential is right and the server is revoked.
	revoked bool
	// grade is what is known of it before any byte came: that of plain
	// requests, where we speak to the upstream ourselves.
	grade flow.Grade
	// flow is written by the walk only, and by nobody once open is set.
	flow    flow.Flow
	alarmed []flow.Reason // alarms raised, so that each is raised once

	ctx    context.Context // ends with abort; nil once bytes are carried
	cancel context.CancelFunc

	open     atomic.Bool
	up, down atomic.Int64
	half     atomic.Bool  // one side has closed
	carrying atomic.Int32 // directions that still carry
	streams  [2]stream

	// The sweeper's own: the bytes it last saw, and since when.
	swept int64
	quiet time.Time
	drain bool

	// opening reports the flow as open, if it lasts: nil for a tunnel.
	opening *time.Timer

	mu       sync.Mutex // of the fields below
	end      flow.End   // the first that happened counts
	aborted  bool
	finished bool
	client   net.Conn
	upstream net.Conn

	prev, next *session // in the account's list
}

// begin makes the session of a grant's flow to d and puts it among the live
// ones of its server.
func (p *Proxy) begin(grant *identity.Grant, method flow.Method, d flow.Destination, client net.Conn) *session {
	s := &session{
		p: p, acct: p.accounts.get(grant.Server.ID), cred: grant.Credential,
		match: p.cfg.Baseline.Match(grant.Server.ID, d), risk: p.cfg.Risky.Class(d.Host), client: client,
		flow: flow.Flow{
			ID: newID(), ServerID: grant.Server.ID, Server: grant.Server.Name, Owner: grant.Server.Owner,
			Mode: grant.Server.Mode, Opened: time.Now(), Method: method, Host: d.Host, Port: d.Port,
			Phase: flow.PhaseUnknown, Verdict: flow.Refused,
		},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// newID returns a UUID of version 7, whose order is that of time.
func newID() uuid.UUID {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.New() // crypto/rand never fails since Go 1.24; this can't be reached
	}
	return id
}

// enter takes the flow's place within the limits of its server and in the
// record. Once it returns nil, finish must be called; else the client was not
// let in, and that is counted.
func (s *session) enter() *refusal {
	count, limits := s.p.count, &s.p.limits
	if !s.acct.enter(s, limits.TunnelsPerServer) {
		count.limitTunnels.Add(1)
		return s.overLimit("too many of its connections are open")
	}
	count.open.Add(1)
	if s.p.isCut() {
		// cutAll closed done before it went through the accounts: whoever finds
		// done still open after entering was seen there, and nobody else is.
		s.abort(flow.EndShutdown)
	}
	if err := s.p.cfg.Journal.Admit(s.ctx); err != nil {
		s.exit()
		count.overloaded.Add(1)
		count.refuse(flow.ReasonOverloaded)
		return &refusal{status: 503, reason: flow.ReasonOverloaded, verdict: flow.Refused, why: "the record of what happens is not keeping up"}
	}
	count.flows.Add(1)
	return nil
}

// exit gives the place back.
func (s *session) exit() {
	s.acct.leave(s)
	s.p.count.open.Add(-1)
	s.cancel()
}

// overLimit refuses a flow for a limit. The first such refusal in a second is
// recorded, if the record has room.
func (s *session) overLimit(why string) *refusal {
	r := &refusal{status: 429, reason: flow.ReasonLimit, verdict: flow.Refused, why: why}
	s.p.count.refuse(flow.ReasonLimit)
	if s.acct.note(s.flow.Opened) && s.p.cfg.Journal.Admit(s.ctx) == nil {
		s.p.count.flows.Add(1)
		s.p.cfg.Journal.Closed(s.closed(r.end(), r))
	}
	s.cancel()
	return r
}

// dest returns where the flow wants to go.
func (s *session) dest() flow.Destination { return s.flow.Destination() }

// attach makes upstream part of the session, or closes it and reports false if
// the session was aborted meanwhile.
func (s *session) attach(upstream net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		upstream.Close()
		return false
	}
	s.upstream = upstream
	return true
}

// ended notes how the flow ended, if nothing ended it before.
func (s *session) ended(e flow.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == "" {
		s.end = e
	}
}

// abort ends the flow now, from outside: whatever its goroutines are waiting
// for fails.
func (s *session) abort(e flow.End) {
	s.mu.Lock()
	s.aborted = true
	if s.end == "" {
		s.end = e
	}
	client, upstream := s.client, s.upstream
	s.mu.Unlock()
	s.cancel()
	closeConn(client)
	closeConn(upstream)
}

// lastEnd returns how the flow ended, or "" while it hasn't.
func (s *session) lastEnd() flow.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// abortedAs returns the end that abort gave, or "".
func (s *session) abortedAs() flow.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.aborted {
		return ""
	}
	return s.end
}

func closeConn(c net.Conn) {
	if c != nil {
		c.Close()
	}
}

// start reports the flow as open: from now on its bytes are carried, and its
// counts are seen by Live and by the sweeper.
func (s *session) start() {
	s.open.Store(true)
	s.p.cfg.Journal.Opened(s.flow)
}

// openedAfter is how long a plain request may take before it is reported as
// open. Most are over by then and are handed over once, at their end. Together
// with the time that the record takes to write, it keeps within the 100 ms
// that may be missing after a crash.
const openedAfter = 50 * time.Millisecond

// startBriefly is start for a flow that is likely to be over in no time.
func (s *session) startBriefly() {
	s.open.Store(true)
	s.opening = time.AfterFunc(openedAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.finished { // else its end was reported already
			s.p.cfg.Journal.Opened(s.flow)
		}
	})
}

func (s *session) isOpen() bool { return s.open.Load() }

// snapshot returns the flow with its counts of now. It may only be called once
// the flow is open.
func (s *session) snapshot() flow.Flow {
	f := s.flow
	f.BytesUp, f.BytesDown = s.up.Load(), s.down.Load()
	return f
}

// closed returns the flow as it ended: with the refusal r, or, when r is nil, as
// the session noted.
func (s *session) closed(e flow.End, r *refusal) flow.Flow {
	f := s.snapshot()
	f.Closed = time.Now()
	f.End = e
	if r != nil {
		f.Verdict, f.Reason = r.verdict, r.reason
	}
	return f
}

// finish ends the session and hands over what became of it, once: each session
// that entered must be finished. r says why it never carried anything; nil if
// it did, or if one side left before.
func (s *session) finish(r *refusal) {
	s.mu.Lock()
	e, again := s.end, s.finished
	s.finished = true
	s.mu.Unlock()
	if again {
		return
	}
	if s.opening != nil {
		s.opening.Stop()
	}
	switch {
	case e == flow.EndRevoked && r != nil:
		r = judged(flow.ReasonRevoked)
	case e != "":
	case r != nil:
		e = r.end()
	default:
		e = flow.EndError
	}
	s.p.count.ended(e, r)
	f := s.closed(e, r)
	s.exit()
	s.p.cfg.Journal.Closed(f)
}

// remember reports whether an alarm for reason is due, the first time.
func (s *session) remember(reason flow.Reason) bool {
	if slices.Contains(s.alarmed, reason) {
		return false
	}
	s.alarmed = append(s.alarmed, reason)
	return true
}
