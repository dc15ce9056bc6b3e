package storetest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

func newAlert(v identity.Server, host string, at time.Time) detect.Alert {
	return detect.Alert{
		ID: newID(), Kind: detect.NewDestination, Severity: detect.Medium, ServerID: v.ID, Server: v.Name, Owner: v.Owner,
		Family: host, Host: host, Port: 443, First: at, Last: at, Count: 1, Status: detect.Open,
		Title: "maps went somewhere new", Explanation: "It never did.", Next: "Ask why.",
		Place: flow.Place{ASN: 64500, Org: "Example Networks", Country: "CH"},
		Flows: []uuid.UUID{newID(), newID()}, Verdict: flow.Refused,
		Evidence: detect.Evidence{
			Mode: identity.ModeBlock, Method: flow.MethodConnect, Phase: "tool:search", Tool: "search\x00'",
			SNI: "b.example", IP: netip.MustParseAddr("203.0.113.7"), Risk: "paste",
			Known: detect.Known{Approved: 3, Since: at.Add(-time.Hour)},
		},
	}
}

func alerts(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	a := newAlert(v, "evil.example", Now())
	must(t, s.InsertAlert(ctx, a))
	equal(t, "alert", got(s.Alert(ctx, a.ID))(t), a)

	news := a
	news.Count, news.Last, news.Host, news.Port = 5, Now().Add(time.Minute), "b.evil.example", 8443
	news.Flows, news.Verdict, news.Explanation = []uuid.UUID{newID()}, flow.Allowed, "It does so often."
	news.Severity, news.Evidence = detect.High, detect.Evidence{SNI: "c.example"}
	news.Server, news.Owner = "renamed", "other@example.com"
	want := news
	news.Status, news.First = detect.Resolved, Now().Add(time.Hour) // not a batch's to say
	must(t, s.SaveBatch(ctx, record.Batch{Alerts: []detect.Alert{news}}))
	equal(t, "alert after news", got(s.Alert(ctx, a.ID))(t), want)
	must(t, s.SaveBatch(ctx, record.Batch{Alerts: []detect.Alert{a}})) // late
	must(t, s.InsertAlert(ctx, a))                                     // twice
	equal(t, "alert after late news", got(s.Alert(ctx, a.ID))(t), want)

	stray := newAlert(v, "stray.example", Now())
	must(t, s.SaveBatch(ctx, record.Batch{Alerts: []detect.Alert{stray}}))
	_, err := s.Alert(ctx, stray.ID)
	is(t, err, store.ErrNotFound)
	equal(t, "open alerts in totals", got(s.Totals(ctx))(t)[v.ID].OpenAlerts, int64(1))
}

// alertSeverity: an alert gets graver with its events and never milder.
func alertSeverity(t *testing.T, s Store) {
	v := server(t, s, "maps")
	a := newAlert(v, "evil.example", Now())
	a.Severity = detect.Info
	must(t, s.InsertAlert(t.Context(), a))
	for _, step := range []struct{ news, want detect.Severity }{
		{detect.Low, detect.Low}, {detect.Info, detect.Low}, {detect.Medium, detect.Medium}, {detect.Low, detect.Medium},
		{"", detect.Medium}, {"dire", detect.Medium}, {detect.High, detect.High}, {detect.Medium, detect.High},
		{detect.Critical, detect.Critical}, {detect.High, detect.Critical}, {detect.Info, detect.Critical},
	} {
		a.Count++
		a.Severity = step.news
		must(t, s.SaveBatch(t.Context(), record.Batch{Alerts: []detect.Alert{a}}))
		equal(t, fmt.Sprintf("severity after %q", step.news), got(s.Alert(t.Context(), a.ID))(t).Severity, step.want)
	}
	late := a
	late.Count, late.Severity = 1, detect.Critical
	b := newAlert(v, "b.example", Now())
	b.Count = 2
	must(t, s.InsertAlert(t.Context(), b))
	late.ID = b.ID
	must(t, s.SaveBatch(t.Context(), record.Batch{Alerts: []detect.Alert{late}}))
	equal(t, "an alert after late news", got(s.Alert(t.Context(), b.ID))(t), b)
}

