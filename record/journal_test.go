package record_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/resolve"
	"github.com/exeat/exeat/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty is a real store that can be made to fail, or to hold its writes.
type faulty struct {
	*store.DB
	mu   sync.Mutex
	err  error
	hold chan struct{} // InsertAlert waits for it, if it isn't nil
	held chan struct{} // and says here that it does
}

func (f *faulty) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faulty) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *faulty) SaveBatch(ctx context.Context, b record.Batch) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.DB.SaveBatch(ctx, b)
}

func (f *faulty) SaveGap(ctx context.Context, g record.Gap) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.DB.SaveGap(ctx, g)
}

func (f *faulty) InsertAlert(ctx context.Context, a detect.Alert) error {
	if f.hold != nil {
		f.held <- struct{}{}
		<-f.hold
	}
	if err := f.failure(); err != nil {
		return err
	}
	return f.DB.InsertAlert(ctx, a)
}

// places knows one network.
type places struct{}

func (places) Place(addr netip.Addr) flow.Place {
	if addr == netip.MustParseAddr("192.0.2.7") {
		return flow.Place{ASN: 64500, Org: "Example Networks", Country: "NL"}
	}
	return flow.Place{}
}

// rig is a journal on a real store with one server.
type rig struct {
	journal  *record.Journal
	store    *faulty
	registry *identity.Registry
	book     *baseline.Book
	server   identity.Server
}

func newRig(t *testing.T, change func(*record.Config)) *rig {
	t.Helper()
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, store.Config{Path: filepath.Join(t.TempDir(), "exeat.db"), Logger: log})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	r := &rig{store: &faulty{DB: db}}
	r.registry, err = identity.NewRegistry(ctx, identity.Config{Store: db})
	check(t, err)
	r.book, err = baseline.NewBook(ctx, baseline.BookConfig{Store: db})
	check(t, err)
	r.server, _, err = r.registry.Add(ctx, identity.NewServer{Name: "calendar", Mode: identity.ModeLearn}, "test")
	check(t, err)
	risky, err := detect.LoadRisky()
	check(t, err)
	cfg := record.Config{
		Store: r.store, Servers: r.registry, Places: places{}, Learner: r.book,
		Memory: resolve.NewMemory(resolve.MemoryConfig{}), Risky: risky, Logger: log,
	}
	if change != nil {
		change(&cfg)
	}
	r.journal, err = record.Open(ctx, cfg)
	check(t, err)
	t.Cleanup(func() { r.close(t) })
	return r
}

func (r *rig) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	check(t, r.journal.Close(ctx))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flow returns a flow of the rig's server that was let through in learn mode.
func (r *rig) flow(host string) flow.Flow {
	return flow.Flow{
		ID: uuid.Must(uuid.NewV7()), ServerID: r.server.ID, Server: r.server.Name, Mode: identity.ModeLearn,
		Opened: time.Now(), Method: flow.MethodConnect, Host: host, Port: 443,
		Grade: flow.GradeVerified, Phase: flow.PhaseUnknown,
		Verdict: flow.Allowed, Reason: flow.ReasonLearning,
	}
}

func ended(f flow.Flow) flow.Flow {
	f.Closed, f.End, f.BytesUp, f.BytesDown = f.Opened.Add(time.Second), flow.EndClient, 100, 2000
	return f
}

