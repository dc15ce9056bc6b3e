package proxytest

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/resolve"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// Alarm is one call of Journal.Alarm.
type Alarm struct {
	Flow   flow.Flow
	Reason flow.Reason
}

// Journal remembers what it was told, in order, and lets a test wait for it.
type Journal struct {
	// OnAlarm, if it isn't nil, decides what Alarm returns; and it may block.
	OnAlarm func(Alarm) error
	// OnAdmit, if it isn't nil, decides what Admit returns.
	OnAdmit func() error

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with every event
	opened   []flow.Flow
	closed   []flow.Flow
	alarms   []Alarm
	resolved []resolve.Answer
	failures []identity.Name
}

var _ proxy.Journal = (*Journal)(nil)

// NewJournal returns an empty journal.
func NewJournal() *Journal { return &Journal{changed: make(chan struct{})} }

func (j *Journal) note(add func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	add()
	close(j.changed)
	j.changed = make(chan struct{})
}

// Admit implements proxy.Journal.
func (j *Journal) Admit(context.Context) error {
	if j.OnAdmit != nil {
		return j.OnAdmit()
	}
	return nil
}

// Alarm implements proxy.Journal.
func (j *Journal) Alarm(_ context.Context, f flow.Flow, reason flow.Reason) error {
	a := Alarm{f, reason}
	j.note(func() { j.alarms = append(j.alarms, a) })
	if j.OnAlarm != nil {
		return j.OnAlarm(a)
	}
	return nil
}

// Opened implements proxy.Journal.
func (j *Journal) Opened(f flow.Flow) { j.note(func() { j.opened = append(j.opened, f) }) }

// Closed implements proxy.Journal.
func (j *Journal) Closed(f flow.Flow) { j.note(func() { j.closed = append(j.closed, f) }) }

// Resolved implements proxy.Journal.
func (j *Journal) Resolved(_ identity.ID, a resolve.Answer) {
	j.note(func() { j.resolved = append(j.resolved, a) })
}

// AuthFailed implements proxy.Journal.
func (j *Journal) AuthFailed(claimed identity.Name, _ netip.Addr) {
	j.note(func() { j.failures = append(j.failures, claimed) })
}

// wait returns what get returns once it has at least n.
func wait[T any](tb testing.TB, j *Journal, what string, n int, get func() []T) []T {
	tb.Helper()
	deadline := time.After(patience)
	for {
		j.mu.Lock()
		got, changed := slices.Clone(get()), j.changed
		j.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			tb.Fatalf("waited for %d %s, got %d: %+v", n, what, len(got), got)
		}
	}
}

// WaitClosed waits for n flows that ended and returns all there are.
func (j *Journal) WaitClosed(tb testing.TB, n int) []flow.Flow {
	tb.Helper()
	return wait(tb, j, "closed flows", n, func() []flow.Flow { return j.closed })
}

// WaitOpened waits for n flows that opened and returns all there are.
func (j *Journal) WaitOpened(tb testing.TB, n int) []flow.Flow {
	tb.Helper()
	return wait(tb, j, "opened flows", n, func() []flow.Flow { return j.opened })
}

// WaitAlarms waits for n alarms and returns all there are.
func (j *Journal) WaitAlarms(tb testing.TB, n int) []Alarm {
	tb.Helper()
	return wait(tb, j, "alarms", n, func() []Alarm { return j.alarms })
}

// Failures returns the names that wrong credentials claimed so far.
func (j *Journal) Failures() []identity.Name {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.failures)
}

// Resolutions returns what was resolved so far.
func (j *Journal) Resolutions() []resolve.Answer {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.resolved)
}
