package identity

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// ending is when a credential that was rotated out stops to work, and whose it
// is.
type ending struct {
	server ID
	at     time.Time
}

// Sweep calls Config.Revoked once for each credential whose overlap after a
// Rotate has ended since the last Sweep, so that tunnels opened with it end as
// well. Whoever holds tunnels calls it every second or so; it costs next to
// nothing when there is nothing to do.
//
// A session credential of Enrol that comes to its own end, without having been
// rotated out, is not among them: nobody withdrew it, and a long download of a
// server that has been running for so long is no reason to cut it. Only new
// connections are refused then.
func (r *Registry) Sweep() {
	now := r.now()
	ended := make(map[uuid.UUID]ID)
	r.mu.Lock()
	for cred, e := range r.endings {
		if !now.Before(e.at) {
			ended[cred] = e.server
			delete(r.endings, cred)
		}
	}
	r.mu.Unlock()
	for cred, server := range ended {
		r.revoked(server, cred)
	}
}

// noteEndings notes which credentials of a Sweep has to report. Rotate always
// leaves a newest credential without an end, so whatever has an end and is
// older than one without was rotated out. mu must be held.
func (r *Registry) noteEndings(a *account) {
	rotated := false
	for _, c := range slices.Backward(a.creds) {
		switch {
		case c.Expires.IsZero():
			rotated = true
			delete(r.endings, c.ID)
		case !c.Revoked.IsZero():
			delete(r.endings, c.ID) // it was reported when it was revoked
		case rotated:
			r.endings[c.ID] = ending{server: a.server.ID, at: c.Expires}
		}
	}
}

// forgetEndings is for a server that is removed. mu must be held.
func (r *Registry) forgetEndings(id ID) {
	maps.DeleteFunc(r.endings, func(_ uuid.UUID, e ending) bool { return e.server == id })
}
