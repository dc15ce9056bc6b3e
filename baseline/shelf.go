package baseline

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Bounds of what traffic can make a baseline hold.
const (
	// MaxCandidates is how many candidates one server has at most. Further
	// destinations are counted and not kept, so that flooding the review
	// exhausts no memory. Entries that were decided don't count.
	MaxCandidates = 5000
	maxNetworks   = 32
	maxPhases     = 64
)

// shelf is the baseline of one server.
type shelf struct {
	view atomic.Pointer[view]
	// deciding is held by the one decision that is being made.
	deciding chan struct{}

	// mu guards what is below. It is never held while the store is written:
	// statistics must not wait for a disk.
	mu      sync.Mutex
	entries map[Target]*Entry
	// pending has the IDs of entries that are being decided without having
	// been seen yet. Traffic that comes meanwhile makes its candidate under
	// the same ID.
	pending    map[Target]uuid.UUID
	candidates int
	overflow   int64
	version    int64
	gone       bool // the server was removed; its IDs never come again
}

func newShelf() *shelf {
	s := &shelf{
		deciding: make(chan struct{}, 1),
		entries:  make(map[Target]*Entry),
		pending:  make(map[Target]uuid.UUID),
	}
	s.view.Store(newView(nil))
	return s
}

// observe counts f into the entry that covers it, or makes a candidate, and
// returns the entry as it is then.
func (s *shelf) observe(f *flow.Flow) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.covering(f)
	if e == nil {
		return Entry{}, false
	}
	e.count(f)
	return *e, true
}

// covering returns the entry that f belongs to, a new candidate if need be, or
// nil if there is none and there shall be none.
func (s *shelf) covering(f *flow.Flow) *Entry {
	d := f.Destination()
	if r := s.view.Load().find(d); r.State != None {
		return s.entries[Target{Host: r.host, Port: d.Port}]
	}
	learns := f.Mode == identity.ModeLearn || f.Mode == identity.ModeAlert
	if s.gone || !learns {
		return nil
	}
	if s.candidates >= MaxCandidates {
		if !f.Closed.IsZero() {
			s.overflow++
		}
		return nil
	}
	t := Target{Host: Pattern(d.Host), Port: d.Port}
	e := &Entry{ID: s.id(t), Server: f.ServerID, Host: t.Host, Port: t.Port, State: Candidate}
	s.entries[t] = e
	s.candidates++
	if v := s.view.Load(); len(v.recent) < maxRecent {
		s.view.Store(v.with(d, e.rule()))
	} else {
		s.publish()
	}
	return e
}

// id returns the ID for a new entry.
func (s *shelf) id(t Target) uuid.UUID {
	if id, ok := s.pending[t]; ok {
		return id
	}
	return uuid.Must(uuid.NewV7())
}

// publish makes the view say what the entries say.
func (s *shelf) publish() {
	s.candidates = 0
	for _, e := range s.entries {
		if e.State == Candidate {
			s.candidates++
		}
	}
	s.view.Store(newView(s.entries))
}

// listed returns the entries for people: candidates first, then by host and
// port. A candidate that a decided wildcard covers needs no decision any more
// and is left out.
func (s *shelf) listed() []Entry {
	s.mu.Lock()
	v := s.view.Load()
	all := make([]Entry, 0, len(s.entries))
	for t, e := range s.entries {
		if e.State == Candidate && v.find(flow.Destination{Host: string(t.Host), Port: t.Port}).State != Candidate {
			continue
		}
		all = append(all, *e)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Entry) int {
		if first := a.State == Candidate; first != (b.State == Candidate) {
			if first {
				return -1
			}
			return 1
		}
		if c := strings.Compare(string(a.Host), string(b.Host)); c != 0 {
			return c
		}
		return int(a.Port) - int(b.Port)
	})
	return all
}

// count takes f into the entry's statistics. It never touches State, nor the
// grades of an entry that was decided. Slices are replaced and never written
// to, because copies of the entry share them.
func (e *Entry) count(f *flow.Flow) {
	if e.FirstSeen.IsZero() || f.Opened.Before(e.FirstSeen) {
		e.FirstSeen = f.Opened
	}
	e.LastSeen = latest(e.LastSeen, f.Opened, f.Closed)
	if f.Phase != "" && len(e.Phases) < maxPhases {
		e.Phases = withPhase(e.Phases, f.Phase)
	}
	e.Networks = withNetwork(e.Networks, f.Place)
	if e.State == Candidate {
		e.Grades = withGrade(e.Grades, f.Grade)
	}
	if f.Closed.IsZero() {
		return
	}
	e.Flows++
	if f.End != flow.EndFailed { // which carried nothing, and tells nothing of what is usual
		e.UsualUp = usual(e.UsualUp, f.BytesUp)
	}
}

// usual is an exponentially weighted mean with the weight 1/8 for the latest,
// as TCP smooths its round trips (RFC 6298).
func usual(mean, latest int64) int64 {
	if mean == 0 {
		return latest
	}
	return mean + (latest-mean)/8
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

func withGrade(grades []flow.Grade, g flow.Grade) []flow.Grade {
	set := Of(grades...)
	if g == "" || set.Has(g) {
		return grades
	}
	return set.With(g).Grades()
}

func withPhase(phases []flow.Phase, p flow.Phase) []flow.Phase {
	at, found := slices.BinarySearch(phases, p)
	if found {
		return phases
	}
	return slices.Insert(slices.Clone(phases), at, p)
}

// withNetwork adds p by its ASN and country; its organisation may be spelt
// another way from one release of the data to the next.
func withNetwork(networks []flow.Place, p flow.Place) []flow.Place {
	if p == (flow.Place{}) || len(networks) >= maxNetworks {
		return networks
	}
	at, found := slices.BinarySearchFunc(networks, p, func(a, b flow.Place) int {
		if a.ASN != b.ASN {
			if a.ASN < b.ASN {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Country, b.Country)
	})
	if found {
		return networks
	}
	return slices.Insert(slices.Clone(networks), at, p)
}
