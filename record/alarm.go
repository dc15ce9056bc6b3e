package record

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// alarmTimeout bounds how long a connection waits for its alert to be durable.
const alarmTimeout = 5 * time.Second

// Alarm makes the alert about f durable before it returns, so that nothing
// about an unknown destination leaves the machine unnoticed. The first event of
// a cause is written and waited for; later ones only count up an alert that is
// on disk already. While the store can't be written it fails at once, and the
// alert is kept in memory and logged until the store is back.
func (j *Journal) Alarm(ctx context.Context, f flow.Flow, reason flow.Reason) error {
	f.Place = j.cfg.Places.Place(f.IP)
	return j.raise(ctx, detect.New(detect.Event{
		Flow: f, Kind: detect.Kind(reason), Risk: j.cfg.Risky.Class(f.Host),
		Now: j.cfg.Now(), Known: j.known(f.ServerID),
	}))
}

// known sums up what is usual for a server.
func (j *Journal) known(id identity.ID) detect.Known {
	k := detect.Known{Approved: j.cfg.Learner.Approved(id)}
	if s, ok := j.cfg.Servers.Server(id); ok {
		k.Since = s.Created
	}
	return k
}

func (j *Journal) raise(ctx context.Context, a detect.Alert) error {
	for {
		slot, first := j.inbox.add(a)
		if first {
			return j.insert(ctx, slot)
		}
		if err := await(ctx, slot.stored); err != nil {
			return err
		}
		m := j.inbox.merge(slot, a)
		if m.taken {
			j.hub.Publish(Event{Alert: &m.alert})
			return j.confirm(ctx, slot, m)
		}
		// It is being resolved: the same cause then starts a new alert.
		if err := await(ctx, m.closing); err != nil {
			return err
		}
	}
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirm makes sure that an event which was counted into an alert is as
// durable as it must be: a host that the alert on disk doesn't speak of yet is
// waited for, a repetition isn't.
func (j *Journal) confirm(ctx context.Context, s *slot, m merged) error {
	if m.fresh {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), alarmTimeout)
		defer cancel()
		if err := j.Sync(ctx); err != nil {
			j.inbox.refused(s)
			return ErrUnavailable
		}
	}
	if j.health.degraded() || !j.inbox.durable(s, m) {
		j.inbox.refused(s)
		return ErrUnavailable
	}
	return nil
}

// insert stores the first event of a cause. The write is not given up when the
// client goes away: an attempt is worth an alert even if nobody waits for it.
func (j *Journal) insert(ctx context.Context, s *slot) error {
	a := s.snapshot()
	j.hub.Publish(Event{Alert: &a})
	j.cfg.Logger.Warn("alert", "kind", a.Kind, "severity", a.Severity, "server", a.Server,
		"host", a.Host, "port", a.Port, "verdict", a.Verdict, "id", a.ID)
	if j.health.degraded() {
		j.inbox.refused(s)
		s.finish(false)
		return ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), alarmTimeout)
	defer cancel()
	err := j.cfg.Store.InsertAlert(ctx, a)
	if err != nil && unavailable(err) {
		j.failed(err)
	}
	if err != nil {
		j.inbox.refused(s)
	}
	s.finish(err == nil)
	return err
}

// saveUnsaved stores an alert that was raised while the store was away, and
// reports whether the store is fit for more.
func (j *Journal) saveUnsaved(s *slot) bool {
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	a := s.snapshot()
	err := j.cfg.Store.InsertAlert(ctx, a)
	if err != nil && unavailable(err) {
		j.failed(err)
		return false
	}
	if err != nil {
		j.cfg.Logger.Error("an alert could not be stored and is lost", "id", a.ID, "kind", a.Kind, "server", a.Server, "host", a.Host, "err", err)
		j.inbox.drop(s)
		return true
	}
	s.saveDone()
	return true
}

// SetAlertStatus acknowledges or resolves an alert, with who did it in the
// audit trail. A resolved alert is over: the same cause makes a new one.
func (j *Journal) SetAlertStatus(ctx context.Context, id uuid.UUID, status detect.Status, by string) (detect.Alert, error) {
	j.statusMu.Lock()
	defer j.statusMu.Unlock()
	s, ok := j.inbox.find(id)
	if !ok {
		return detect.Alert{}, ErrNoAlert
	}
	if err := await(ctx, s.stored); err != nil {
		return detect.Alert{}, err
	}
	if !s.saved() {
		return detect.Alert{}, ErrUnavailable
	}
	a := j.inbox.beginStatus(s, status)
	err := j.cfg.Store.SetAlertStatus(ctx, a, by, j.cfg.Now())
	j.inbox.endStatus(s, status, err == nil)
	if err != nil {
		return detect.Alert{}, err
	}
	j.hub.Publish(Event{Alert: &a})
	return a, nil
}

// claimed returns the one server of a name; none when several owners have one.
func (j *Journal) claimed(name identity.Name) identity.ID {
	var found identity.ID
	for _, s := range j.cfg.Servers.Servers() {
		if s.Name != name {
			continue
		}
		if found != (identity.ID{}) {
			return identity.ID{}
		}
		found = s.ID
	}
	return found
}

// AuthFailed counts wrong credentials and raises an alert once they look like
// more than a slip.
func (j *Journal) AuthFailed(claimed identity.Name, from netip.Addr) {
	count, due := j.auth.failed(claimed, from, j.cfg.Now())
	if !due {
		return
	}
	if count.names {
		claimed = ""
	}
	a, ok := detect.NewAuthFailures(claimed, j.claimed(claimed), from, count.n, j.cfg.Now())
	if !ok {
		return
	}
	if err := j.raise(context.Background(), a); err != nil && !errors.Is(err, ErrUnavailable) {
		j.cfg.Logger.Error("the alert about wrong credentials could not be stored", "from", from, "err", err)
	}
}
