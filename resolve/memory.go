package resolve

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/exeat/exeat/identity"
)

// maxNames bounds the names remembered of one address for one server. Many
// names share an address; the recent ones are those that explain a connection.
const maxNames = 8

// MemoryConfig is what NewMemory needs. Its zero value is of use.
type MemoryConfig struct {
	// Max bounds the addresses remembered for each server; the least recently
	// resolved go first. 0: 4,096.
	Max int
	// Keep is how long a name is remembered for an address after it last led
	// there. 0: 24 hours.
	Keep time.Duration
	// Now tells the time. Nil: time.Now.
	Now func() time.Time
}

// Memory is the passive memory of which name led to which address, for whom.
// What one server looks up neither labels another's connections nor pushes
// out what was remembered for it. It is safe for concurrent use.
type Memory struct {
	max  int
	keep time.Duration
	now  func() time.Time

	mu      sync.Mutex
	servers map[identity.ID]*recollection
}

// recollection is the memory of one server.
type recollection struct {
	places map[netip.Addr]*list.Element // of *place
	recent *list.List                   // the same, most recently resolved first
}

// place is one address and the names that led to it, most recent first.
type place struct {
	addr  netip.Addr
	names []sighting
}

type sighting struct {
	name string
	last time.Time
}

// NewMemory makes an empty Memory.
func NewMemory(c MemoryConfig) *Memory {
	if c.Max <= 0 {
		c.Max = 4096
	}
	if c.Keep <= 0 {
		c.Keep = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Memory{max: c.Max, keep: c.Keep, now: c.Now, servers: make(map[identity.ID]*recollection)}
}

// Remember notes that a.Name led server to each of a.Addrs.
func (m *Memory) Remember(server identity.ID, a Answer) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.servers[server]
	if r == nil {
		r = &recollection{places: make(map[netip.Addr]*list.Element), recent: list.New()}
		m.servers[server] = r
	}
	for _, addr := range a.Addrs {
		r.at(addr).saw(a.Name, now)
	}
	r.trim(m.max, now.Add(-m.keep))
}

// Names returns the names that led server to addr, most recent first; nil when
// there are none.
func (m *Memory) Names(server identity.ID, addr netip.Addr) []string {
	oldest := m.now().Add(-m.keep)
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.servers[server]
	if r == nil {
		return nil
	}
	el := r.places[addr]
	if el == nil {
		return nil
	}
	var names []string
	for _, s := range el.Value.(*place).names {
		if s.last.After(oldest) {
			names = append(names, s.name)
		}
	}
	return names
}

// Forget drops all that was remembered for server.
func (m *Memory) Forget(server identity.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.servers, server)
}

// at returns the place of addr, now the most recent one.
func (r *recollection) at(addr netip.Addr) *place {
	el := r.places[addr]
	if el == nil {
		el = r.recent.PushFront(&place{addr: addr})
		r.places[addr] = el
	}
	r.recent.MoveToFront(el)
	return el.Value.(*place)
}

// saw puts name first.
func (p *place) saw(name string, now time.Time) {
	p.names = slices.DeleteFunc(p.names, func(s sighting) bool { return s.name == name })
	if len(p.names) == maxNames {
		p.names = p.names[:maxNames-1]
	}
	p.names = slices.Insert(p.names, 0, sighting{name, now})
}

// trim drops the places that are too many or too old.
func (r *recollection) trim(most int, oldest time.Time) {
	for el := r.recent.Back(); el != nil; el = r.recent.Back() {
		p := el.Value.(*place)
		if r.recent.Len() <= most && p.names[0].last.After(oldest) {
			return
		}
		r.recent.Remove(el)
		delete(r.places, p.addr)
	}
}
