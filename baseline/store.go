package baseline

import (
	"context"

	"github.com/exeat/exeat/identity"
)

// Store keeps baselines. An implementation returns only after what it was
// given is durable.
type Store interface {
	// Baselines returns every entry of every server, and each server's version.
	Baselines(ctx context.Context) ([]Entry, map[identity.ID]int64, error)
	// Decide inserts or replaces entries of one server with their decisions,
	// sets the baseline's version and writes the audit record, all in one
	// transaction.
	Decide(ctx context.Context, server identity.ID, version int64, entries []Entry, c identity.Change) error
}
