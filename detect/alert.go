// Package detect turns what was seen into alerts that a person can act on. An
// alert is one cause, not one event: it is keyed by server, kind and family of
// destination, and counts what else happened for the same cause.
//
// Each rule is a pure function in a file of its own; time comes in as an
// argument. A rule's alert carries what was seen, what was expected, why that
// matters and what to do next, in plain sentences.
package detect

import (
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Kind names a rule. The values are stable: people filter and route by them.
type Kind string

// The kinds that this version raises.
const (
	NewDestination   Kind = "new_destination"
	RiskyDestination Kind = "risky_destination"
	SNIMismatch      Kind = "sni_mismatch"
	NoSNI            Kind = "no_sni"
	NotTLS           Kind = "not_tls"
	HiddenName       Kind = "hidden_name"
	IPLiteral        Kind = "ip_literal"
	PrivateAddress   Kind = "private_address"
	MetadataAccess   Kind = "metadata_access"
	SelfAccess       Kind = "self_access"
	AuthFailures     Kind = "auth_failures"
)

// Severity orders alerts by how soon a person should look.
type Severity string

// The severities, least first.
const (
	Info     Severity = "info"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Status is where an alert is in its life.
type Status string

// The states of an alert. Acknowledged means that somebody has seen it; it goes on
// counting. Resolved ends it; the same cause then makes a new alert.
const (
	Open         Status = "open"
	Acknowledged Status = "acknowledged"
	Resolved     Status = "resolved"
)

// Key is the identity of a cause. Two events with the same Key are one alert
// as long as it isn't resolved.
type Key struct {
	Server identity.ID
	Kind   Kind
	// Family is the registrable domain of the destination (the public-suffix
	// list's private section counts as suffixes: a.workers.dev is a family of
	// its own), the address for an IP literal, or, for auth_failures, the
	// client's address.
	Family string
}

// Alert is one cause with its evidence. It is a value.
type Alert struct {
	ID       uuid.UUID
	Kind     Kind
	Severity Severity
	ServerID identity.ID
	Server   identity.Name
	Owner    string
	Family   string
	Host     string // the host of the latest event
	Port     uint16
	First    time.Time
	Last     time.Time
	Count    int64
	Status   Status
	// Evidence is what the texts are written from, beside the fields above. It
	// must be kept with the alert, or the texts lose it at the next event.
	Evidence Evidence
	// Title is one line. Explanation is paragraphs, separated by an empty line:
	// what was seen, what was expected and since when, why it matters, what it
	// can't tell. Next is what to do: a sentence on one line and the command,
	// indented by two spaces, on the next. All three are plain text of printable
	// characters; they are written from the other fields by New, Merge and Located.
	Title       string
	Explanation string
	Next        string
	// Place is where the latest connected address lies; zero before any was.
	Place flow.Place
	// Flows are the latest flows of this cause, newest first, at most 20.
	Flows []uuid.UUID
	// Verdict is what happened to the latest of them.
	Verdict flow.Verdict
}

// Evidence is what was known of the latest event of an alert. The zero value
// knows nothing.
type Evidence struct {
	Mode   identity.Mode // the server's mode when it was decided
	Method flow.Method
	Phase  flow.Phase
	Tool   string     // of the tool call it happened in; hostile, at most 128 bytes
	SNI    string     // the name in the TLS hello; hostile, at most 255 bytes
	IP     netip.Addr // the address dialled; invalid before any was
	Risk   string     // class of a risky destination
	Known  Known      // what was usual by then
}

// Known is what was usual for a server when an event happened.
type Known struct {
	Approved int       // approved entries in its baseline
	Since    time.Time // since when the server is known; zero: unknown
}

// Key returns the alert's key.
func (a *Alert) Key() Key { return Key{Server: a.ServerID, Kind: a.Kind, Family: a.Family} }
