package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
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
	d, err := Open(t.Context(), cfg) // keeps all
	if err != nil {
		t.Fatal(err)
	}
	v := identity.Server{ID: uuid.New(), Name: "maps"}
	var flows []flow.Flow
	for i := range 2*pruneStep + 10 {
		f := flow.Flow{ID: uuid.New(), ServerID: v.ID, Host: "a.example", Port: 443, Opened: now.Add(-100 * 24 * time.Hour), Closed: now, Verdict: flow.Allowed}
		switch i {
		case 0:
			f.Opened = now.Add(-time.Hour) // recent
		case 1:
			f.Closed = time.Time{} // old, and still open
		}
		flows = append(flows, f)
	}
	err = errors.Join(
		d.SaveBatch(t.Context(), record.Batch{Flows: flows}),
		d.PutSession(t.Context(), Session{ID: uuid.New(), Expires: now.Add(-time.Second)}),
		d.PutSession(t.Context(), Session{ID: uuid.New(), Hash: [32]byte{1}, Expires: now.Add(time.Second)}),
		d.Close())
	if err != nil {
		t.Fatal(err)
	}

	db := openWriter(cfg.Path, time.Second)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{cfg: cfg, db: db, tx: &tx{conn: conn, stmts: map[string]*sql.Stmt{}}}
	defer func() { _ = w.close() }()
	count := func(table string) (n int) {
		t.Helper()
		if err := conn.QueryRowContext(context.Background(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	prune := func() {
		t.Helper()
		for range 100 {
			before := count("flows")
			more, err := w.prune()
			if err != nil {
				t.Fatal(err)
			}
			if after := count("flows"); before-after > pruneStep {
				t.Fatalf("one step deleted %d flows", before-after)
			}
			if !more {
				return
			}
		}
		t.Fatal("pruning has no end")
	}
	prune()
	if n := count("flows"); n != len(flows) {
		t.Errorf("%d flows are left without Retain, want %d", n, len(flows))
	}
	w.cfg.Retain = 30 * 24 * time.Hour
	prune()
	for table, want := range map[string]int{"flows": 2, "traffic_servers": 1, "traffic_destinations": 1, "destinations": 1, "totals": 1, "sessions": 1} {
		if n := count(table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if next := w.maintain(); next != maintainEvery {
		t.Errorf("with nothing to do the next round is in %v", next)
	}
}
