// Package store keeps everything that must outlive the process in one SQLite
// database: servers, credentials, baselines, flows, running totals, alerts,
// the audit trail, sessions.
//
// There is one writer: every write goes to one goroutine that puts what is
// waiting into one transaction and returns to its callers after the commit is
// on disk (WAL with synchronous=FULL). Readers have connections of their own
// and never wait for it. SQLite before 3.51.3 can lose commits in WAL mode
// (the WAL-reset race), so Open refuses to run on it.
//
// Each consumer declares the interface that it needs (identity.Store,
// baseline.Store, record.Store, and the reading side in web); DB implements
// them all.
package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// FlowQuery selects flows, newest first. Zero fields don't restrict.
type FlowQuery struct {
	Server  identity.ID
	Host    string // exact canonical host, "*.x" for the sub-domains of x, or OtherHosts
	Port    uint16
	Verdict flow.Verdict
	Grade   flow.Grade
	Reason  flow.Reason
	Since   time.Time // opened at or after
	Until   time.Time // opened before
	Open    bool      // only flows that are still open
	IDs     []uuid.UUID
	Limit   int    // at most 1000; 0 means 100
	Cursor  string // Page.Next of the page before; empty: from the newest
}

// Page is one page of a listing.
type Page[T any] struct {
	Items []T
	// Next is the cursor of the page after; empty on the last one.
	Next string
}

// DestinationQuery selects destinations, the latest used first. Zero fields
// don't restrict.
type DestinationQuery struct {
	Server identity.ID
	Host   string // exact canonical host, "*.x" for the sub-domains of x, or OtherHosts
	Limit  int    // at most 1000; 0 means 100
	Cursor string
}

// Destination is the running total of one server's flows to one place, or, if
// Host is OtherHosts and Port 0, to all places beyond MaxDestinations.
type Destination struct {
	ServerID  identity.ID
	Server    identity.Name
	Host      string
	Port      uint16
	Place     flow.Place // of the latest connected address
	Grade     flow.Grade // of the latest flow that came far enough to have one
	Flows     int64      // all flows, refused ones included
	Refused   int64
	BytesUp   int64
	BytesDown int64
	FirstSeen time.Time
	LastSeen  time.Time
	// Days has the traffic of the last 14 days, oldest first, for a small
	// picture; its last bucket is today (UTC).
	Days []Bucket
}

// Bucket is the traffic of one span of time.
type Bucket struct {
	At        time.Time // its start
	Flows     int64
	Refused   int64
	BytesUp   int64
	BytesDown int64
}

// Totals sums up a server.
type Totals struct {
	FirstSeen, LastSeen time.Time // of its flows; zero when there is none
	Flows, Refused      int64
	BytesUp, BytesDown  int64
	Destinations        int64 // as many as are listed
	OpenAlerts          int64 // alerts with status open
}

// AlertQuery selects alerts, latest event first. Zero fields don't restrict.
type AlertQuery struct {
	Server identity.ID
	Status detect.Status
	Kind   detect.Kind
	Since  time.Time // last event at or after
	Limit  int
	Cursor string
}

// AuditQuery selects audit records, newest first. Zero fields don't restrict.
type AuditQuery struct {
	Server identity.ID
	Since  time.Time
	Limit  int
	Cursor string
}

// Session is a signed-in browser or an API token. Only the hash of its secret
// is kept.
type Session struct {
	ID      uuid.UUID
	Hash    [32]byte
	Kind    SessionKind
	Label   string // for people: a browser's short name, a token's name
	Created time.Time
	Expires time.Time
	Seen    time.Time // last use, to the minute
}

// SessionKind tells browsers from API tokens.
type SessionKind string

// The kinds of session.
const (
	SessionBrowser SessionKind = "browser"
	SessionToken   SessionKind = "token"
)
