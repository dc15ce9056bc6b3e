package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/record"
)

func TestCheckVersion(t *testing.T) {
	for have, ok := range map[string]bool{
		"3.51.3": true, "3.51.10": true, "3.52.0": true, "3.54.1": true, "4.0": true, "3.51.3.1": true,
		"3.51.2": false, "3.9.99": false, "3.51": false, "2.99.99": false, "": false, "x": false, "3.x.9": false, "-4.0.0": false,
	} {
		if err := checkVersion(have); ok != (err == nil) || (!ok && !errors.Is(err, ErrOldSQLite)) {
			t.Errorf("checkVersion(%q) = %v", have, err)
		}
	}
	if err := checkVersion(libraryVersion()); err != nil {
		t.Error(err)
	}
}

func TestClassify(t *testing.T) {
	for _, code := range []sqlite3.ErrNo{
		sqlite3.ErrFull, sqlite3.ErrReadonly, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrIoErr,
		sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrCantOpen,
	} {
		in := fmt.Errorf("writing: %w", sqlite3.Error{Code: code})
		err := classify(in)
		if !errors.Is(err, ErrUnavailable) || !errors.As(err, new(sqlite3.Error)) {
			t.Errorf("code %d is not ErrUnavailable: %v", code, err)
		}
		if again := classify(err); again.Error() != err.Error() {
			t.Errorf("code %d is classified twice: %v", code, again)
		}
	}
	for _, err := range []error{nil, errors.New("database is locked"), sqlite3.Error{Code: sqlite3.ErrConstraint}} {
		if errors.Is(classify(err), ErrUnavailable) {
			t.Errorf("%v is ErrUnavailable", err)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(1, 2000).UTC(), time.Date(2026, 11, 23, 1, 2, 3, 4000, time.UTC), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := fromMicros(micros(at)); !got.Equal(at) {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
	for at, want := range map[int64]int64{0: 0, 3_599_999_999: 0, 3_600_000_000: 1, -1: -1, -3_600_000_000: -1, -3_600_000_001: -2} {
		if got := hourOfMicros(at); got != want {
			t.Errorf("the hour of %d is %d, want %d", at, got, want)
		}
	}
}

// TestPrune deletes by steps what is older than Retain, and nothing else.
func TestPrune(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cfg := Config{Path: filepath.Join(t.TempDir(), "exeat.db"), Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	stored := fillOld(t, cfg, now)
	w := idleWriter(t, cfg)
	pruneAll(t, w)
	if n := countRows(t, w, "flows"); n != stored {
		t.Errorf("%d flows are left without Retain, want %d", n, stored)
	}
	w.cfg.Retain = 30 * 24 * time.Hour
	pruneAll(t, w)
	for table, want := range map[string]int{"flows": 2, "traffic_servers": 1, "traffic_destinations": 1, "destinations": 1, "totals": 1, "sessions": 1} {
		if n := countRows(t, w, table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if next := w.maintain(); next != maintainEvery {
		t.Errorf("with nothing to do the next round is in %v", next)
	}
}

// TestPruneDestinations deletes by steps the destinations that were not used
// for long, with their traffic, and then has room for others again.
func TestPruneDestinations(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)
	d := openTest(t)
	server := uuid.New()
	visit := func(host string, age time.Duration, closed bool) flow.Flow {
		f := flow.Flow{ID: uuid.New(), ServerID: server, Host: host, Port: 443, Opened: now.Add(-age), Verdict: flow.Refused}
		if closed {
			f.Closed = f.Opened
		}
		return f
	}
	old := minTraffic + time.Minute // within an hour whose roll-ups still stand
	flows := []flow.Flow{visit("recent.example", minTraffic-time.Minute, true), visit("open.example", 2*minTraffic, false)}
	for i := range pruneStep + 10 {
		flows = append(flows, visit(fmt.Sprintf("h%d.example", i), old, true))
	}
	if err := errors.Join(d.SaveBatch(t.Context(), record.Batch{Flows: flows}), d.Close()); err != nil {
		t.Fatal(err)
	}
	d.cfg.Retain, d.cfg.Now = 30*24*time.Hour, func() time.Time { return now }
	w := idleWriter(t, d.cfg)
	if n, err := w.tx.destinations(server); err != nil || n != int64(len(flows)) {
		t.Fatalf("there are %d destinations, want %d (%v)", n, len(flows), err)
	}
	if n, err := w.step(func(t *tx) (int64, error) { return pruneDestinations(t, micros(now)) }); n != 0 || err != nil {
		t.Errorf("%d destinations that flows refer to were deleted (%v)", n, err)
	}
	if _, err := w.tx.destination(place{server, "h0.example", 443}); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, w)
	for table, want := range map[string]int{"destinations": 2, "traffic_destinations": 1, "flows": 1, "totals": 1} {
		if n := countRows(t, w, table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if n, err := w.tx.destinations(server); err != nil || n != 2 {
		t.Errorf("%d destinations are counted, want 2 (%v)", n, err)
	}
	if len(w.tx.dests) != 0 {
		t.Error("the rows of deleted destinations are remembered")
	}
}

// fillOld stores flows of which all but two are old and closed, and two
// sessions, one of them expired.
func fillOld(t *testing.T, cfg Config, now time.Time) int {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := uuid.New()
	flows := make([]flow.Flow, 2*pruneStep+10)
	for i := range flows {
		flows[i] = flow.Flow{ID: uuid.New(), ServerID: server, Host: "a.example", Port: 443,
			Opened: now.Add(-100 * 24 * time.Hour), Closed: now, Verdict: flow.Allowed}
	}
	flows[0].Opened = now.Add(-time.Hour)
	flows[1].Closed = time.Time{}
	err = errors.Join(
		d.SaveBatch(t.Context(), record.Batch{Flows: flows}),
		d.PutSession(t.Context(), Session{ID: uuid.New(), Expires: now.Add(-time.Second)}),
		d.PutSession(t.Context(), Session{ID: uuid.New(), Hash: [32]byte{1}, Expires: now.Add(time.Second)}),
		d.Close())
	if err != nil {
		t.Fatal(err)
	}
	return len(flows)
}

func countRows(t *testing.T, w *writer, table string) (n int) {
	t.Helper()
	if err := w.tx.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// pruneAll takes steps until there is nothing left to do.
func pruneAll(t *testing.T, w *writer) {
	t.Helper()
	for range 100 {
		before := countRows(t, w, "flows")
		more, err := w.prune()
		if err != nil {
			t.Fatal(err)
		}
		if after := countRows(t, w, "flows"); before-after > pruneStep {
			t.Fatalf("one step deleted %d flows", before-after)
		}
		if !more {
			return
		}
	}
	t.Fatal("pruning has no end")
}

// idleWriter returns a writer on the database without its goroutine.
func idleWriter(t *testing.T, cfg Config) *writer {
	t.Helper()
	db := openWriter(cfg.Path, time.Second)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{cfg: cfg, db: db, tx: newTx(conn)}
	t.Cleanup(func() { _ = w.close() })
	return w
}

func openTest(t *testing.T) *DB {
	t.Helper()
	d, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "exeat.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func saveOne(d *DB) error {
	f := flow.Flow{ID: uuid.New(), ServerID: uuid.New(), Host: "a.example", Port: 443, Opened: time.Now(), Closed: time.Now()}
	return d.SaveBatch(context.Background(), record.Batch{Flows: []flow.Flow{f}})
}

// TestGivenUp: a write that waits is withdrawn with its context; one that has
// begun is finished, and its outcome told.
func TestGivenUp(t *testing.T) {
	d := openTest(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() {
		running <- d.write(ctx, func(t *tx) error {
			close(begun)
			<-goOn
			_, err := t.exec("UPDATE probe SET at = 1")
			return err
		})
	}()
	<-begun
	waits := make(chan error, 1)
	ran := false
	go func() {
		waits <- d.write(ctx, func(*tx) error { ran = true; return nil })
	}()
	for len(d.writer.queue) == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that waited: %v", err)
	}
	close(goOn)
	if err := <-running; err != nil {
		t.Errorf("the one that had begun: %v", err)
	}
	var at int64
	if err := d.readOne(t.Context(), "SELECT at FROM probe", nil, &at); err != nil || at != 1 {
		t.Errorf("what it wrote is %d (%v)", at, err)
	}
	if err := d.Health(t.Context()); err != nil { // behind both
		t.Fatal(err)
	}
	if ran {
		t.Error("the withdrawn write ran")
	}
}

// TestFull: SQLite may not grow the file any more, and then may again.
func TestFull(t *testing.T) {
	d := openTest(t)
	limit := func(pages int) {
		t.Helper()
		err := d.write(t.Context(), func(t *tx) error { return t.direct(fmt.Sprintf("PRAGMA max_page_count=%d", pages)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // SQLite takes it as "no more than now"
	stored, err := 0, error(nil)
	for ; stored < 10_000 && err == nil; stored++ {
		err = saveOne(d)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("after %d flows: %v", stored, err)
	}
	limit(1 << 30)
	if err := saveOne(d); err != nil {
		t.Errorf("after there is room again: %v", err)
	}
	p, err := d.Flows(t.Context(), FlowQuery{Limit: 1000})
	if err != nil || len(p.Items) != stored {
		t.Errorf("%d flows are there, want %d (%v)", len(p.Items), stored, err)
	}
}

// TestTruncateWAL: a reader that is slow keeps the WAL, and nobody waits for it;
// when it is gone, so is the WAL.
func TestTruncateWAL(t *testing.T) {
	d := openTest(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w := idleWriter(t, d.cfg) // nobody else writes
	readers := openReaders(d.cfg.Path, "ro", 1)
	defer func() { _ = readers.Close() }()
	write := func(at int) {
		t.Helper()
		if _, err := w.change("UPDATE probe SET at = ?", at); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	reader, err := readers.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var at int
	if err := reader.QueryRow("SELECT at FROM probe").Scan(&at); err != nil || at != 1 {
		t.Fatalf("the reader sees %d (%v)", at, err)
	}
	write(2)
	w.truncateWAL(0)
	if fileSize(d.cfg.Path+"-wal") == 0 {
		t.Error("the WAL was emptied under a reader")
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.truncateWAL(0)
	if size := fileSize(d.cfg.Path + "-wal"); size != 0 {
		t.Errorf("the WAL still has %d bytes", size)
	}
	write(3)
}

// TestUndoneDestination: the row number of a destination whose insert was
// undone, alone or with its whole transaction, is not used again.
func TestUndoneDestination(t *testing.T) {
	for name, cause := range map[string]error{"alone": errors.New("refused"), "with the transaction": sqlite3.Error{Code: sqlite3.ErrFull}} {
		t.Run(name, func(t *testing.T) {
			d := openTest(t)
			f := flow.Flow{ID: uuid.New(), ServerID: uuid.New(), Host: "a.example", Port: 443, Opened: time.Now(), Closed: time.Now()}
			err := d.write(t.Context(), func(t *tx) error {
				k := newTally(t)
				return errors.Join(saveFlow(t, k, versionOf(&f)), k.flush(), cause)
			})
			if err == nil {
				t.Fatal("the write was done")
			}
			if err := d.SaveBatch(t.Context(), record.Batch{Flows: []flow.Flow{f}}); err != nil {
				t.Fatal(err)
			}
			p, err := d.Destinations(t.Context(), DestinationQuery{Server: f.ServerID})
			if err != nil || len(p.Items) != 1 || p.Items[0].Flows != 1 {
				t.Errorf("the destinations are %+v (%v)", p.Items, err)
			}
		})
	}
}