func alertsPaged(t *testing.T, s Store) {
	a, b := server(t, s, "a"), server(t, s, "b")
	var all []detect.Alert // newest first
	for i := range 9 {
		v := a
		if i%3 == 0 {
			v = b
		}
		e := newAlert(v, "evil.example", Now().Add(-time.Duration(i)*time.Minute))
		if i%2 == 0 {
			e.Kind = detect.SNIMismatch
		}
		all = append(all, e)
		must(t, s.InsertAlert(t.Context(), e))
	}
	pick := func(keep func(detect.Alert) bool) (out []detect.Alert) {
		for _, e := range all {
			if keep(e) {
				out = append(out, e)
			}
		}
		return out
	}
	tests := []struct {
		q    store.AlertQuery
		want []detect.Alert
	}{
		{store.AlertQuery{}, all},
		{store.AlertQuery{Server: b.ID}, pick(func(e detect.Alert) bool { return e.ServerID == b.ID })},
		{store.AlertQuery{Kind: detect.SNIMismatch}, pick(func(e detect.Alert) bool { return e.Kind == detect.SNIMismatch })},
		{store.AlertQuery{Since: all[3].Last}, all[:4]},
		{store.AlertQuery{Status: detect.Resolved}, nil},
		{store.AlertQuery{Status: detect.Open, Server: a.ID}, pick(func(e detect.Alert) bool { return e.ServerID == a.ID })},
	}
	for _, tt := range tests {
		var have []detect.Alert
		q := tt.q
		q.Limit = 2
		for range 100 {
			p := got(s.Alerts(t.Context(), q))(t)
			have = append(have, p.Items...)
			if q.Cursor = p.Next; q.Cursor == "" {
				break
			}
		}
		equal(t, fmt.Sprintf("alerts for %+v", tt.q), have, tt.want)
	}
}

func alertStatus(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	first, second := newAlert(v, "one.example", Now()), newAlert(v, "two.example", Now().Add(time.Second))
	must(t, s.InsertAlert(ctx, first))
	must(t, s.InsertAlert(ctx, second))
	news := first
	news.Status, news.Count = detect.Acknowledged, 99
	must(t, s.SetAlertStatus(ctx, news, "web:7", Now().Add(time.Minute)))
	first.Status, first.Count = detect.Acknowledged, news.Count // what was counted since comes along
	equal(t, "unresolved", got(s.UnresolvedAlerts(ctx))(t), []detect.Alert{first, second})
	second.Status = detect.Resolved
	must(t, s.SetAlertStatus(ctx, second, "web:7", Now().Add(2*time.Minute)))
	equal(t, "unresolved", got(s.UnresolvedAlerts(ctx))(t), []detect.Alert{first})
	equal(t, "counts", got(s.AlertCounts(ctx))(t), map[detect.Status]int64{detect.Acknowledged: 1, detect.Resolved: 1})
	equal(t, "open alerts in totals", got(s.Totals(ctx))(t)[v.ID].OpenAlerts, int64(0))

	c := got(s.Audit(ctx, store.AuditQuery{Limit: 1}))(t).Items[0]
	if c.Actor != "web:7" || c.Action != "alert.resolve" || c.Server != v.ID || !strings.Contains(c.Detail, second.Title) {
		t.Errorf("the audit record is %+v", c)
	}
	second.Status = detect.Acknowledged
	is(t, s.SetAlertStatus(ctx, second, "web:7", Now()), record.ErrNoAlert) // it is over
	is(t, s.SetAlertStatus(ctx, newAlert(v, "x", Now()), "web:7", Now()), record.ErrNoAlert)
}

