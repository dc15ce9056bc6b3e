// Package record is the asynchronous walk of a flow: one hand-over, then place
// (geo), keep (store), learn (baseline), detect, keep the alert, notify, and
// tell the dashboard.
//
// Nothing is dropped in silence: the queue is bounded, and a full queue slows
// new connections down and then refuses them. Only while the store can't be
// written at all do flows go unrecorded, so that approved work goes on; they
// are counted, and the gap is recorded when the store is back.
package record

import (
	"context"
	"errors"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
)

// Batch is what is written in one transaction.
type Batch struct {
	// Flows are inserted or replaced by ID, in order: a flow comes once when
	// it opens, at most once a second while its counts move, and once when it
	// ends. A flow that has Closed set is counted into the running totals,
	// exactly once.
	Flows []flow.Flow
	// Entries are candidates to insert, and statistics of entries to update.
	// Neither state nor decision of an existing entry is ever changed by a
	// Batch, nor the grades of one that was decided.
	Entries []baseline.Entry
	// Alerts are counts and evidence of existing alerts to update. Neither
	// status nor first occurrence is changed by a Batch.
	Alerts []detect.Alert
}

// Gap is a span of time in which flows could not be recorded.
type Gap struct {
	From, Until time.Time
	Flows       int64  // flows that ended unrecorded
	Cause       string // the store's error, for people
}

// Store keeps what happened. Its methods return once what they were given is
// durable.
type Store interface {
	SaveBatch(ctx context.Context, b Batch) error
	// InsertAlert stores a new alert.
	InsertAlert(ctx context.Context, a detect.Alert) error
	// SetAlertStatus changes an alert's status, with its audit record, and
	// brings its counts and evidence up to date in the same transaction. It
	// returns ErrNoAlert for an alert that was resolved already.
	SetAlertStatus(ctx context.Context, a detect.Alert, by string, at time.Time) error
	// UnresolvedAlerts returns the alerts that are open or acknowledged.
	UnresolvedAlerts(ctx context.Context) ([]detect.Alert, error)
	// MarkLost ends every flow that is still open with flow.EndLost and counts
	// it into the totals. It is called once at start.
	MarkLost(ctx context.Context, at time.Time) (int64, error)
	SaveGap(ctx context.Context, g Gap) error
}

// ErrUnavailable is wrapped by a Store's error when nothing can be written for
// now: the disk is full, read-only or locked, the database is away. Any other
// error concerns only what was written.
var ErrUnavailable = errors.New("the store can't be written")

// ErrOverloaded is returned by Journal.Admit when no room came free in time.
var ErrOverloaded = errors.New("flows are coming in faster than they can be stored")

// ErrNoAlert is returned for an alert that doesn't exist or was resolved
// already.
var ErrNoAlert = errors.New("no such open alert")
