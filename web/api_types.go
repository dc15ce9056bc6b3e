package web

import (
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// List is one page of a listing. Next is the cursor of the page after; empty
// on the last one.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// ServerJSON is a server under the keys that others build on.
type ServerJSON struct {
	Name     identity.Name     `json:"name"`
	Owner    string            `json:"owner"`
	Mode     identity.Mode     `json:"mode"`
	Status   identity.Status   `json:"status"`
	Coverage identity.Coverage `json:"coverage"`
	Package  string            `json:"package"`
	Version  string            `json:"version"`
	Command  []string          `json:"command"`
	// FirstSeen and LastSeen are of its flows; null when there is none.
	FirstSeen  *time.Time `json:"first_seen"`
	LastSeen   *time.Time `json:"last_seen"`
	Flows      int64      `json:"flows"`
	OpenAlerts int64      `json:"open_alerts"`
}

// ServerDetail is one server with what a listing leaves out.
type ServerDetail struct {
	ServerJSON
	ID         identity.ID      `json:"id"`
	Created    time.Time        `json:"created"`
	Launched   *time.Time       `json:"launched"`    // by exeat run, last; null: never
	LearnUntil *time.Time       `json:"learn_until"` // end of the learning window
	Listen     string           `json:"listen"`      // its own listener; empty: none
	Baseline   BaselineSummary  `json:"baseline"`
	Creds      []CredentialJSON `json:"credentials"`
}

// CredentialJSON is a credential without anything secret.
type CredentialJSON struct {
	ID      uuid.UUID  `json:"id"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"` // null: never
	Revoked *time.Time `json:"revoked"` // null: it wasn't
}

// NewServerRequest is the body of POST /api/v1/servers.
type NewServerRequest struct {
	Name    string   `json:"name"`
	Owner   string   `json:"owner,omitempty"`
	Mode    string   `json:"mode,omitempty"` // empty: learn
	Command []string `json:"command,omitempty"`
	Package string   `json:"package,omitempty"`
	Version string   `json:"version,omitempty"`
}

// EnrolRequest is the body of POST /api/v1/enrol, by which exeat run and exeat
// env get a server's credentials, making the server if there is none.
type EnrolRequest struct {
	NewServerRequest
	// PID is the process below which the server will run; 0: it isn't launched
	// by the caller. It counts on the Unix socket only.
	PID int `json:"pid,omitempty"`
	// Launch says that the caller launches the command (exeat run), rather than
	// only handing out variables (exeat env).
	Launch bool `json:"launch,omitempty"`
}

// Issued is a fresh credential: the answer of adding, enrolling and rotating.
// It is shown once; only its hash is kept.
type Issued struct {
	Name     identity.Name `json:"name"`
	Owner    string        `json:"owner"`
	ProxyURL string        `json:"proxy_url"`
	Token    string        `json:"token"`
	// Proxy is the proxy's address without credentials.
	Proxy   string        `json:"proxy"`
	Mode    identity.Mode `json:"mode"`
	ID      identity.ID   `json:"id"`
	Created bool          `json:"created"`
}

// ModeRequest is the body of POST /api/v1/servers/{ref}/mode.
type ModeRequest struct {
	Mode string `json:"mode"`
}

// RenameRequest is the body of POST /api/v1/servers/{ref}/rename.
type RenameRequest struct {
	Name string `json:"name"`
}

// RotateRequest is the body of POST /api/v1/servers/{ref}/rotate.
type RotateRequest struct {
	// Overlap is for how many seconds the old credentials go on working; at
	// most a week. Absent: an hour.
	Overlap *int64 `json:"overlap,omitempty"`
}

// Listener is the answer of POST /api/v1/servers/{ref}/listener.
type Listener struct {
	Listen   string `json:"listen"`
	ProxyURL string `json:"proxy_url"`
}

// BaselineSummary is a baseline in numbers.
type BaselineSummary struct {
	Server     identity.Name `json:"server"`
	Owner      string        `json:"owner"`
	Version    int64         `json:"version"`
	Approved   int           `json:"approved"`
	Candidates int           `json:"candidates"`
	Rejected   int           `json:"rejected"`
	// Overflow counts the destinations that found no place among the candidates.
	Overflow int64 `json:"overflow"`
}

// BaselineJSON is a baseline with its entries.
type BaselineJSON struct {
	BaselineSummary
	Items []EntryJSON `json:"items"`
	Next  string      `json:"next"`
}

// EntryJSON is a baseline entry under the keys that others build on.
type EntryJSON struct {
	Host      baseline.Pattern `json:"host"`
	Port      uint16           `json:"port"`
	State     baseline.State   `json:"state"`
	Phases    []flow.Phase     `json:"phases"`
	Networks  []PlaceJSON      `json:"networks"`
	UsualUp   int64            `json:"usual_up"`
	FirstSeen *time.Time       `json:"first_seen"`
	LastSeen  *time.Time       `json:"last_seen"`
	Flows     int64            `json:"flows"`
	DecidedBy string           `json:"decided_by"`
	DecidedAt *time.Time       `json:"decided_at"`
	Note      string           `json:"note"`
	Grades    []flow.Grade     `json:"grades"`
}

// PlaceJSON is where an address lies.
type PlaceJSON struct {
	ASN     uint32 `json:"asn"`
	Org     string `json:"as_org"`
	Country string `json:"country"`
}

// DecideRequest is the body of approving and rejecting.
type DecideRequest struct {
	// Targets are "host", "host:port" or "*.host:port"; without a port, 443.
	Targets []string `json:"targets"`
	// Grades are accepted beside verified; see the flow's grade.
	Grades []flow.Grade `json:"grades,omitempty"`
	Note   string       `json:"note,omitempty"`
}

// DestinationJSON is the running total of one server's flows to one place.
type DestinationJSON struct {
	Server    identity.Name `json:"server"`
	Host      string        `json:"host"`
	Port      uint16        `json:"port"`
	ASN       uint32        `json:"asn"`
	Org       string        `json:"as_org"`
	Country   string        `json:"country"`
	Grade     flow.Grade    `json:"grade"`
	Flows     int64         `json:"flows"`
	Refused   int64         `json:"refused"`
	BytesUp   int64         `json:"bytes_up"`
	BytesDown int64         `json:"bytes_down"`
	FirstSeen *time.Time    `json:"first_seen"`
	LastSeen  *time.Time    `json:"last_seen"`
	Days      []BucketJSON  `json:"days"`
}

// BucketJSON is the traffic of one span of time that starts at At.
type BucketJSON struct {
	At        time.Time `json:"at"`
	Flows     int64     `json:"flows"`
	Refused   int64     `json:"refused"`
	BytesUp   int64     `json:"bytes_up"`
	BytesDown int64     `json:"bytes_down"`
}

// StatusJSON is the answer of /api/v1/status.
type StatusJSON struct {
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	ProxyURL string            `json:"proxy_url"`
	WebURL   string            `json:"web_url"`
	Listen   map[string]string `json:"listen"`
	Servers  int               `json:"servers"`
	Alerts   map[string]int64  `json:"alerts"` // by status
	Record   RecordJSON        `json:"record"`
	Gaps     []GapJSON         `json:"gaps"` // of the last 30 days
	Geo      GeoJSON           `json:"geo"`
	Counters map[string]int64  `json:"counters"`
}

// RecordJSON says how the record is doing.
type RecordJSON struct {
	Degraded      bool       `json:"degraded"`
	Since         *time.Time `json:"since"`
	Cause         string     `json:"cause"`
	Lost          int64      `json:"lost"`
	Queue         int        `json:"queue"`
	QueueCap      int        `json:"queue_cap"`
	Recorded      int64      `json:"recorded"`
	Waits         int64      `json:"waits"`
	Overloaded    int64      `json:"overloaded"`
	UnsavedAlerts int        `json:"unsaved_alerts"`
}

// GapJSON is a span of time in which flows could not be recorded.
type GapJSON struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Flows int64     `json:"flows"`
	Cause string    `json:"cause"`
}

