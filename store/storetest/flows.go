package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

func flowsRoundTrip(t *testing.T, s Store) {
	v := server(t, s, "maps")
	full := closedFlow(v, "api.example.com", Now())
	full.Owner, full.Chain = "ada", []string{"a.cdn.example.net", "b.cdn.example.net"}
	full.IP, full.SNI, full.ALPN = netip.MustParseAddr("2001:db8::7"), "api.example.com", []string{"h2", "http/1.1"}
	full.JA4, full.ECH, full.Phase, full.Tool = "t13d1516h2_8daaf6152771_b186095e22b6", true, "tool:search", "search,fetch"
	bare := flow.Flow{ID: newID(), Opened: Now().Add(-time.Hour), Port: 443}
	save(t, s, full, bare)
	equal(t, "a full flow", got(s.Flow(t.Context(), full.ID))(t), full)
	equal(t, "a bare flow", got(s.Flow(t.Context(), bare.ID))(t), bare)
	_, err := s.Flow(t.Context(), newID())
	is(t, err, store.ErrNotFound)
}

// zoo is a few flows of two servers that differ in everything one can ask for,
// oldest first.
func zoo(t *testing.T, s Store) (a, b identity.Server, flows []flow.Flow) {
	a, b = server(t, s, "a"), server(t, s, "b")
	at := func(i int) time.Time { return Now().Add(time.Duration(i) * time.Minute) }
	flows = []flow.Flow{
		closedFlow(a, "api.example.com", at(0)),
		closedFlow(b, "api.example.com", at(1)),
		refusedFlow(a, "evil.example", at(2)),
		closedFlow(a, "x.example.com", at(3)),
		refusedFlow(b, "a.x.example.com", at(4)),
		openFlow(a, "example.com", at(5)),
		closedFlow(a, "notexample.com", at(6)),
		closedFlow(a, "api.example.com", at(7)),
	}
	flows[3].Grade, flows[3].Reason = flow.GradeNoSNI, flow.ReasonNoSNI
	flows[7].Port, flows[7].Reason = 8443, flow.ReasonApproved
	shuffled := slices.Clone(flows)
	slices.Reverse(shuffled)
	save(t, s, shuffled...)
	return a, b, flows
}

