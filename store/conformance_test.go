package store_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/store/storetest"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openAt opens a store on the fixed clock of storetest and closes it when the
// test ends.
func openAt(t *testing.T, path string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), store.Config{Path: path, Logger: quiet(), Now: storetest.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store {
		return openAt(t, filepath.Join(t.TempDir(), "exeat.db"))
	})
}
