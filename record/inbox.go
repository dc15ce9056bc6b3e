package record

import (
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// inbox has the unresolved alerts in memory, one a cause.
type inbox struct {
	mu    sync.Mutex
	byKey map[detect.Key]*slot
	byID  map[uuid.UUID]*slot
	dirty map[*slot]struct{} // changed since they were last written
	held  map[*slot]struct{} // not stored yet: the store was away
	// families counts the alerts of each server and kind.
	families map[detect.Key]int
}

// maxFamilies bounds the unresolved alerts of one server and kind. A server
// that makes more causes than a person could ever read gets one last alert for
// all the rest, under the family "*".
const maxFamilies = 1000

// slot is one alert in the inbox.
type slot struct {
	in    *inbox
	alert detect.Alert // guarded by in.mu
	ok    bool         // on disk; guarded by in.mu
	over  bool         // resolved or given up; guarded by in.mu
	// closing is set while the alert is being resolved, and closed when it was
	// or wasn't. Nothing is counted into it meanwhile. Guarded by in.mu.
	closing chan struct{}
	// hosts are the destinations that the alert on disk has spoken of; at most
	// maxHosts. Guarded by in.mu.
	hosts map[flow.Destination]struct{}
	// stored is closed once the first attempt to store it has ended.
	stored chan struct{}
}

func newInbox(alerts []detect.Alert) *inbox {
	in := &inbox{
		byKey: make(map[detect.Key]*slot), byID: make(map[uuid.UUID]*slot),
		dirty: make(map[*slot]struct{}), held: make(map[*slot]struct{}),
		families: make(map[detect.Key]int),
	}
	for _, a := range alerts {
		s := &slot{in: in, alert: a, ok: true, stored: make(chan struct{}), hosts: make(map[flow.Destination]struct{})}
		close(s.stored)
		in.remember(s)
	}
	return in
}

// add returns the slot of a's cause, and whether a is its first event and must
// be stored by the caller, who then calls finish.
func (in *inbox) add(a detect.Alert) (*slot, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s, ok := in.byKey[a.Key()]; ok {
		return s, false
	}
	if in.families[detect.Key{Server: a.ServerID, Kind: a.Kind}] >= maxFamilies {
		a.Family = detect.AllFamilies
		if s, ok := in.byKey[a.Key()]; ok {
			return s, false
		}
	}
	s := &slot{in: in, alert: a, stored: make(chan struct{}), hosts: make(map[flow.Destination]struct{})}
	in.remember(s)
	return s, true
}

func (in *inbox) remember(s *slot) {
	in.byKey[s.alert.Key()], in.byID[s.alert.ID] = s, s
	in.families[detect.Key{Server: s.alert.ServerID, Kind: s.alert.Kind}]++
}

// maxHosts bounds what a slot remembers of the hosts of its family; what is
// forgotten is waited for once more.
const maxHosts = 256

// merged is what became of an event of a known cause.
type merged struct {
	taken   bool
	alert   detect.Alert
	dest    flow.Destination
	fresh   bool            // the alert on disk doesn't speak of dest yet
	closing <-chan struct{} // if it wasn't taken: wait for this, then try again
}

// merge counts a into the slot's alert, unless that is over or about to be.
func (in *inbox) merge(s *slot, a detect.Alert) merged {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case s.over:
		return merged{closing: s.stored} // closed long since
	case s.closing != nil:
		return merged{closing: s.closing}
	}
	s.alert = s.alert.Merge(a)
	in.dirty[s] = struct{}{}
	dest := flow.Destination{Host: a.Host, Port: a.Port}
	_, known := s.hosts[dest]
	return merged{taken: true, alert: s.alert, dest: dest, fresh: !known}
}

// durable reports whether the event that m was made from is on disk, and
// remembers its host if it is.
func (in *inbox) durable(s *slot, m merged) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !s.ok {
		return false
	}
	if m.fresh {
		in.spokenOf(s, m.dest)
	}
	return true
}

func (in *inbox) spokenOf(s *slot, dest flow.Destination) {
	if len(s.hosts) >= maxHosts {
		clear(s.hosts)
	}
	s.hosts[dest] = struct{}{}
}