func flowsFiltered(t *testing.T, s Store) {
	a, b, f := zoo(t, s)
	tests := []struct {
		name string
		q    store.FlowQuery
		want []int // newest first
	}{
		{"all", store.FlowQuery{}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		{"server", store.FlowQuery{Server: a.ID}, []int{7, 6, 5, 3, 2, 0}},
		{"unknown server", store.FlowQuery{Server: newID()}, nil},
		{"host", store.FlowQuery{Host: "api.example.com"}, []int{7, 1, 0}},
		{"host and port", store.FlowQuery{Host: "api.example.com", Port: 443}, []int{1, 0}},
		{"host and server", store.FlowQuery{Host: "api.example.com", Server: b.ID}, []int{1}},
		{"unknown host", store.FlowQuery{Host: "nowhere.example"}, nil},
		{"sub-domains", store.FlowQuery{Host: "*.example.com"}, []int{7, 4, 3, 1, 0}},
		{"sub-domains of one", store.FlowQuery{Host: "*.x.example.com"}, []int{4}},
		{"sub-domains, allowed", store.FlowQuery{Host: "*.example.com", Verdict: flow.Allowed}, []int{7, 3, 1, 0}},
		{"port", store.FlowQuery{Port: 8443}, []int{7}},
		{"refused", store.FlowQuery{Verdict: flow.Refused}, []int{4, 2}},
		{"refused by server", store.FlowQuery{Verdict: flow.Refused, Server: a.ID}, []int{2}},
		{"grade", store.FlowQuery{Grade: flow.GradeNoSNI}, []int{3}},
		{"usual grade", store.FlowQuery{Grade: flow.GradeVerified}, []int{7, 6, 5, 1, 0}},
		{"reason", store.FlowQuery{Reason: flow.ReasonNewDestination}, []int{4, 2}},
		{"usual reason", store.FlowQuery{Reason: flow.ReasonApproved}, []int{7}},
		{"reason by server", store.FlowQuery{Reason: flow.ReasonNewDestination, Server: b.ID}, []int{4}},
		{"since", store.FlowQuery{Since: f[6].Opened}, []int{7, 6}},
		{"until", store.FlowQuery{Until: f[1].Opened}, []int{0}},
		{"between, by server", store.FlowQuery{Since: f[2].Opened, Until: f[6].Opened, Server: a.ID}, []int{5, 3, 2}},
		{"open", store.FlowQuery{Open: true}, []int{5}},
		{"open elsewhere", store.FlowQuery{Open: true, Host: "api.example.com"}, nil},
		{"ids", store.FlowQuery{IDs: []uuid.UUID{f[0].ID, f[4].ID, newID()}}, []int{4, 0}},
		{"ids and host", store.FlowQuery{IDs: []uuid.UUID{f[0].ID, f[4].ID}, Host: "*.x.example.com"}, []int{4}},
		{"no ids", store.FlowQuery{IDs: []uuid.UUID{}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []flow.Flow
			for _, i := range tt.want {
				want = append(want, f[i])
			}
			equal(t, "flows", got(s.Flows(t.Context(), tt.q))(t).Items, want)
			equal(t, "flows page by page", walkFlows(t, s, tt.q, 2), ids(want))
		})
	}
}

// walkFlows reads a listing in pages of n.
func walkFlows(t *testing.T, s Store, q store.FlowQuery, n int) []uuid.UUID {
	t.Helper()
	found := []uuid.UUID{}
	q.Limit = n
	for range 1000 {
		p := got(s.Flows(t.Context(), q))(t)
		if len(p.Items) > n {
			t.Fatalf("a page has %d items, want at most %d", len(p.Items), n)
		}
		found = append(found, ids(p.Items)...)
		if p.Next == "" {
			return found
		}
		q.Cursor = p.Next
	}
	t.Fatal("the listing has no end")
	return nil
}

func flowsPaged(t *testing.T, s Store) {
	v := server(t, s, "maps")
	var flows []flow.Flow
	for i := range 120 {
		// Many at the same moment: the order must still be total. More hosts
		// under one domain than are walked one by one.
		f := closedFlow(v, fmt.Sprintf("h%d.example.com", i), Now().Add(time.Duration(i/10)*time.Second))
		flows = append(flows, f)
	}
	save(t, s, flows...)
	slices.SortFunc(flows, func(a, b flow.Flow) int {
		return cmpOr(b.Opened.Compare(a.Opened), slices.Compare(b.ID[:], a.ID[:]))
	})
	for _, q := range []store.FlowQuery{{}, {Server: v.ID}, {Host: "*.example.com"}, {Verdict: flow.Allowed}, {Until: Now().Add(time.Hour)}} {
		for _, n := range []int{1, 7, 120, 1000} {
			equal(t, fmt.Sprintf("%+v in pages of %d", q, n), walkFlows(t, s, q, n), ids(flows))
		}
	}
	if n := len(got(s.Flows(t.Context(), store.FlowQuery{}))(t).Items); n != 100 {
		t.Errorf("a page has %d items without a limit, want 100", n)
	}
	_, err := s.Flows(t.Context(), store.FlowQuery{IDs: make([]uuid.UUID, 1001)})
	is(t, err, store.ErrBadQuery)
}

func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

func flowsHostile(t *testing.T, s Store) {
	v := server(t, s, "maps")
	evil := "x'; DROP TABLE flows; --"
	f := closedFlow(v, evil, Now())
	f.SNI, f.ALPN, f.Tool, f.Reason = "nul\x00and\xff", []string{`"`, "\\"}, evil, flow.Reason(evil)
	save(t, s, f)
	equal(t, "flow", got(s.Flow(t.Context(), f.ID))(t), f)
	equal(t, "by host", got(s.Flows(t.Context(), store.FlowQuery{Host: evil}))(t).Items, []flow.Flow{f})
	equal(t, "by reason", got(s.Flows(t.Context(), store.FlowQuery{Reason: flow.Reason(evil)}))(t).Items, []flow.Flow{f})
	for _, q := range []store.FlowQuery{{Host: "%"}, {Host: "*"}, {Host: "*."}, {Host: "' OR 1=1 --"}, {Grade: "' OR 1=1 --"}} {
		if n := len(got(s.Flows(t.Context(), q))(t).Items); n != 0 {
			t.Errorf("%+v matches %d flows", q, n)
		}
	}
}

// versionsOfABatch: what several versions of a flow in one batch leave is what
// they would leave one by one, and each flow keeps its own.
func versionsOfABatch(t *testing.T, s Store) {
	v := server(t, s, "maps")
	short, long := openFlow(v, "a.example", Now()), openFlow(v, "b.example", Now().Add(time.Second))
	moved, late := long, ended(short)
	moved.BytesUp, moved.BytesDown, moved.SNI = 5, 6, "b.example"
	late.BytesUp, late.End = 99, flow.EndError // a flow ends once
	save(t, s, short, long, ended(short), moved, late, short)
	equal(t, "the one that ended", got(s.Flow(t.Context(), short.ID))(t), ended(short))
	equal(t, "the one that is open", got(s.Flow(t.Context(), long.ID))(t), moved)
	save(t, s, moved, long, ended(long)) // stored, so far, as open
	equal(t, "the other, when it ended", got(s.Flow(t.Context(), long.ID))(t), ended(long))
	total := got(s.Totals(t.Context()))(t)[v.ID]
	equal(t, "totals", figures{total.Flows, total.Refused, total.BytesUp, total.BytesDown}, figures{2, 0, 20, 200})
}

func closedStays(t *testing.T, s Store) {
	v := server(t, s, "maps")
	open := openFlow(v, "api.example.com", Now())
	save(t, s, open)
	busy := open
	busy.BytesUp, busy.BytesDown, busy.SNI = 5, 50, "api.example.com"
	save(t, s, busy)
	equal(t, "an open flow", got(s.Flow(t.Context(), open.ID))(t), busy)
	closed := ended(busy)
	save(t, s, closed)
	equal(t, "a closed flow", got(s.Flow(t.Context(), open.ID))(t), closed)
	late := ended(busy)
	late.BytesUp, late.End = 1, flow.EndError
	save(t, s, busy, open, late)
	equal(t, "a closed flow, after late news", got(s.Flow(t.Context(), open.ID))(t), closed)

	cut := openFlow(v, "api.example.com", Now())
	save(t, s, cut)
	cut.Closed, cut.End = Now(), flow.EndFailed
	cut.Verdict, cut.Reason, cut.Grade = flow.Refused, flow.ReasonSNIMismatch, flow.GradeSNIDiffers
	save(t, s, cut)
	equal(t, "a flow refused late", got(s.Flows(t.Context(), store.FlowQuery{Verdict: flow.Refused}))(t).Items, []flow.Flow{cut})
}

// failsAlone writes good and bad side by side, so that they share transactions.
// A bad one fails halfway: its server is new, its credential is another's.
func failsAlone(t *testing.T, s Store) {
	ctx := context.Background()
	v := server(t, s, "maps")
	cred := identity.Credential{ID: newID(), Server: v.ID, Hash: [32]byte{1}, Created: Now()}
	must(t, s.PutServer(ctx, v, []identity.Credential{cred}, change(v, "server.rotate", Now())))
	const n = 50
	errs := make(chan error, n)
	for i := range n {
		go func() {
			if i%5 != 0 {
				errs <- s.SaveBatch(ctx, record.Batch{Flows: []flow.Flow{closedFlow(v, "api.example.com", Now())}})
				return
			}
			bad := identity.Server{ID: newID(), Name: identity.Name(fmt.Sprint("bad-", i)), Mode: identity.ModeLearn, Status: identity.StatusActive}
			stolen := identity.Credential{ID: newID(), Server: bad.ID, Hash: cred.Hash}
			err := s.PutServer(ctx, bad, []identity.Credential{stolen}, change(bad, "server.add", Now()))
			if err == nil || errors.Is(err, record.ErrUnavailable) {
				errs <- fmt.Errorf("a write that must fail alone: %w", err)
				return
			}
			errs <- nil
		}()
	}
	for range n {
		must(t, <-errs)
	}
	equal(t, "flows", got(s.Totals(ctx))(t)[v.ID].Flows, int64(40))
	servers, _, err := s.Identities(ctx)
	must(t, err)
	equal(t, "servers", servers, []identity.Server{v})
	equal(t, "audit records", len(got(s.Audit(ctx, store.AuditQuery{}))(t).Items), 2)
}
