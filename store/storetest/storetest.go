// Package storetest is the conformance suite of the store: what every
// implementation promises to those who write flows, keep identities and
// baselines, and read all of it. SQLite runs it; another database will have to
// pass the same.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// Store is everything that a store does for the other rooms.
type Store interface {
	identity.Store
	baseline.Store
	record.Store
	Flows(ctx context.Context, q store.FlowQuery) (store.Page[flow.Flow], error)
	Flow(ctx context.Context, id uuid.UUID) (flow.Flow, error)
	Destinations(ctx context.Context, q store.DestinationQuery) (store.Page[store.Destination], error)
	Traffic(ctx context.Context, since, until time.Time, step time.Duration) (map[identity.ID][]store.Bucket, error)
	Totals(ctx context.Context) (map[identity.ID]store.Totals, error)
	Alerts(ctx context.Context, q store.AlertQuery) (store.Page[detect.Alert], error)
	Alert(ctx context.Context, id uuid.UUID) (detect.Alert, error)
	AlertCounts(ctx context.Context) (map[detect.Status]int64, error)
	Audit(ctx context.Context, q store.AuditQuery) (store.Page[identity.Change], error)
	Gaps(ctx context.Context, since time.Time) ([]record.Gap, error)
	PutSession(ctx context.Context, s store.Session) error
	SessionByHash(ctx context.Context, hash [32]byte) (store.Session, error)
	Sessions(ctx context.Context, kind store.SessionKind) ([]store.Session, error)
	TouchSession(ctx context.Context, id uuid.UUID, at time.Time) error
	DeleteSession(ctx context.Context, id uuid.UUID) error
	Health(ctx context.Context) error
}

// Now is what the clock of a store under test must show. It is a fixed moment.
func Now() time.Time { return time.Date(2026, 11, 23, 15, 30, 0, 0, time.UTC) }

// Run runs the suite. open returns a new, empty store whose clock is Now and
// which is closed when its test ends.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	tests := []struct {
		name string
		test func(t *testing.T, s Store)
	}{
		{"identities", identities},
		{"names are unique to an owner", uniqueNames},
		{"expired credentials", expiredCredentials},
		{"removing a server", removing},
		{"decisions", decisions},
		{"learning never decides", learningNeverDecides},
		{"late statistics", lateStatistics},
		{"learning about a removed server", learningRemoved},
		{"flows round trip", flowsRoundTrip},
		{"flows filtered", flowsFiltered},
		{"flows paged", flowsPaged},
		{"flows hostile", flowsHostile},
		{"versions of a batch", versionsOfABatch},
		{"closed flows stay closed", closedStays},
		{"one bad write fails alone", failsAlone},
		{"totals count once", totalsOnce},
		{"totals in any order", totalsAnyOrder},
		{"lost flows", lostFlows},
		{"destinations", destinations},
		{"destinations paged", destinationsPaged},
		{"very many destinations", destinationsBounded},
		{"traffic", traffic},
		{"alerts", alerts},
		{"alert severity", alertSeverity},
		{"alerts paged", alertsPaged},
		{"alert status", alertStatus},
		{"alert status brings all up to date", alertStatusUpdates},
		{"resolved alerts stay as they are", resolvedStays},
		{"audit paged", auditPaged},
		{"gaps", gaps},
		{"sessions", sessions},
		{"bad cursors", badCursors},
		{"health", health},
		{"cancelled", cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}
