package baseline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Errors of Approve and Reject.
var (
	// ErrNoTarget: a decision about nothing.
	ErrNoTarget = errors.New("no destination was named")
	// ErrBadGrade: a grade that can't be approved.
	ErrBadGrade = errors.New("not a grade that can be approved: use verified, no_sni, captured, ip_literal, not_tls or hidden")
)

// Decision is what a person says with an approval or a rejection.
type Decision struct {
	// Grades are what an approved entry accepts, beside verified. None: nothing
	// beside it, however the destination was seen, since nobody said so; but an
	// entry that is approved already keeps what it accepts. To take that away,
	// give verified alone. A person who decides by a listing should send the
	// grades that the listing showed.
	Grades []flow.Grade
	Note   string
}

// Approve lets a server connect to targets from its next connection on, seen
// before or not. An entry accepts the grades of d, beside that always verified
// and, if it is an IP address, ip_literal; what it was seen with adds nothing.
// An SNI that contradicts the name is never accepted. The error is ErrNoTarget,
// ErrBadPattern, ErrSharedHosting, ErrBadGrade, identity.ErrUnknownServer after
// Forget, or the store's; nothing is changed then.
func (b *Book) Approve(ctx context.Context, s identity.Server, targets []Target, d Decision, actor string) ([]Entry, error) {
	return b.decide(ctx, s, targets, d, actor, Approved)
}

// Reject refuses a server targets in every mode from its next connection on,
// seen before or not. It is otherwise like Approve.
func (b *Book) Reject(ctx context.Context, s identity.Server, targets []Target, d Decision, actor string) ([]Entry, error) {
	return b.decide(ctx, s, targets, d, actor, Rejected)
}

func (b *Book) decide(ctx context.Context, server identity.Server, targets []Target, d Decision, actor string, to State) ([]Entry, error) {
	targets, err := checked(targets, d)
	if err != nil {
		return nil, err
	}
	s := b.shelf(server.ID)
	select {
	case s.deciding <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.deciding }()

	now := b.now().UTC().Round(0)
	decided, version, err := s.draft(server.ID, targets, d, actor, to, now)
	if err != nil {
		return nil, err
	}
	c := identity.Change{
		At: now, Actor: actor, Action: actions(to), Server: server.ID, Name: server.Name,
		Detail: detail(targets, d),
	}
	// A write that has begun is not cancelled with ctx: whether it became
	// durable would be unknown.
	if err := b.store.Decide(context.WithoutCancel(ctx), server.ID, version, decided, c); err != nil {
		s.discard(targets)
		return nil, fmt.Errorf("%s %s: %w", c.Action, server.Ref(), err)
	}
	return s.enact(decided, version), nil
}

// checked returns targets without repetitions, or what is wrong with them or
// with d.
func checked(targets []Target, d Decision) ([]Target, error) {
	if len(targets) == 0 {
		return nil, ErrNoTarget
	}
	for _, g := range d.Grades {
		if gradeBit(g) == 0 || g == flow.GradeSNIDiffers {
			return nil, fmt.Errorf("%w: %q", ErrBadGrade, g)
		}
	}
	seen := make(map[Target]bool, len(targets))
	var once []Target
	for _, t := range targets {
		if err := t.check(); err != nil {
			return nil, err
		}
		if !seen[t] {
			seen[t] = true
			once = append(once, t)
		}
	}
	return once, nil
}

// check says what is wrong with a target that ParseTarget didn't make.
func (t Target) check() error {
	p, err := ParsePattern(string(t.Host))
	if err == nil && (p != t.Host || t.Port == 0) {
		err = fmt.Errorf("%w: %q", ErrBadPattern, t)
	}
	return err
}

// draft returns the entries for targets as the decision would have them, and
// the version with it. The caller is the one decision being made.
func (s *shelf) draft(server identity.ID, targets []Target, d Decision, actor string, to State, now time.Time) ([]Entry, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, 0, identity.ErrUnknownServer
	}
	decided := make([]Entry, 0, len(targets))
	for _, t := range targets {
		var e Entry
		if old := s.entries[t]; old != nil {
			e = *old
		} else {
			e = Entry{ID: uuid.Must(uuid.NewV7()), Server: server, Host: t.Host, Port: t.Port}
			s.pending[t] = e.ID
		}
		if to == Approved {
			grades := d.Grades
			if len(grades) == 0 && e.State == Approved {
				grades = e.Grades
			}
			e.Grades = acceptable(Of(grades...), t.Host).Grades()
		}
		e.State, e.DecidedBy, e.DecidedAt, e.Note = to, actor, now, d.Note
		decided = append(decided, e)
	}
	return decided, s.version + 1, nil
}

// discard forgets a draft that was not stored.
func (s *shelf) discard(targets []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range targets {
		delete(s.pending, t)
	}
}

// enact puts a stored draft in force and returns the entries as they are then:
// what traffic counted since the draft was made is kept.
func (s *shelf) enact(decided []Entry, version int64) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone { // removed meanwhile, and its decisions with it
		return decided
	}
	for i := range decided {
		d := &decided[i]
		t := Target{Host: d.Host, Port: d.Port}
		delete(s.pending, t)
		e := s.entries[t]
		if e == nil {
			e = &Entry{}
			*e = *d
			s.entries[t] = e
		}
		e.State, e.Grades = d.State, d.Grades
		e.DecidedBy, e.DecidedAt, e.Note = d.DecidedBy, d.DecidedAt, d.Note
		*d = *e
	}
	s.version = version
	s.publish()
	return decided
}

func actions(to State) string {
	if to == Approved {
		return "baseline.approve"
	}
	return "baseline.reject"
}

// detail is what the audit trail says of a decision.
func detail(targets []Target, d Decision) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.String()
	}
	text := strings.Join(names, ", ")
	if len(d.Grades) > 0 {
		text += fmt.Sprintf(" with %v", Of(d.Grades...).With(flow.GradeVerified).Grades())
	}
	return text
}
