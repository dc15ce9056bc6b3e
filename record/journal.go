package record

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/resolve"
)

// Servers knows the live servers. It is implemented by identity.Registry.
type Servers interface {
	Server(id identity.ID) (identity.Server, bool)
	Servers() []identity.Server
}

// Places says where an address lies. It is implemented by geo.DB.
type Places interface {
	Place(addr netip.Addr) flow.Place
}

// Learner takes what was seen into the baselines. It is implemented by
// baseline.Book.
type Learner interface {
	Observe(f flow.Flow) []baseline.Entry
	// Approved counts the approved entries of a server.
	Approved(server identity.ID) int
}

// Memory remembers which name led to which address for whom. It is implemented
// by resolve.Memory.
type Memory interface {
	Remember(server identity.ID, a resolve.Answer)
}

// Classifier names the class of a risky host, or "". It is implemented by
// detect.Risky.
type Classifier interface {
	Class(host string) string
}

// Config is what Open needs.
type Config struct {
	Store   Store        // must not be nil
	Servers Servers      // must not be nil
	Places  Places       // must not be nil
	Learner Learner      // must not be nil
	Memory  Memory       // must not be nil
	Risky   Classifier   // must not be nil
	Logger  *slog.Logger // must not be nil
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Queue is how many flows may wait to be written before new connections
	// are slowed down; 0: 16,384.
	Queue int
	// Patience is how long a new connection waits for room; 0: 2 s.
	Patience time.Duration
}

const (
	defaultQueue    = 16384
	defaultPatience = 2 * time.Second
	// flushEvery bounds how far the store is behind: half of what promise 3
	// allows, so that a batch in flight still fits.
	flushEvery = 50 * time.Millisecond
	// maxBatch bounds one transaction, so that an alert that must be durable
	// now doesn't wait behind a long one.
	maxBatch = 2000
	// progressEvery is how often the counts of open flows are written and
	// shown.
	progressEvery = time.Second
	// saveTimeout bounds one write; a store that takes longer counts as away.
	saveTimeout = 10 * time.Second
	// retryEvery is how often a store that can't be written is tried again.
	retryEvery = time.Second
)

