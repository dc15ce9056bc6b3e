package detect

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// maxFlows is how many flows an alert keeps as evidence.
const maxFlows = 20

// Bounds of what is kept of strings that a server chose.
const (
	maxSNI  = 255
	maxTool = 128
)

// Event is one thing that a rule found in one flow.
type Event struct {
	Flow  flow.Flow
	Kind  Kind
	Risk  string // class of a risky destination; empty: none
	Now   time.Time
	Known Known
}

// New returns the alert of one event: open, counted once, with its texts. A
// Kind that this version has no rule for still makes an alert, of medium
// severity and in general words: an alert is never lost for want of a text.
func New(e Event) Alert {
	f := &e.Flow
	a := Alert{
		ID: newID(e.Now), Kind: e.Kind,
		ServerID: f.ServerID, Server: f.Server, Owner: f.Owner,
		Family: Family(f.Host), Host: f.Host, Port: f.Port,
		First: e.Now, Last: e.Now, Count: 1, Status: Open,
		Place: f.Place, Verdict: f.Verdict,
		Evidence: Evidence{
			Mode: f.Mode, Method: f.Method, Phase: f.Phase,
			Tool: clip(f.Tool, maxTool), SNI: clip(f.SNI, maxSNI),
			IP: f.IP, Risk: clip(e.Risk, maxTool), Known: e.Known,
		},
	}
	if f.ID != uuid.Nil {
		a.Flows = []uuid.UUID{f.ID}
	}
	a.Severity = ruleOf(a.Kind).severity(&a)
	a.write()
	return a
}

// Merge returns a with the events of b, an alert with the same key, counted
// in. What a says of the latest event comes from whichever is later; status,
// id and first occurrence stay a's unless b began earlier. The severity never
// falls. Neither a's nor b's Flows are written to.
func (a Alert) Merge(b Alert) Alert {
	m := a
	m.Count = a.Count + b.Count
	if b.First.Before(a.First) {
		m.First = b.First
	}
	newer, older := a, b
	if !b.Last.Before(a.Last) {
		newer, older = b, a
	}
	m.Last, m.Host, m.Port, m.Verdict = newer.Last, newer.Host, newer.Port, newer.Verdict
	m.Server, m.Owner = newer.Server, newer.Owner
	m.Place, m.Evidence = newer.Place, newer.Evidence
	if !newer.Evidence.IP.IsValid() && newer.Host == older.Host {
		// The latest event has no address, yet or at all: the last one that
		// this host led to still says where it lies.
		m.Place, m.Evidence.IP = older.Place, older.Evidence.IP
	}
	m.Flows = latestFlows(newer.Flows, older.Flows)
	// The rule is asked once more: some severities grow with the count.
	m.Severity = gravest(a.Severity, b.Severity, ruleOf(m.Kind).severity(&m))
	m.write()
	return m
}

func gravest(all ...Severity) Severity {
	return slices.MaxFunc(all, func(a, b Severity) int { return a.Rank() - b.Rank() })
}

// latestFlows joins two lists, each newest first, without repeats.
func latestFlows(newer, older []uuid.UUID) []uuid.UUID {
	var flows []uuid.UUID
	for _, list := range [][]uuid.UUID{newer, older} {
		for _, id := range list {
			if len(flows) == maxFlows {
				return flows
			}
			if !slices.Contains(flows, id) {
				flows = append(flows, id)
			}
		}
	}
	return flows
}

// Located returns a with the address that was dialled for its latest event
// and with the place where it lies: an alert is stored before either is known.
func (a Alert) Located(ip netip.Addr, p flow.Place) Alert {
	a.Evidence.IP = ip
	return a.WithPlace(p)
}

// WithPlace is Located for a caller that doesn't have the address at hand.
func (a Alert) WithPlace(p flow.Place) Alert {
	a.Place = p
	a.write()
	return a
}

// newID returns a UUID of version 7 (RFC 9562, section 5.7) whose time is now,
// so that alerts sort by when they happened and not by when a clock was read.
func newID(now time.Time) identity.ID {
	// NewV7 only fails when the system has no randomness; crypto/rand ends the
	// process then.
	id := uuid.Must(uuid.NewV7())
	ms := now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// clip returns valid UTF-8 of at most n bytes from the start of s.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
