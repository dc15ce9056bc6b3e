package record

import (
	"net/netip"
	"sync"
	"time"

	"github.com/exeat/exeat/identity"
)

const (
	// authWindow is how long wrong credentials count together.
	authWindow = 10 * time.Minute
	// authThreshold is how many for one name within it are more than a slip: a
	// client that retries a stale token makes two or three.
	authThreshold = 5
	// authManyNames is how many from one address are, whatever names they
	// claim: a few tries each at many names.
	authManyNames = 20
	// authSources bounds what a guesser can make us remember.
	authSources = 4096
)

// authWatch counts wrong credentials by where they come from and, as long as
// there is room, by the name that they claim.
type authWatch struct {
	mu      sync.Mutex
	sources map[authSource]*authCount
	swept   time.Time // when the expired were last forgotten
}

// authSource is one name from one address. The empty name stands for all names
// from that address, the zero address for all addresses that there was no room
// for.
type authSource struct {
	name identity.Name
	from netip.Addr
}

type authCount struct {
	since time.Time
	n     int64
	told  int64
}

// failures is what an alert about wrong credentials is due for.
type failures struct {
	n     int64 // since the last alert about them
	names bool  // of many names, and not of one
}

func newAuthWatch() *authWatch { return &authWatch{sources: make(map[authSource]*authCount)} }

// failed counts one and reports whether an alert is due: at the threshold, and
// then each time the count has doubled, so that a flood makes few.
func (w *authWatch) failed(name identity.Name, from netip.Addr, now time.Time) (failures, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from = from.Unmap()
	if name != "" {
		if c := w.count(authSource{name, from}, now); c != nil {
			if n, due := c.add(authThreshold); due || c.told > 0 {
				return failures{n: n}, due
			}
		}
	}
	c := w.count(authSource{"", from}, now)
	if c == nil {
		c = w.everybody(now)
	}
	n, due := c.add(authManyNames)
	return failures{n: n, names: true}, due
}

// add counts one and reports how many are new if an alert is due.
func (c *authCount) add(threshold int64) (int64, bool) {
	c.n++
	if c.n < threshold || c.n < 2*c.told {
		return 0, false
	}
	fresh := c.n - c.told
	c.told = c.n
	return fresh, true
}

// count returns the running count of a source, or nil if there is no room.
func (w *authWatch) count(key authSource, now time.Time) *authCount {
	c := w.sources[key]
	if c != nil && now.Sub(c.since) <= authWindow {
		return c
	}
	if c == nil && !w.roomFor(now) {
		return nil
	}
	c = &authCount{since: now}
	w.sources[key] = c
	return c
}

// everybody is the count that there is always room for.
func (w *authWatch) everybody(now time.Time) *authCount {
	c := w.sources[authSource{}]
	if c == nil || now.Sub(c.since) > authWindow {
		c = &authCount{since: now}
		w.sources[authSource{}] = c
	}
	return c
}

// roomFor forgets what has expired if it must, at most once a second.
func (w *authWatch) roomFor(now time.Time) bool {
	if len(w.sources) < authSources {
		return true
	}
	if now.Sub(w.swept) < time.Second {
		return false
	}
	w.swept = now
	for k, c := range w.sources {
		if now.Sub(c.since) > authWindow {
			delete(w.sources, k)
		}
	}
	return len(w.sources) < authSources
}
