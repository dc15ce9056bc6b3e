package store

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/record"
)

func TestSmoke(t *testing.T) {
	d, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x", "exeat.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f := flow.Flow{ID: uuid.New(), ServerID: uuid.New(), Host: "a.example.com", Port: 443, Opened: time.Now(), Verdict: flow.Allowed}
	for range 2 {
		if err := d.SaveBatch(context.Background(), record.Batch{Flows: []flow.Flow{f}}); err != nil {
			t.Fatal(err)
		}
		f.Closed = time.Now()
	}
	for _, q := range []FlowQuery{{}, {Host: "*.example.com"}, {Server: f.ServerID}, {IDs: []uuid.UUID{f.ID}}, {Verdict: flow.Allowed}} {
		p, err := d.Flows(t.Context(), q)
		if err != nil || len(p.Items) != 1 {
			t.Fatal(p, err)
		}
	}
	ds, err := d.Destinations(t.Context(), DestinationQuery{Server: f.ServerID})
	t.Log(ds, err)
	tot, err := d.Totals(t.Context())
	t.Log(tot, err)
	tr, err := d.Traffic(t.Context(), time.Now().Add(-time.Hour), time.Now(), time.Hour)
	t.Log(tr, err, d.Health(t.Context()), d.Stats())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
