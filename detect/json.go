package detect

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// wire is an Alert under the JSON keys that others build on. Every key is
// always there, so that a reader never has to guess between absent and empty.
type wire struct {
	ID          uuid.UUID     `json:"id"`
	Kind        Kind          `json:"kind"`
	Severity    Severity      `json:"severity"`
	ServerID    identity.ID   `json:"server_id"`
	Server      identity.Name `json:"server"`
	Owner       string        `json:"owner"`
	Family      string        `json:"family"`
	Host        string        `json:"host"`
	Port        uint16        `json:"port"`
	First       time.Time     `json:"first"`
	Last        time.Time     `json:"last"`
	Count       int64         `json:"count"`
	Status      Status        `json:"status"`
	Verdict     flow.Verdict  `json:"verdict"`
	ASN         uint32        `json:"asn"`
	Org         string        `json:"as_org"`
	Country     string        `json:"country"`
	Title       string        `json:"title"`
	Explanation string        `json:"explanation"`
	Next        string        `json:"next"`
	Flows       []uuid.UUID   `json:"flows"`
	Evidence    Evidence      `json:"evidence"`
}

// MarshalJSON writes a with the stable keys, times in UTC.
func (a Alert) MarshalJSON() ([]byte, error) {
	w := wire{
		ID: a.ID, Kind: a.Kind, Severity: a.Severity,
		ServerID: a.ServerID, Server: a.Server, Owner: a.Owner,
		Family: a.Family, Host: a.Host, Port: a.Port,
		First: a.First.UTC(), Last: a.Last.UTC(), Count: a.Count,
		Status: a.Status, Verdict: a.Verdict,
		ASN: a.Place.ASN, Org: a.Place.Org, Country: a.Place.Country,
		Title: a.Title, Explanation: a.Explanation, Next: a.Next,
		Flows: a.Flows, Evidence: a.Evidence,
	}
	if w.Flows == nil {
		w.Flows = []uuid.UUID{}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (a *Alert) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*a = Alert{
		ID: w.ID, Kind: w.Kind, Severity: w.Severity,
		ServerID: w.ServerID, Server: w.Server, Owner: w.Owner,
		Family: w.Family, Host: w.Host, Port: w.Port,
		First: w.First, Last: w.Last, Count: w.Count,
		Status: w.Status, Verdict: w.Verdict,
		Place: flow.Place{ASN: w.ASN, Org: w.Org, Country: w.Country},
		Title: w.Title, Explanation: w.Explanation, Next: w.Next,
		Flows: w.Flows, Evidence: w.Evidence,
	}
	return nil
}

// wireEvidence is Evidence under its JSON keys.
type wireEvidence struct {
	Mode     identity.Mode `json:"mode"`
	Method   flow.Method   `json:"method"`
	Phase    flow.Phase    `json:"phase"`
	Tool     string        `json:"tool"`
	SNI      string        `json:"sni"`
	IP       netip.Addr    `json:"ip"`
	Risk     string        `json:"risk"`
	Approved int           `json:"approved"`
	Since    *time.Time    `json:"known_since"`
}

// MarshalJSON writes e flat; an unknown "known_since" is null.
func (e Evidence) MarshalJSON() ([]byte, error) {
	w := wireEvidence{
		Mode: e.Mode, Method: e.Method, Phase: e.Phase, Tool: e.Tool,
		SNI: e.SNI, IP: e.IP, Risk: e.Risk, Approved: e.Known.Approved,
	}
	if !e.Known.Since.IsZero() {
		since := e.Known.Since.UTC()
		w.Since = &since
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Evidence) UnmarshalJSON(data []byte) error {
	var w wireEvidence
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*e = Evidence{
		Mode: w.Mode, Method: w.Method, Phase: w.Phase, Tool: w.Tool,
		SNI: w.SNI, IP: w.IP, Risk: w.Risk, Known: Known{Approved: w.Approved},
	}
	if w.Since != nil {
		e.Known.Since = *w.Since
	}
	return nil
}