// GeoJSON says which geographic data is in use.
type GeoJSON struct {
	Source      string     `json:"source"`
	Date        *time.Time `json:"date"`
	Attribution string     `json:"attribution"`
	// AttributionURL is where the attribution has to lead; may be empty.
	AttributionURL string `json:"attribution_url"`
}

// TokenRequest is the body of POST /api/v1/tokens.
type TokenRequest struct {
	Label string `json:"label"`
	// Days is for how long it is good: 1 to 3650; 0 means 90.
	Days int `json:"days,omitempty"`
}

// TokenJSON is an API token. Token itself is there once, when it was made.
type TokenJSON struct {
	ID      uuid.UUID `json:"id"`
	Label   string    `json:"label"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Seen    time.Time `json:"seen"`
	Token   string    `json:"token,omitempty"`
}

// SignInLink is the answer of POST /api/v1/signin-links.
type SignInLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// stamp returns t in UTC for JSON, nil for the zero time.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

// NewServerJSON returns s with its totals under the stable keys.
func NewServerJSON(s identity.Server, t store.Totals) ServerJSON {
	return ServerJSON{
		Name: s.Name, Owner: s.Owner, Mode: s.Mode, Status: s.Status, Coverage: s.Coverage(t.Flows),
		Package: s.Package, Version: s.Version, Command: orEmpty(s.Command),
		FirstSeen: stamp(t.FirstSeen), LastSeen: stamp(t.LastSeen), Flows: t.Flows, OpenAlerts: t.OpenAlerts,
	}
}

func credentialJSON(c identity.Credential) CredentialJSON {
	return CredentialJSON{ID: c.ID, Created: c.Created.UTC(), Expires: stamp(c.Expires), Revoked: stamp(c.Revoked)}
}

func placeJSON(p flow.Place) PlaceJSON { return PlaceJSON{ASN: p.ASN, Org: p.Org, Country: p.Country} }

// NewEntryJSON returns e under the stable keys.
func NewEntryJSON(e baseline.Entry) EntryJSON {
	return EntryJSON{
		Host: e.Host, Port: e.Port, State: e.State, Phases: orEmpty(e.Phases),
		Networks: mapped(e.Networks, placeJSON), UsualUp: e.UsualUp,
		FirstSeen: stamp(e.FirstSeen), LastSeen: stamp(e.LastSeen), Flows: e.Flows,
		DecidedBy: e.DecidedBy, DecidedAt: stamp(e.DecidedAt), Note: e.Note, Grades: orEmpty(e.Grades),
	}
}

// NewDestinationJSON returns d under the stable keys.
func NewDestinationJSON(d store.Destination) DestinationJSON {
	return DestinationJSON{
		Server: d.Server, Host: d.Host, Port: d.Port, ASN: d.Place.ASN, Org: d.Place.Org,
		Country: d.Place.Country, Grade: d.Grade, Flows: d.Flows, Refused: d.Refused,
		BytesUp: d.BytesUp, BytesDown: d.BytesDown, FirstSeen: stamp(d.FirstSeen), LastSeen: stamp(d.LastSeen),
		Days: mapped(d.Days, bucketJSON),
	}
}

func bucketJSON(b store.Bucket) BucketJSON {
	return BucketJSON{At: b.At.UTC(), Flows: b.Flows, Refused: b.Refused, BytesUp: b.BytesUp, BytesDown: b.BytesDown}
}

func recordJSON(s record.Status) RecordJSON {
	return RecordJSON{
		Degraded: s.Degraded, Since: stamp(s.Since), Cause: s.Cause, Lost: s.Lost,
		Queue: s.Queue, QueueCap: s.QueueCap, Recorded: s.Recorded, Waits: s.Waits,
		Overloaded: s.Overloaded, UnsavedAlerts: s.UnsavedAlerts,
	}
}

func gapJSON(g record.Gap) GapJSON {
	return GapJSON{From: g.From.UTC(), Until: g.Until.UTC(), Flows: g.Flows, Cause: g.Cause}
}

func tokenJSON(s store.Session) TokenJSON {
	return TokenJSON{ID: s.ID, Label: s.Label, Created: s.Created.UTC(), Expires: s.Expires.UTC(), Seen: s.Seen.UTC()}
}
