package flow

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
)

// wire is a Flow under the JSON keys that others build on. Every key is always
// there, so that a reader never has to guess between absent and empty; an open
// flow's "closed" is null.
type wire struct {
	ID        uuid.UUID     `json:"id"`
	ServerID  identity.ID   `json:"server_id"`
	Server    identity.Name `json:"server"`
	Owner     string        `json:"owner"`
	Opened    time.Time     `json:"opened"`
	Closed    *time.Time    `json:"closed"`
	Method    Method        `json:"method"`
	Host      string        `json:"host"`
	Port      uint16        `json:"port"`
	Chain     []string      `json:"cname"`
	IP        netip.Addr    `json:"ip"`
	SNI       string        `json:"sni"`
	ALPN      []string      `json:"alpn"`
	JA4       string        `json:"ja4"`
	ECH       bool          `json:"ech"`
	Grade     Grade         `json:"grade"`
	Phase     Phase         `json:"phase"`
	Tool      string        `json:"tool"`
	ASN       uint32        `json:"asn"`
	Org       string        `json:"as_org"`
	Country   string        `json:"country"`
	BytesUp   int64         `json:"bytes_up"`
	BytesDown int64         `json:"bytes_down"`
	Verdict   Verdict       `json:"verdict"`
	Reason    Reason        `json:"reason"`
	Mode      identity.Mode `json:"mode"`
	End       End           `json:"end"`
}

// MarshalJSON writes f with the stable keys, times in UTC.
func (f Flow) MarshalJSON() ([]byte, error) {
	w := wire{
		ID: f.ID, ServerID: f.ServerID, Server: f.Server, Owner: f.Owner,
		Opened: f.Opened.UTC(), Method: f.Method, Host: f.Host, Port: f.Port,
		Chain: notNil(f.Chain), IP: f.IP, SNI: f.SNI, ALPN: notNil(f.ALPN), JA4: f.JA4, ECH: f.ECH,
		Grade: f.Grade, Phase: f.Phase, Tool: f.Tool,
		ASN: f.Place.ASN, Org: f.Place.Org, Country: f.Place.Country,
		BytesUp: f.BytesUp, BytesDown: f.BytesDown,
		Verdict: f.Verdict, Reason: f.Reason, Mode: f.Mode, End: f.End,
	}
	if !f.Closed.IsZero() {
		closed := f.Closed.UTC()
		w.Closed = &closed
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Flow) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*f = Flow{
		ID: w.ID, ServerID: w.ServerID, Server: w.Server, Owner: w.Owner,
		Opened: w.Opened, Method: w.Method, Host: w.Host, Port: w.Port,
		Chain: nilIfEmpty(w.Chain), IP: w.IP, SNI: w.SNI, ALPN: nilIfEmpty(w.ALPN), JA4: w.JA4, ECH: w.ECH,
		Grade: w.Grade, Phase: w.Phase, Tool: w.Tool,
		Place:   Place{ASN: w.ASN, Org: w.Org, Country: w.Country},
		BytesUp: w.BytesUp, BytesDown: w.BytesDown,
		Verdict: w.Verdict, Reason: w.Reason, Mode: w.Mode, End: w.End,
	}
	if w.Closed != nil {
		f.Closed = *w.Closed
	}
	return nil
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func nilIfEmpty(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}