// Journal is the one place where everything that happened is handed over. Open
// one with Open and end it with Close. Its methods are safe for concurrent use.
type Journal struct {
	cfg   Config
	queue *queue
	hub   *Hub
	inbox *inbox
	auth  *authWatch
	live  atomic.Pointer[func() []flow.Flow]
	// pending is the batch that the store failed to take; only run touches it.
	pending *Batch

	// statusMu makes one decision about alerts at a time.
	statusMu sync.Mutex
	health   health
	counters struct {
		recorded, waits, overloaded atomic.Int64
	}

	sync    chan chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// Open marks the flows that were open when Exeat last died as lost, loads the
// unresolved alerts and starts to record. The error says what couldn't be read
// or written.
func Open(ctx context.Context, cfg Config) (*Journal, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Queue == 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	lost, err := cfg.Store.MarkLost(ctx, cfg.Now())
	if err != nil {
		return nil, err
	}
	if lost > 0 {
		cfg.Logger.Info("flows were open when Exeat last ended; marked as lost", "flows", lost)
	}
	alerts, err := cfg.Store.UnresolvedAlerts(ctx)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		cfg: cfg, queue: newQueue(cfg.Queue), hub: &Hub{},
		inbox: newInbox(alerts), auth: newAuthWatch(),
		sync: make(chan chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go j.run()
	return j, nil
}

// Close writes what waits and ends the journal. What can't be written until
// ctx ends is logged as lost.
func (j *Journal) Close(ctx context.Context) error {
	j.once.Do(func() { close(j.stop) })
	select {
	case <-j.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sync returns once what was handed over before has been written, or tried to
// be: whoever asks what just happened is told.
func (j *Journal) Sync(ctx context.Context) error {
	written := make(chan struct{})
	select {
	case j.sync <- written:
	case <-j.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Hub returns where live pages subscribe.
func (j *Journal) Hub() *Hub { return j.hub }

// Follow tells the journal where the live counts of open flows are: the
// proxy's, which is made after the journal.
func (j *Journal) Follow(live func() []flow.Flow) { j.live.Store(&live) }

// Admit waits until there is room to record one more flow. While the store
// can't be written it never waits: see Status.
func (j *Journal) Admit(ctx context.Context) error {
	waited, err := j.queue.admit(ctx, j.cfg.Patience)
	if waited {
		j.counters.waits.Add(1)
	}
	if errors.Is(err, ErrOverloaded) {
		j.counters.overloaded.Add(1)
	}
	return err
}

// Opened takes a flow that has just opened.
func (j *Journal) Opened(f flow.Flow) { j.queue.push(f) }

// Closed takes a flow that ended or never came to be.
func (j *Journal) Closed(f flow.Flow) { j.queue.push(f) }

// Resolved remembers which name led to which addresses for a server.
func (j *Journal) Resolved(server identity.ID, a resolve.Answer) { j.cfg.Memory.Remember(server, a) }

// run is the writer: one goroutine that takes what waits, every flushEvery at
// the latest, and walks it through place, learn, keep and publish.
func (j *Journal) run() {
	defer close(j.stopped)
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for {
		select {
		case <-j.stop:
			j.drain()
			return
		case written := <-j.sync:
			j.flush()
			close(written)
		case <-progress.C:
			j.progress()
		case <-flush.C:
			j.flush()
		}
	}
}

// flush writes everything that waits, batch by batch.
func (j *Journal) flush() {
	if !j.ready() {
		j.shed()
		return
	}
	for {
		flows := j.queue.take(maxBatch)
		if !j.write(flows) || len(flows) < maxBatch {
			return
		}
	}
}

// ready reports whether the store takes writes, and tries one that failed again
// when that is due: first the record of the gap, then what the failure had
// interrupted.
func (j *Journal) ready() bool {
	if j.health.degraded() && !j.recover() {
		return false
	}
	for _, a := range j.inbox.unsaved() {
		if !j.saveUnsaved(a) {
			return false
		}
	}
	if j.pending != nil {
		if !j.save(*j.pending) {
			return false
		}
		j.pending = nil
	}
	return true
}

// recover tries to end a spell of failure by recording its gap.
func (j *Journal) recover() bool {
	if !j.health.due(j.cfg.Now()) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	gap := j.health.gapUntil(j.cfg.Now())
	if err := j.cfg.Store.SaveGap(ctx, gap); err != nil {
		j.failed(err)
		return false
	}
	j.health.recover()
	j.cfg.Logger.Info("the store can be written again", "away", gap.Until.Sub(gap.From), "flows_lost", gap.Flows)
	return true
}

// drain is the last flush: it tries even a store that just failed.
func (j *Journal) drain() {
	j.health.retryNow()
	j.flush()
	n := j.queue.len() + len(j.inbox.unsaved())
	if j.pending != nil {
		n += len(j.pending.Flows)
	}
	if n > 0 {
		j.cfg.Logger.Error("Exeat stops with events that could not be stored", "events", n)
	}
}

// progress hands over the counts of the flows that are open.
func (j *Journal) progress() {
	live := j.live.Load()
	if live == nil || j.health.degraded() {
		return
	}
	flows := (*live)()
	for i := range flows {
		flows[i].Place = j.cfg.Places.Place(flows[i].IP)
	}
	for len(flows) > 0 {
		n := min(len(flows), maxBatch)
		if !j.save(Batch{Flows: flows[:n]}) {
			return
		}
		flows = flows[n:]
	}
}

// write walks one batch and reports whether the store is fit for more.
func (j *Journal) write(flows []flow.Flow) bool {
	for i := range flows {
		flows[i].Place = j.cfg.Places.Place(flows[i].IP)
	}
	j.inbox.locate(flows)
	b := Batch{Flows: flows, Entries: j.learn(flows), Alerts: j.inbox.takeDirty()}
	if len(b.Flows)+len(b.Alerts) == 0 {
		return true
	}
	if !j.save(b) {
		// Kept as it is: the flows in it have been learnt from already.
		j.pending = &b
		return false
	}
	return true
}

// learn feeds the flows to the baselines and returns the entries to keep, each
// once, as it is after the last of them.
func (j *Journal) learn(flows []flow.Flow) []baseline.Entry {
	latest := make(map[uuid.UUID]int)
	var entries []baseline.Entry
	for i := range flows {
		if flows[i].Verdict != flow.Allowed {
			continue
		}
		for _, e := range j.cfg.Learner.Observe(flows[i]) {
			if at, ok := latest[e.ID]; ok {
				entries[at] = e
				continue
			}
			latest[e.ID] = len(entries)
			entries = append(entries, e)
		}
	}
	return entries
}

// save writes b, tells whoever is looking, and keeps the health up to date. It reports whether the store
// is fit for more: a batch that it refused for its own sake is given up, and
// counted, rather than tried for ever.
func (j *Journal) save(b Batch) bool {
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	err := j.cfg.Store.SaveBatch(ctx, b)
	switch {
	case err == nil:
		j.counters.recorded.Add(int64(closed(b.Flows)))
		j.publish(b.Flows)
	case unavailable(err):
		j.failed(err)
		return false
	default:
		j.health.lose(int64(closed(b.Flows)))
		j.cfg.Logger.Error("a batch of flows could not be stored and is lost", "flows", closed(b.Flows), "err", err)
	}
	return true
}

func unavailable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

func (j *Journal) failed(err error) {
	if j.health.fail(j.cfg.Now(), err) {
		j.cfg.Logger.Error("the store can't be written: approved connections go on, unapproved ones are refused except in learn mode",
			"err", err)
	}
}

// shed gives up the oldest flows while the store is away and the queue is
// full, so that approved work goes on. They are counted.
func (j *Journal) shed() {
	if over := j.queue.len() - j.queue.limit + 1; over > 0 {
		over += j.queue.limit / 2
		j.health.lose(int64(closed(j.queue.take(over))))
	}
}

// publish tells whoever is looking.
func (j *Journal) publish(flows []flow.Flow) {
	if !j.hub.watched() {
		return
	}
	for i := range flows {
		f := flows[i]
		j.hub.Publish(Event{Flow: &f})
	}
}

func closed(flows []flow.Flow) int {
	n := 0
	for i := range flows {
		if !flows[i].Closed.IsZero() {
			n++
		}
	}
	return n
}