// alertStatusUpdates: what was counted since the last batch is written with the
// status, and what is older than the stored alert takes nothing back.
func alertStatusUpdates(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	a := newAlert(v, "evil.example", Now())
	must(t, s.InsertAlert(ctx, a))
	news := newAlert(v, "b.evil.example", a.First)
	news.ID, news.Family, news.Status, news.Count, news.Last = a.ID, a.Family, detect.Acknowledged, 5, Now().Add(time.Minute)
	news.Port, news.Verdict, news.Severity, news.Evidence = 8443, flow.Allowed, detect.High, detect.Evidence{SNI: "c.example"}
	news.Place = flow.Place{ASN: 64501, Org: "Other Networks", Country: "DE"}
	news.Title, news.Explanation, news.Next = "renamed went there again", "It does so often.", "Ask again."
	news.Server, news.Owner = "renamed", "other@example.com"
	must(t, s.SetAlertStatus(ctx, news, "web:7", Now()))
	equal(t, "alert", got(s.Alert(ctx, a.ID))(t), news)

	a.Status = detect.Open
	must(t, s.SetAlertStatus(ctx, a, "web:7", Now()))
	news.Status = detect.Open
	equal(t, "alert after an older one", got(s.Alert(ctx, a.ID))(t), news)
}

// resolvedStays: a resolved alert is neither reopened nor resolved again, and
// an attempt leaves no trace, in it or in the audit trail.
func resolvedStays(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	a := newAlert(v, "evil.example", Now())
	must(t, s.InsertAlert(ctx, a))
	a.Status = detect.Resolved
	must(t, s.SetAlertStatus(ctx, a, "web:7", Now()))
	before := got(s.Audit(ctx, store.AuditQuery{}))(t)
	for _, status := range []detect.Status{detect.Open, detect.Acknowledged, detect.Resolved} {
		late := a
		late.Status, late.Count, late.Host, late.Severity = status, 99, "b.evil.example", detect.Critical
		is(t, s.SetAlertStatus(ctx, late, "web:8", Now().Add(time.Minute)), record.ErrNoAlert)
		equal(t, "a resolved alert", got(s.Alert(ctx, a.ID))(t), a)
	}
	equal(t, "the audit trail", got(s.Audit(ctx, store.AuditQuery{}))(t), before)
}

func auditPaged(t *testing.T, s Store) {
	ctx := t.Context()
	a := server(t, s, "a")
	b := server(t, s, "b")
	for i := range 10 {
		v := a
		if i%2 == 1 {
			v = b
		}
		must(t, s.PutServer(ctx, v, nil, change(v, fmt.Sprint("test.", i), Now().Add(time.Duration(i/4+1)*time.Minute))))
	}
	tests := []struct {
		q    store.AuditQuery
		want string
	}{
		{store.AuditQuery{}, "9876543210++"},
		{store.AuditQuery{Server: b.ID}, "97531+"},
		{store.AuditQuery{Since: Now().Add(2 * time.Minute)}, "987654"},
	}
	for _, tt := range tests {
		have := ""
		q := tt.q
		q.Limit = 3
		for range 100 {
			p := got(s.Audit(ctx, q))(t)
			for _, c := range p.Items {
				have += strings.Replace(strings.TrimPrefix(c.Action, "test."), "server.add", "+", 1)
			}
			if q.Cursor = p.Next; q.Cursor == "" {
				break
			}
		}
		equal(t, fmt.Sprintf("audit records for %+v", tt.q), have, tt.want)
	}
}

func gaps(t *testing.T, s Store) {
	ctx := t.Context()
	old := record.Gap{From: Now().Add(-2 * time.Hour), Until: Now().Add(-time.Hour), Flows: 3, Cause: "the disk is full"}
	last := record.Gap{From: Now(), Until: Now().Add(time.Minute), Cause: "locked"}
	must(t, s.SaveGap(ctx, last))
	must(t, s.SaveGap(ctx, old))
	equal(t, "gaps", got(s.Gaps(ctx, time.Time{}))(t), []record.Gap{old, last})
	equal(t, "gaps since", got(s.Gaps(ctx, Now().Add(-time.Minute)))(t), []record.Gap{last})
}

