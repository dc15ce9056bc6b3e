package resolve

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// outcome is what looking a name up came to: an answer or an error, and how
// long that may be kept.
type outcome struct {
	answer Answer
	err    error
	keep   time.Duration // 0: not at all
}

// entry is the kept outcome of a name.
type entry struct {
	outcome
	name    string
	expires time.Time
}

// flight is a lookup under way and everybody who waits for it.
type flight struct {
	outcome                    // valid once done is closed
	done    chan struct{}      // closed at the end
	cancel  context.CancelFunc // ends it before its time
	waiters int                // guarded by table.mu
}

// table holds what is known of names and what is being asked, so that under
// one lock a name is either kept, or in flight, or neither. The lock is never
// held during I/O.
type table struct {
	mu      sync.Mutex
	max     int
	kept    map[string]*list.Element // of *entry, by name
	recent  *list.List               // the same, most recently used first
	flights map[string]*flight
	closed  bool
}

func newTable(most int) *table {
	return &table{
		max:     most,
		kept:    make(map[string]*list.Element),
		recent:  list.New(),
		flights: make(map[string]*flight),
	}
}

// get returns what is kept of name, if it still holds.
func (t *table) get(name string, now time.Time) (outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.getLocked(name, now)
}

func (t *table) getLocked(name string, now time.Time) (outcome, bool) {
	el, ok := t.kept[name]
	if !ok {
		return outcome{}, false
	}
	e := el.Value.(*entry)
	if !now.Before(e.expires) {
		return outcome{}, false
	}
	t.recent.MoveToFront(el)
	return e.outcome, true
}

// join returns the flight of name to wait for; the caller must wait for done
// or leave. A new one is given to start, which must not block and makes sure
// that finish is called. After close it returns nil.
func (t *table) join(name string, now time.Time, start func(*flight)) (f *flight, merged bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	if f, ok := t.flights[name]; ok {
		f.waiters++
		return f, true
	}
	f = &flight{done: make(chan struct{}), waiters: 1}
	if out, ok := t.getLocked(name, now); ok {
		// A flight landed between the caller's get and now.
		f.outcome = out
		close(f.done)
		return f, true
	}
	t.flights[name] = f
	start(f)
	return f, false
}

// leave ends one caller's wait. The last to leave ends the flight: nobody
// wants its answer.
func (t *table) leave(name string, f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && t.flights[name] == f {
		delete(t.flights, name)
		f.cancel()
	}
}

// finish ends f with out and keeps that for later.
func (t *table) finish(name string, f *flight, out outcome, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.outcome = out
	close(f.done)
	if t.flights[name] != f {
		return // everybody left: what a cancelled lookup says means nothing
	}
	delete(t.flights, name)
	if out.keep > 0 {
		t.keepLocked(entry{out, name, now.Add(out.keep)})
	}
}

func (t *table) keepLocked(e entry) {
	if el, ok := t.kept[e.name]; ok {
		el.Value = &e
		t.recent.MoveToFront(el)
		return
	}
	for len(t.kept) >= t.max {
		oldest := t.recent.Back()
		delete(t.kept, t.recent.Remove(oldest).(*entry).name)
	}
	t.kept[e.name] = t.recent.PushFront(&e)
}

// forget drops everything that is kept.
func (t *table) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.kept)
	t.recent.Init()
}

// close makes join refuse from now on.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// size returns how many outcomes are kept, the expired among them.
func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.kept)
}
