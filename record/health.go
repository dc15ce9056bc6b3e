package record

import (
	"sync"
	"time"
)

// Status says how the record is doing.
type Status struct {
	// Degraded: the store can't be written, since Since, because of Cause.
	Degraded bool
	Since    time.Time
	Cause    string
	// Lost counts the flows that ended unrecorded since the start.
	Lost int64
	// Queue is how many flows wait, QueueCap from how many on new connections
	// are slowed down.
	Queue, QueueCap int
	// Recorded counts events written, Waits connections that had to wait for
	// room, Overloaded those that were refused for want of it.
	Recorded, Waits, Overloaded int64
	// UnsavedAlerts counts alerts that wait for the store to come back.
	UnsavedAlerts int
}

// Status returns how the record is doing now.
func (j *Journal) Status() Status {
	s := j.health.status()
	s.Queue, s.QueueCap = j.queue.len(), j.queue.limit
	s.Recorded = j.counters.recorded.Load()
	s.Waits = j.counters.waits.Load()
	s.Overloaded = j.counters.overloaded.Load()
	s.UnsavedAlerts = len(j.inbox.unsaved())
	return s
}

// health follows whether the store can be written.
type health struct {
	mu    sync.Mutex
	since time.Time // zero while healthy
	tried time.Time
	cause string
	gap   int64 // lost in this spell
	lost  int64 // lost since the start
}

// fail notes a failure and reports whether it is the first of a spell.
func (h *health) fail(now time.Time, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried, h.cause = now, err.Error()
	if !h.since.IsZero() {
		return false
	}
	h.since = now
	return true
}

// gapUntil returns the gap of the present spell, if it ended now.
func (h *health) gapUntil(now time.Time) Gap {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Gap{From: h.since, Until: now, Flows: h.gap, Cause: h.cause}
}

// recover ends a spell of failure.
func (h *health) recover() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since, h.tried, h.cause, h.gap = time.Time{}, time.Time{}, "", 0
}

// due reports whether the store may be tried now.
func (h *health) due(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since.IsZero() || now.Sub(h.tried) >= retryEvery
}

func (h *health) retryNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = time.Time{}
}

func (h *health) degraded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.since.IsZero()
}

func (h *health) lose(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost += n
	if !h.since.IsZero() {
		h.gap += n
	}
}

func (h *health) status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Status{Degraded: !h.since.IsZero(), Since: h.since, Cause: h.cause, Lost: h.lost}
}
