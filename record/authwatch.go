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
	// authThreshold is how many of them within it are more than a slip: a
	// client that retries a stale token makes two or three.
	authThreshold = 5
	// authSources bounds what a guesser can make us remember.
	authSources = 4096
)

// authWatch counts wrong credentials by the name they claim and where they
// come from.
type authWatch struct {
	mu      sync.Mutex
	sources map[authSource]*authCount
}

type authSource struct {
	name identity.Name
	from netip.Addr
}

type authCount struct {
	since time.Time
	n     int64
	told  int64
}

func newAuthWatch() *authWatch { return &authWatch{sources: make(map[authSource]*authCount)} }

// failed counts one and returns how many are new since the last alert, and
// whether an alert about them is due: at the threshold, and then each time the
// count has doubled, so that a flood makes few.
func (w *authWatch) failed(name identity.Name, from netip.Addr, now time.Time) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := authSource{name, from.Unmap()}
	c := w.sources[key]
	if c == nil || now.Sub(c.since) > authWindow {
		if c == nil {
			w.makeRoom(now)
		}
		c = &authCount{since: now}
		w.sources[key] = c
	}
	c.n++
	if c.n < authThreshold || c.n < 2*c.told {
		return 0, false
	}
	fresh := c.n - c.told
	c.told = c.n
	return fresh, true
}

// makeRoom forgets what has expired, or everything when that isn't enough: to
// lose counts is better than to keep a guesser's names.
func (w *authWatch) makeRoom(now time.Time) {
	if len(w.sources) < authSources {
		return
	}
	for k, c := range w.sources {
		if now.Sub(c.since) > authWindow {
			delete(w.sources, k)
		}
	}
	if len(w.sources) >= authSources {
		clear(w.sources)
	}
}
