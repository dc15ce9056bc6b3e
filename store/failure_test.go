package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/store/storetest"
)

func someFlow() flow.Flow {
	return flow.Flow{ID: uuid.New(), ServerID: uuid.New(), Server: "maps", Host: "api.example.com", Port: 443,
		Opened: storetest.Now(), Closed: storetest.Now(), Verdict: flow.Allowed}
}

func saveFlow(d *store.DB) error {
	return d.SaveBatch(context.Background(), record.Batch{Flows: []flow.Flow{someFlow()}})
}

func flowCount(t *testing.T, d *store.DB) int {
	t.Helper()
	p, err := d.Flows(t.Context(), store.FlowQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(p.Items)
}

// TestLocked: another program holds the write lock for a while.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	d, err := store.Open(t.Context(), store.Config{Path: path, Logger: quiet(), Now: storetest.Now, BusyTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	other, err := raw(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	const n = 20
	errs := make(chan error, n)
	for range n {
		go func() { errs <- saveFlow(d) }()
	}
	for range n {
		if err := <-errs; !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "locked by another program") {
			t.Errorf("writing to a locked database: %v", err)
		}
	}
	if err := d.Health(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a locked database is healthy: %v", err)
	}
	if n := flowCount(t, d); n != 0 {
		t.Errorf("%d flows are there", n)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(saveFlow(d), d.Health(t.Context())); err != nil {
		t.Errorf("after the lock is gone: %v", err)
	}
	if n := flowCount(t, d); n != 1 {
		t.Errorf("%d flows are there, want 1", n)
	}
	if s := d.Stats(); s.Failed == 0 || s.Rows != 1 || s.Queue != 0 || s.Bytes == 0 {
		t.Errorf("the figures are %+v", s)
	}
}

// mount mounts a file system for the test, or skips it.
func mount(t *testing.T, options string, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("this system lets nobody mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

func remount(t *testing.T, options, dir string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,"+options, dir).CombinedOutput(); err != nil {
		t.Fatalf("remounting: %v: %s", err, out)
	}
}

// TestDiskFull fills a small disk, and then makes room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	mount(t, "size=2m", dir)
	d, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "exeat.db"), Logger: quiet(), Now: storetest.Now})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = d.Close()
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for err = saveFlow(d); err == nil; err = saveFlow(d) {
		stored++
	}
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk") {
		t.Errorf("writing to a full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := saveFlow(d); err != nil {
		t.Errorf("after there is room again: %v", err)
	}
	totals, err := d.Totals(t.Context())
	if err != nil || len(totals) != stored+1 {
		t.Errorf("%d flows are there, want %d (%v)", len(totals), stored+1, err)
	}
	closed = true
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	integrity(t, filepath.Join(dir, "exeat.db"))
}

// TestReadOnlyDisk: a data directory that can't be written is refused with a
// clear sentence, and can still be read while no daemon runs.
func TestReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, "size=8m", dir)
	path := filepath.Join(dir, "exeat.db")
	d := openAt(t, path)
	if err := saveFlow(d); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	remount(t, "ro", dir)
	_, err := store.Open(t.Context(), store.Config{Path: path, Logger: quiet()})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening on a read-only disk: %v", err)
	}
	r, err := store.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if n := flowCount(t, r); n != 1 {
		t.Errorf("%d flows are there, want 1", n)
	}
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	if _, err := store.OpenReadOnly(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what isn't there: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("opening for reading made a database")
	}
	d := openAt(t, path)
	if err := saveFlow(d); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"while a daemon runs", "after it stopped"} {
		r, err := store.OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		if n := flowCount(t, r); n != 1 {
			t.Errorf("%s: %d flows are there, want 1", state, n)
		}
		if err := errors.Join(saveFlow(r), r.Health(t.Context())); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: writing says %v", state, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); state == "while a daemon runs" && err != nil {
			t.Error(err)
		}
	}
}

func TestOneDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	d := openAt(t, path)
	_, err := store.Open(t.Context(), store.Config{Path: path, Logger: quiet()})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("a second daemon: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := saveFlow(d); !errors.Is(err, store.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	openAt(t, path)
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b#?%20 c")
	path := filepath.Join(dir, "exeat.db")
	d := openAt(t, path)
	if err := saveFlow(d); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		dir: 0o700 | fs.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, filepath.Join(dir, "exeat.lock"): 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
}

// TestRefused: files that are not ours to open, with both ways to open them.
func TestRefused(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  error
		says  string
	}{
		{"newer", func(t *testing.T, path string) {
			exec1(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		}, store.ErrNewerSchema, "made by a newer Exeat"},
		{"another program's", func(t *testing.T, path string) {
			exec1(t, path, "PRAGMA application_id = 7")
		}, store.ErrForeign, "not a database of Exeat"},
		{"not a database", func(t *testing.T, path string) {
			overwrite(t, path, 0, "this is a shopping list, not a database; milk, bread, ...")
		}, store.ErrDamaged, "move it aside"},
		{"damaged schema", func(t *testing.T, path string) {
			overwrite(t, path, 100, strings.Repeat("\xff", 3000))
		}, store.ErrDamaged, "move it aside"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "exeat.db")
			if err := openAt(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = store.Open(t.Context(), store.Config{Path: path, Logger: quiet()})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: %v", err)
			}
			_, err = store.OpenReadOnly(t.Context(), path)
			if !errors.Is(err, tt.want) {
				t.Errorf("OpenReadOnly: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Error("a refused file was changed")
			}
		})
	}
}

func TestOlderSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenReadOnly(t.Context(), path); !errors.Is(err, store.ErrOlderSchema) {
		t.Errorf("OpenReadOnly: %v", err)
	}
	openAt(t, path) // Open migrates it
}

func exec1(t *testing.T, path, query string) {
	t.Helper()
	db := raw(t, path)
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, at int64, data string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(data), at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestCloseFinishes: what was accepted before Close is stored.
func TestCloseFinishes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	d := openAt(t, path)
	const n = 100
	errs := make(chan error, n)
	for range n {
		go func() { errs <- saveFlow(d) }()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for range n {
		switch err := <-errs; {
		case err == nil:
			stored++
		case !errors.Is(err, store.ErrClosed):
			t.Error(err)
		}
	}
	if have := flowCount(t, openAt(t, path)); have != stored {
		t.Errorf("%d flows are there, and %d were acknowledged", have, stored)
	}
}

// TestReaderDoesNotBlock: a slow reader keeps nobody from writing.
func TestReaderDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exeat.db")
	d := openAt(t, path)
	if err := d.PutServer(t.Context(), identity.Server{ID: uuid.New(), Name: "maps"}, nil, identity.Change{}); err != nil {
		t.Fatal(err)
	}
	slow, err := raw(t, path).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Rollback() }()
	var n int
	if err := slow.QueryRow("SELECT count(*) FROM flows").Scan(&n); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := saveFlow(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := slow.QueryRow("SELECT count(*) FROM flows").Scan(&n); err != nil || n != 0 {
		t.Errorf("the reader sees %d flows of after it began (%v)", n, err)
	}
}
