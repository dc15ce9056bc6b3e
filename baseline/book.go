package baseline

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// BookConfig is what NewBook needs.
type BookConfig struct {
	// Store keeps the baselines. It must not be nil.
	Store Store
	// Now tells the time. Nil: time.Now.
	Now func() time.Time
}

// Book is the one live copy of all baselines. Match, which every connection
// asks, takes no lock and does not allocate. Traffic changes statistics and
// makes candidates; only Approve and Reject decide, first in the Store and then
// in memory. It is safe for concurrent use.
type Book struct {
	store Store
	now   func() time.Time

	mu      sync.Mutex // held to change which shelves there are
	shelves atomic.Pointer[map[identity.ID]*shelf]
}

// NewBook loads every baseline that the store has.
func NewBook(ctx context.Context, c BookConfig) (*Book, error) {
	b := &Book{store: c.Store, now: c.Now}
	if b.now == nil {
		b.now = time.Now
	}
	entries, versions, err := c.Store.Baselines(ctx)
	if err != nil {
		return nil, fmt.Errorf("load baselines: %w", err)
	}
	shelves := make(map[identity.ID]*shelf)
	get := func(id identity.ID) *shelf {
		if shelves[id] == nil {
			shelves[id] = newShelf()
		}
		return shelves[id]
	}
	for _, e := range entries {
		e = sound(e)
		get(e.Server).entries[Target{Host: e.Host, Port: e.Port}] = &e
	}
	for id, version := range versions {
		get(id).version = version
	}
	for _, s := range shelves {
		s.publish()
	}
	b.shelves.Store(&shelves)
	return b, nil
}

// sound returns a stored entry as it may be in force. What is approved but no
// pattern any more (a wildcard that a newer Public Suffix List calls shared
// hosting) goes back to the review, as does a state that nobody knows.
func sound(e Entry) Entry {
	_, err := ParsePattern(string(e.Host))
	if (e.State == Approved && err != nil) || (e.State != Approved && e.State != Rejected) {
		e.State = Candidate
	}
	return e
}

// Match returns what a server's baseline says of d: the decided entry for
// exactly d, or else a rejected wildcard that covers it, or else the most
// specific approved wildcard, or else its candidate. It does not allocate.
func (b *Book) Match(server identity.ID, d flow.Destination) Match {
	s := (*b.shelves.Load())[server]
	if s == nil {
		return Match{}
	}
	return s.view.Load().find(d).Match
}

// Observe counts an allowed flow into its server's baseline: once when it opens
// (Closed is zero), once when it ends. It updates the entry that covers the
// flow, or makes a candidate if the server is in learn or alert mode, and
// returns copies of the entries to keep, which must not be written to. It never
// decides anything.
func (b *Book) Observe(f flow.Flow) []Entry {
	if f.Verdict != flow.Allowed || f.Host == "" {
		return nil
	}
	e, ok := b.shelf(f.ServerID).observe(&f)
	if !ok {
		return nil
	}
	return []Entry{e}
}

// Entries returns a server's baseline for people: candidates first, then by
// host and port. Candidates that a decided wildcard covers are left out. The
// entries' slices must not be written to.
func (b *Book) Entries(server identity.ID) []Entry {
	s := (*b.shelves.Load())[server]
	if s == nil {
		return nil
	}
	return s.listed()
}

// Approved returns how many approved entries a server has. Unlike Entries, it
// costs nothing.
func (b *Book) Approved(server identity.ID) int {
	s := (*b.shelves.Load())[server]
	if s == nil {
		return 0
	}
	return s.view.Load().approved
}

// Version returns how many decisions have been made about a server's baseline.
func (b *Book) Version(server identity.ID) int64 {
	s := (*b.shelves.Load())[server]
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Overflow returns how many flows since the start went to destinations that
// found no place among a server's candidates.
func (b *Book) Overflow(server identity.ID) int64 {
	s := (*b.shelves.Load())[server]
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overflow
}

// Forget drops the baseline of a server that was removed. Flows of it that end
// later make no new one.
func (b *Book) Forget(server identity.ID) {
	s := b.shelf(server)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	clear(s.entries)
	s.publish()
}

// shelf returns a server's shelf, and makes it if need be.
func (b *Book) shelf(server identity.ID) *shelf {
	if s := (*b.shelves.Load())[server]; s != nil {
		return s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := *b.shelves.Load()
	if s := old[server]; s != nil {
		return s
	}
	next := maps.Clone(old)
	next[server] = newShelf()
	b.shelves.Store(&next)
	return next[server]
}