// wait calls done until it reports true; events are what it waits for, the
// deadline only ends a test that would hang.
func wait(t *testing.T, events <-chan record.Event, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-events:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// tick makes an event every few milliseconds, for state that has none of its
// own.
func tick(t *testing.T) <-chan record.Event {
	t.Helper()
	events := make(chan record.Event)
	ctx := t.Context()
	var done sync.WaitGroup
	t.Cleanup(done.Wait)
	done.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				select {
				case events <- record.Event{}:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	return events
}

func TestFlowIsPlacedKeptAndLearnt(t *testing.T) {
	r := newRig(t, nil)
	events, cancel := r.journal.Hub().Subscribe(16)
	defer cancel()
	f := r.flow("api.calendar.example")
	f.IP = netip.MustParseAddr("192.0.2.7")
	r.journal.Opened(f)
	r.journal.Closed(ended(f))
	var last flow.Flow
	wait(t, events, "the flow's end", func() bool {
		stored, err := r.store.Flow(t.Context(), f.ID)
		last = stored
		return err == nil && stored.End == flow.EndClient
	})
	if last.Place.ASN != 64500 || last.BytesUp != 100 || last.BytesDown != 2000 {
		t.Errorf("stored %+v", last)
	}
	entries := r.book.Entries(r.server.ID)
	if len(entries) != 1 || entries[0].State != baseline.Candidate || entries[0].Flows != 1 {
		t.Errorf("learnt %+v, want one candidate of one flow", entries)
	}
}

func TestSyncShowsWhatJustHappened(t *testing.T) {
	r := newRig(t, nil)
	for range 20 {
		f := r.flow("api.calendar.example")
		r.journal.Closed(ended(f))
		check(t, r.journal.Sync(t.Context()))
		if _, err := r.store.Flow(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAlarmIsOnDiskBeforeItReturns(t *testing.T) {
	r := newRig(t, nil)
	r.store.hold, r.store.held = make(chan struct{}), make(chan struct{}, 1)
	f := r.flow("webhook.site")
	f.Reason = flow.ReasonRiskyDestination
	returned := make(chan error, 1)
	go func() { returned <- r.journal.Alarm(t.Context(), f, flow.ReasonRiskyDestination) }()
	<-r.store.held
	select {
	case err := <-returned:
		t.Fatal("Alarm returned while its alert was still being written:", err)
	default:
	}
	close(r.store.hold)
	check(t, <-returned)
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	if len(page.Items) != 1 || page.Items[0].Kind != detect.RiskyDestination {
		t.Fatalf("on disk: %+v", page.Items)
	}
}

func TestOneAlertACause(t *testing.T) {
	r := newRig(t, nil)
	const n = 50
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			f := r.flow(fmt.Sprintf("h%d.attacker.example", i%3))
			if err := r.journal.Alarm(t.Context(), f, flow.ReasonNewDestination); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wait(t, tick(t), "the count", func() bool {
		page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
		check(t, err)
		if len(page.Items) != 1 {
			t.Fatalf("%d alerts for one registrable domain", len(page.Items))
		}
		return page.Items[0].Count == n
	})
}

func TestAlertNamesTheNetworkOnceItIsKnown(t *testing.T) {
	r := newRig(t, nil)
	f := r.flow("api.attacker.example")
	f.Mode, f.Reason = identity.ModeAlert, flow.ReasonNewDestination
	check(t, r.journal.Alarm(t.Context(), f, f.Reason)) // before the name is resolved
	f.IP = netip.MustParseAddr("192.0.2.7")
	r.journal.Opened(f)
	wait(t, tick(t), "the organisation", func() bool {
		page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
		check(t, err)
		return len(page.Items) == 1 && page.Items[0].Place.Org == "Example Networks"
	})
}

func TestResolvedCauseMakesANewAlert(t *testing.T) {
	r := newRig(t, nil)
	f := r.flow("api.attacker.example")
	check(t, r.journal.Alarm(t.Context(), f, flow.ReasonNewDestination))
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	first := page.Items[0].ID
	_, err = r.journal.SetAlertStatus(t.Context(), first, detect.Resolved, "test")
	check(t, err)
	if _, err := r.journal.SetAlertStatus(t.Context(), first, detect.Acknowledged, "test"); !errors.Is(err, record.ErrNoAlert) {
		t.Errorf("a resolved alert was acknowledged: %v", err)
	}
	check(t, r.journal.Alarm(t.Context(), f, flow.ReasonNewDestination))
	page, err = r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	if len(page.Items) != 2 {
		t.Fatalf("%d alerts, want the resolved one and a new one", len(page.Items))
	}
}

func (r *rig) alerts(t *testing.T) []detect.Alert {
	t.Helper()
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	return page.Items
}

// TestResolveLosesNothing resolves an alert while events of its cause go on
// coming in: each is counted on disk, in the alert that ends or in the next.
func TestResolveLosesNothing(t *testing.T) {
	r := newRig(t, nil)
	const n = 300
	var all sync.WaitGroup
	all.Go(func() {
		for range n {
			if err := r.journal.Alarm(t.Context(), r.flow("api.attacker.example"), flow.ReasonNewDestination); err != nil {
				t.Error(err)
			}
		}
	})
	for range 40 {
		for _, a := range r.alerts(t) {
			if a.Status == detect.Resolved {
				continue
			}
			_, err := r.journal.SetAlertStatus(t.Context(), a.ID, detect.Resolved, "test")
			if err != nil && !errors.Is(err, record.ErrNoAlert) {
				t.Error(err)
			}
		}
	}
	all.Wait()
	wait(t, tick(t), "all to be counted", func() bool {
		var count int64
		for _, a := range r.alerts(t) {
			count += a.Count
		}
		return count == n
	})
}

// TestStatusIsOneDecisionAtATime: resolving and acknowledging at once leave the
// store and the inbox of one mind.
func TestStatusIsOneDecisionAtATime(t *testing.T) {
	r := newRig(t, nil)
	for range 20 {
		check(t, r.journal.Alarm(t.Context(), r.flow("api.attacker.example"), flow.ReasonNewDestination))
		id := r.alerts(t)[0].ID
		var both sync.WaitGroup
		for _, status := range []detect.Status{detect.Resolved, detect.Acknowledged, detect.Resolved} {
			both.Go(func() {
				if _, err := r.journal.SetAlertStatus(t.Context(), id, status, "test"); err != nil && !errors.Is(err, record.ErrNoAlert) {
					t.Error(err)
				}
			})
		}
		both.Wait()
		a, err := r.store.Alert(t.Context(), id)
		check(t, err)
		if a.Status != detect.Resolved {
			t.Fatalf("resolved and acknowledged at once, it is stored as %s", a.Status)
		}
	}
}

// TestAnotherHostOfAKnownCauseIsWaitedFor: the alert on disk speaks of a host
// before anything goes to it, also when its family has an alert already.
func TestAnotherHostOfAKnownCauseIsWaitedFor(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		host := fmt.Sprintf("h%d.attacker.example", i)
		check(t, r.journal.Alarm(t.Context(), r.flow(host), flow.ReasonNewDestination))
		if a := r.alerts(t)[0]; a.Host != host || a.Count != int64(i+1) {
			t.Fatalf("on disk is %s, %d times; want %s, %d times", a.Host, a.Count, host, i+1)
		}
	}
}

func TestWrongCredentialsOfManyNames(t *testing.T) {
	r := newRig(t, nil)
	from := netip.MustParseAddr("127.0.0.1")
	for i := range 6000 { // more than there is room for
		r.journal.AuthFailed(identity.Name(fmt.Sprintf("n%d", i)), from)
	}
	wait(t, tick(t), "the count", func() bool {
		a := r.alerts(t)
		return len(a) == 1 && a[0].Kind == detect.AuthFailures && a[0].Server == "" && a[0].Count >= 3000
	})
}

func TestFullQueueSlowsThenRefuses(t *testing.T) {
	r := newRig(t, func(c *record.Config) {
		c.Queue, c.Patience = 4, time.Millisecond
	})
	// An alert being held keeps nothing from the queue; a store that fails
	// with an error of its own would be given up. So the queue is filled
	// faster than its writer comes round.
	var refused error
	for range 100_000 {
		r.journal.Closed(ended(r.flow("api.calendar.example")))
		if refused = r.journal.Admit(t.Context()); refused != nil {
			break
		}
	}
	if !errors.Is(refused, record.ErrOverloaded) {
		t.Fatalf("nobody was refused: %v", refused)
	}
	s := r.journal.Status()
	if s.Overloaded == 0 || s.Waits == 0 {
		t.Errorf("not counted: %+v", s)
	}
	wait(t, tick(t), "room", func() bool { return r.journal.Admit(t.Context()) == nil })
}

func TestStoreAway(t *testing.T) {
	away := fmt.Errorf("%w: the disk is full", record.ErrUnavailable)
	r := newRig(t, func(c *record.Config) { c.Queue = 8 })
	r.store.fail(away)
	before := r.flow("api.calendar.example")
	r.journal.Closed(ended(before))
	wait(t, tick(t), "the failure to be noticed", func() bool { return r.journal.Status().Degraded })

	alarm := r.flow("api.attacker.example")
	alarm.Mode = identity.ModeAlert
	for range 2 { // of a cause that is new, and of one that is known
		if err := r.journal.Alarm(t.Context(), alarm, flow.ReasonNewDestination); !errors.Is(err, record.ErrUnavailable) {
			t.Fatalf("an alarm that is not on disk returned %v", err)
		}
	}
	for range 100 { // far more than the queue holds: approved work goes on
		check(t, r.journal.Admit(t.Context()))
		r.journal.Closed(ended(r.flow("api.calendar.example")))
	}
	wait(t, tick(t), "flows to be given up", func() bool { return r.journal.Status().Lost > 0 })

	r.store.fail(nil)
	wait(t, tick(t), "recovery", func() bool {
		s := r.journal.Status()
		return !s.Degraded && s.UnsavedAlerts == 0 && s.Queue == 0
	})
	gaps, err := r.store.Gaps(t.Context(), time.Time{})
	check(t, err)
	if len(gaps) != 1 || gaps[0].Flows != r.journal.Status().Lost || gaps[0].Cause == "" {
		t.Errorf("gaps %+v, lost %d", gaps, r.journal.Status().Lost)
	}
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	if len(page.Items) != 1 || page.Items[0].Verdict != flow.Refused {
		t.Errorf("the alert that was raised meanwhile, of what was refused for want of a store: %+v", page.Items)
	}
	if _, err := r.store.Flow(t.Context(), before.ID); err != nil {
		t.Errorf("the flow whose write failed is not there: %v", err)
	}
}

func TestBatchThatIsRefusedForItsOwnSakeIsGivenUpAndCounted(t *testing.T) {
	r := newRig(t, nil)
	r.store.fail(errors.New("a constraint"))
	r.journal.Closed(ended(r.flow("api.calendar.example")))
	wait(t, tick(t), "the loss to be counted", func() bool { return r.journal.Status().Lost == 1 })
	r.store.fail(nil)
	f := r.flow("api.calendar.example")
	r.journal.Closed(ended(f))
	wait(t, tick(t), "the next flow", func() bool { _, err := r.store.Flow(t.Context(), f.ID); return err == nil })
}

func TestWrongCredentialsAlertOnce(t *testing.T) {
	r := newRig(t, nil)
	from := netip.MustParseAddr("127.0.0.1")
	for range 100 {
		r.journal.AuthFailed("calendar", from)
	}
	page, err := r.store.Alerts(t.Context(), store.AlertQuery{})
	check(t, err)
	if len(page.Items) != 1 || page.Items[0].Kind != detect.AuthFailures || page.Items[0].ServerID != r.server.ID {
		t.Fatalf("alerts %+v", page.Items)
	}
}

func TestAlertStormKeepsMemoryFlat(t *testing.T) {
	r := newRig(t, nil)
	for i := range 1100 {
		f := r.flow(fmt.Sprintf("attacker%d.example", i))
		check(t, r.journal.Alarm(t.Context(), f, flow.ReasonNewDestination))
	}
	counts, err := r.store.AlertCounts(t.Context())
	check(t, err)
	if n := counts[detect.Open]; n != 1001 {
		t.Errorf("%d alerts, want 1,000 causes and one for all the rest", n)
	}
}

func TestProgressOfOpenFlows(t *testing.T) {
	r := newRig(t, nil)
	f := r.flow("api.calendar.example")
	r.journal.Opened(f)
	live := f
	live.BytesUp = 4242
	r.journal.Follow(func() []flow.Flow { return []flow.Flow{live} })
	wait(t, tick(t), "the live count", func() bool {
		stored, err := r.store.Flow(t.Context(), f.ID)
		return err == nil && stored.BytesUp == 4242 && stored.End == ""
	})
}