func sessions(t *testing.T, s Store) {
	ctx := t.Context()
	browser := store.Session{ID: newID(), Hash: [32]byte{1}, Kind: store.SessionBrowser, Label: "Firefox",
		Created: Now(), Expires: Now().Add(time.Hour), Seen: Now()}
	token := store.Session{ID: newID(), Hash: [32]byte{2}, Kind: store.SessionToken, Label: "ci", Created: Now().Add(time.Second)}
	expired := store.Session{ID: newID(), Hash: [32]byte{3}, Kind: store.SessionBrowser, Created: Now().Add(-time.Hour), Expires: Now()}
	for _, v := range []store.Session{browser, token, expired} {
		must(t, s.PutSession(ctx, v))
	}
	equal(t, "browser", got(s.SessionByHash(ctx, browser.Hash))(t), browser)
	equal(t, "token", got(s.SessionByHash(ctx, token.Hash))(t), token)
	_, err := s.SessionByHash(ctx, expired.Hash)
	is(t, err, store.ErrNotFound)
	_, err = s.SessionByHash(ctx, [32]byte{4})
	is(t, err, store.ErrNotFound)
	equal(t, "all", got(s.Sessions(ctx, ""))(t), []store.Session{token, browser})
	equal(t, "browsers", got(s.Sessions(ctx, store.SessionBrowser))(t), []store.Session{browser})

	browser.Seen = Now().Add(time.Minute)
	must(t, s.TouchSession(ctx, browser.ID, browser.Seen))
	must(t, s.TouchSession(ctx, browser.ID, Now())) // late
	must(t, s.TouchSession(ctx, newID(), Now()))
	equal(t, "touched", got(s.SessionByHash(ctx, browser.Hash))(t), browser)
	must(t, s.DeleteSession(ctx, browser.ID))
	is(t, s.DeleteSession(ctx, browser.ID), store.ErrNotFound)
	_, err = s.SessionByHash(ctx, browser.Hash)
	is(t, err, store.ErrNotFound)
}

func badCursors(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	save(t, s, closedFlow(v, "a.example", Now()), closedFlow(v, "b.example", Now()))
	good := got(s.Flows(ctx, store.FlowQuery{Limit: 1}))(t).Next
	bad := []string{"x", "====", "' OR 1=1", strings.Repeat("A", 1<<20), good + "A", good[1:], good + "\n",
		base64.RawURLEncoding.EncodeToString(make([]byte, 25)), "\x00", good[:len(good)-1] + "_"}
	for _, c := range bad {
		_, err := s.Flows(ctx, store.FlowQuery{Cursor: c})
		is(t, err, store.ErrBadCursor)
		_, err = s.Destinations(ctx, store.DestinationQuery{Cursor: c})
		is(t, err, store.ErrBadCursor)
		_, err = s.Alerts(ctx, store.AlertQuery{Cursor: c})
		is(t, err, store.ErrBadCursor)
		_, err = s.Audit(ctx, store.AuditQuery{Cursor: c})
		is(t, err, store.ErrBadCursor)
	}
	_, err := s.Alerts(ctx, store.AlertQuery{Cursor: good}) // of another listing
	is(t, err, store.ErrBadCursor)
}

func health(t *testing.T, s Store) { must(t, s.Health(t.Context())) }

func cancelled(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := identity.Server{ID: newID(), Name: "never"}
	is(t, s.PutServer(ctx, v, nil, change(v, "server.add", Now())), context.Canceled)
	if _, err := s.Flows(ctx, store.FlowQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("reading says %v, want %v", err, context.Canceled)
	}
	servers, _, err := s.Identities(t.Context())
	must(t, err)
	if len(servers) != 0 {
		t.Errorf("a cancelled write was done: %v", servers)
	}
}
