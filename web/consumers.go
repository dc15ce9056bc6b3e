package web

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// Servers holds the identities. It is implemented by identity.Registry.
type Servers interface {
	// Servers returns all servers, revoked ones included, by name and owner.
	Servers() []identity.Server
	// Find returns the server that ref names: "name" or
	// "owner/name".
	Find(ref string) (identity.Server, error)
	Server(id identity.ID) (identity.Server, bool)
	Credentials(id identity.ID) []identity.Credential
	Add(ctx context.Context, n identity.NewServer, actor string) (identity.Server, string, error)
	Enrol(ctx context.Context, n identity.NewServer, actor string) (s identity.Server, token string, created bool, err error)
	Launched(ctx context.Context, id identity.ID, l identity.Launch, actor string) error
	SetMode(ctx context.Context, id identity.ID, m identity.Mode, actor string) error
	Rename(ctx context.Context, id identity.ID, name identity.Name, actor string) error
	Rotate(ctx context.Context, id identity.ID, overlap time.Duration, actor string) (string, error)
	Revoke(ctx context.Context, id identity.ID, actor string) error
	RevokeCredential(ctx context.Context, cred uuid.UUID, actor string) error
	Remove(ctx context.Context, id identity.ID, actor string) error
}

// Baselines holds what servers may do. It is implemented by baseline.Book.
type Baselines interface {
	Entries(id identity.ID) []baseline.Entry
	Version(id identity.ID) int64
	// Overflow counts the destinations that found no place among the candidates.
	Overflow(id identity.ID) int64
	Approve(ctx context.Context, s identity.Server, t []baseline.Target, d baseline.Decision, actor string) ([]baseline.Entry, error)
	Reject(ctx context.Context, s identity.Server, t []baseline.Target, d baseline.Decision, actor string) ([]baseline.Entry, error)
}

// Store reads what happened. It is implemented by store.DB.
type Store interface {
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
}

// Sessions keeps who is signed in. It is implemented by store.DB.
type Sessions interface {
	PutSession(ctx context.Context, s store.Session) error
	SessionByHash(ctx context.Context, hash [32]byte) (store.Session, error)
	Sessions(ctx context.Context, kind store.SessionKind) ([]store.Session, error)
	TouchSession(ctx context.Context, id uuid.UUID, at time.Time) error
	DeleteSession(ctx context.Context, id uuid.UUID) error
}

// Journal changes alerts and says how the record is doing. It is implemented
// by record.Journal.
type Journal interface {
	SetAlertStatus(ctx context.Context, id uuid.UUID, status detect.Status, by string) (detect.Alert, error)
	Status() record.Status
}

// Events tells what happens as it happens. It is implemented by record.Hub.
type Events interface {
	// Publish is told of the changes to servers and baselines that are made here.
	Publish(e record.Event)
	Subscribe(buffer int) (<-chan record.Event, func())
}

// Listeners opens loopback listeners that need no credentials, one a server.
type Listeners interface {
	// Open returns the address of the server's listener, which it opens if
	// there is none yet.
	Open(ctx context.Context, id identity.ID) (addr string, err error)
}

// Classifier names the class of a risky host, or "". It is implemented by
// detect.Risky.
type Classifier interface {
	Class(host string) string
}