// refused puts an alert right whose latest event was to be let through and was
// refused for want of a store. In learn mode it goes through all the same.
func (in *inbox) refused(s *slot) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.alert.Verdict != flow.Allowed || s.alert.Evidence.Mode == identity.ModeLearn {
		return
	}
	s.alert.Verdict = flow.Refused
	s.alert = s.alert.WithPlace(s.alert.Place) // the text says what happened
	in.dirty[s] = struct{}{}
}

// finish tells those who wait that the first attempt to store it has ended.
func (s *slot) finish(ok bool) {
	s.in.mu.Lock()
	s.ok = ok
	if ok {
		s.in.spokenOf(s, flow.Destination{Host: s.alert.Host, Port: s.alert.Port})
	} else {
		s.in.held[s] = struct{}{}
	}
	s.in.mu.Unlock()
	close(s.stored)
}

func (s *slot) saved() bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.ok
}

func (s *slot) snapshot() detect.Alert {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.alert
}

// saveDone notes that a held alert is on disk now.
func (s *slot) saveDone() {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.ok = true
	delete(s.in.held, s)
}

// drop gives an alert up.
func (in *inbox) drop(s *slot) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.held, s)
	in.forget(s)
}

func (in *inbox) forget(s *slot) {
	if s.over {
		return
	}
	s.over = true
	all := detect.Key{Server: s.alert.ServerID, Kind: s.alert.Kind}
	if in.families[all]--; in.families[all] == 0 {
		delete(in.families, all)
	}
	delete(in.byKey, s.alert.Key())
	delete(in.byID, s.alert.ID)
	delete(in.dirty, s)
}

// unsaved returns the alerts that the store hasn't taken yet.
func (in *inbox) unsaved() []*slot {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.held) == 0 {
		return nil
	}
	return slices.Collect(maps.Keys(in.held))
}

func (in *inbox) find(id uuid.UUID) (*slot, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s, ok := in.byID[id]
	return s, ok
}

// beginStatus returns the alert as it is to be stored with a new status. While
// it is being resolved nothing more is counted into it.
func (in *inbox) beginStatus(s *slot, status detect.Status) detect.Alert {
	in.mu.Lock()
	defer in.mu.Unlock()
	if status == detect.Resolved {
		s.closing = make(chan struct{})
	}
	a := s.alert
	a.Status = status
	return a
}

// endStatus ends what beginStatus began; stored says whether it is on disk.
func (in *inbox) endStatus(s *slot, status detect.Status, stored bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if stored {
		s.alert.Status = status
		if status == detect.Resolved {
			in.forget(s)
		}
	}
	if s.closing != nil {
		close(s.closing)
		s.closing = nil
	}
}

// takeDirty returns the alerts on disk whose counts moved since the last call.
func (in *inbox) takeDirty() []detect.Alert {
	in.mu.Lock()
	defer in.mu.Unlock()
	var alerts []detect.Alert
	for s := range in.dirty {
		if s.ok {
			alerts = append(alerts, s.alert)
			delete(in.dirty, s)
		}
	}
	return alerts
}

// located returns the kinds whose alerts were raised before an address was
// known, or may have been.
func located() [7]detect.Kind {
	return [...]detect.Kind{
		detect.NewDestination, detect.RiskyDestination, detect.IPLiteral,
		detect.SNIMismatch, detect.NoSNI, detect.NotTLS, detect.HiddenName,
	}
}

// locate names the network in the alerts of flows whose address has become
// known since: an alert is on disk before its name is even resolved.
func (in *inbox) locate(flows []flow.Flow) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.byKey) == 0 {
		return
	}
	for i := range flows {
		if f := &flows[i]; f.IP.IsValid() && f.Reason != flow.ReasonApproved {
			in.locateOne(f)
		}
	}
}

func (in *inbox) locateOne(f *flow.Flow) {
	family := detect.Family(f.Host)
	for _, kind := range located() {
		s, ok := in.byKey[detect.Key{Server: f.ServerID, Kind: kind, Family: family}]
		// Only of its latest event: an older flow's address may be another host's.
		if ok && s.alert.Place != f.Place && len(s.alert.Flows) > 0 && s.alert.Flows[0] == f.ID {
			s.alert = s.alert.Located(f.IP, f.Place)
			in.dirty[s] = struct{}{}
		}
	}
}
