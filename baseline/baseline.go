// Package baseline has what each server may do: its entries (host pattern,
// port, grades, networks), each a candidate, approved or rejected, with who
// decided and when; the transitions between those states; and Book, the one
// live copy that every decision reads.
//
// Learned is not trusted. Traffic only ever makes candidates; only a person
// approves. Nothing here approves by time, by count, or because a learning
// window ended.
package baseline

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// State is what was decided about an entry.
type State string

// The states of an entry. The empty state means that there is no entry.
const (
	None      State = ""
	Candidate State = "candidate"
	Approved  State = "approved"
	Rejected  State = "rejected"
)

// Pattern is what hosts an entry covers: one canonical host or address, or
// "*.x", which covers every sub-domain of x and not x itself. Make one with
// ParsePattern.
type Pattern string

// Errors of ParsePattern and of the transitions.
var (
	// ErrSharedHosting: the wildcard would cover names of strangers, being at
	// or above a suffix of the Public Suffix List.
	ErrSharedHosting = errors.New("the wildcard would cover other people's hosts: its base is a public or shared-hosting suffix")
	ErrBadPattern    = errors.New("a pattern is a host, an IP address, or '*.' and a host")
	ErrNoEntry       = errors.New("no such entry in the baseline")
)

// Entry is one line of a server's baseline.
type Entry struct {
	ID     uuid.UUID
	Server identity.ID
	Host   Pattern
	Port   uint16
	State  State
	// Grades lists the attribution grades that were seen (candidate) or that
	// are accepted (approved), best first. An approved entry always accepts
	// verified.
	Grades []flow.Grade
	// Phases are the phases in which it was seen, sorted.
	Phases []flow.Phase
	// Networks are the networks that its addresses were announced by, sorted
	// by ASN.
	Networks []flow.Place
	// UsualUp is the usual count of bytes up per flow, an exponentially
	// weighted mean; 0 before the first flow closed.
	UsualUp   int64
	FirstSeen time.Time // zero when approved without ever having been seen
	LastSeen  time.Time
	Flows     int64
	DecidedBy string // empty for a candidate
	DecidedAt time.Time
	Note      string
}

// Match is what the baseline says of one destination. The zero Match says
// nothing: the destination was never seen.
type Match struct {
	State State
	// Grades are the grades an approved entry accepts.
	Grades GradeSet
}

// GradeSet is a set of grades. The zero value is empty.
type GradeSet uint16
