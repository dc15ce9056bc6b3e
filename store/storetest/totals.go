package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

func totalsOnce(t *testing.T, s Store) {
	v := server(t, s, "maps")
	f := openFlow(v, "api.example.com", Now())
	save(t, s, f)
	want := store.Totals{FirstSeen: Now(), LastSeen: Now(), Destinations: 1}
	equal(t, "totals of an open flow", got(s.Totals(t.Context()))(t)[v.ID], want)
	for range 3 {
		save(t, s, ended(f), ended(f))
	}
	refused := refusedFlow(v, "evil.example", Now().Add(time.Hour))
	save(t, s, refused)
	save(t, s, refused)
	want = store.Totals{
		FirstSeen: Now(), LastSeen: Now().Add(time.Hour), Flows: 2, Refused: 1, BytesUp: 10, BytesDown: 100, Destinations: 2,
	}
	equal(t, "totals", got(s.Totals(t.Context()))(t)[v.ID], want)
}

// figures is what is summed up of one server, and of it at one place.
type figures struct{ flows, refused, up, down int64 }

func (f *figures) add(v *flow.Flow) {
	f.flows++
	if v.Verdict == flow.Refused {
		f.refused++
	}
	f.up += v.BytesUp
	f.down += v.BytesDown
}

// totalsAnyOrder: whatever the order of what is said of a flow and however often
// it is repeated, it is counted once, and everywhere alike.
func totalsAnyOrder(t *testing.T, s Store) {
	rapid.Check(t, func(rt *rapid.T) {
		v := identity.Server{ID: newID(), Name: "maps"}
		hosts := []string{"a.example", "b.example", "c.example"}
		var events []flow.Flow
		want, places := figures{}, map[string]*figures{}
		for range rapid.IntRange(1, 8).Draw(rt, "flows") {
			host := rapid.SampledFrom(hosts).Draw(rt, "host")
			f := openFlow(v, host, Now().Add(time.Duration(rapid.IntRange(0, 7200).Draw(rt, "second"))*time.Second))
			if rapid.Bool().Draw(rt, "refused") {
				f.Verdict = flow.Refused
			}
			closed := ended(f)
			closed.BytesUp = int64(rapid.IntRange(0, 99).Draw(rt, "up"))
			half := f
			half.BytesUp = closed.BytesUp / 2
			events = append(events, f, half, closed, closed)
			want.add(&closed)
			if places[host] == nil {
				places[host] = &figures{}
			}
			places[host].add(&closed)
		}
		events = rapid.Permutation(events).Draw(rt, "order")
		for chunk := range slices.Chunk(events, rapid.IntRange(1, len(events)).Draw(rt, "batch")) {
			save(rt, s, chunk...)
		}
		checkFigures(rt, s, v.ID, want, places)
	})
}

func checkFigures(rt *rapid.T, s Store, id identity.ID, want figures, places map[string]*figures) {
	ctx := rt.Context()
	total := got(s.Totals(ctx))(rt)[id]
	equal(rt, "totals", figures{total.Flows, total.Refused, total.BytesUp, total.BytesDown}, want)
	equal(rt, "destinations in totals", total.Destinations, int64(len(places)))
	var hours figures
	for _, b := range got(s.Traffic(ctx, Now(), Now().Add(3*time.Hour), time.Hour))(rt)[id] {
		hours = figures{hours.flows + b.Flows, hours.refused + b.Refused, hours.up + b.BytesUp, hours.down + b.BytesDown}
	}
	equal(rt, "traffic", hours, want)
	found := map[string]*figures{}
	for _, d := range got(s.Destinations(ctx, store.DestinationQuery{Server: id}))(rt).Items {
		found[d.Host] = &figures{d.Flows, d.Refused, d.BytesUp, d.BytesDown}
		var days figures
		for _, b := range d.Days {
			days = figures{days.flows + b.Flows, days.refused + b.Refused, days.up + b.BytesUp, days.down + b.BytesDown}
		}
		equal(rt, "days of "+d.Host, days, *found[d.Host])
	}
	equal(rt, "destinations", found, places)
}

func lostFlows(t *testing.T, s Store) {
	v := server(t, s, "maps")
	open, future := openFlow(v, "api.example.com", Now()), openFlow(v, "api.example.com", Now().Add(time.Hour))
	open.BytesUp, open.BytesDown = 3, 4
	closed := closedFlow(v, "api.example.com", Now())
	save(t, s, open, future, closed)
	at := Now().Add(time.Minute)
	equal(t, "lost", got(s.MarkLost(t.Context(), at))(t), int64(2))
	equal(t, "lost again", got(s.MarkLost(t.Context(), at))(t), int64(0))

	open.Closed, open.End = at, flow.EndLost
	future.Closed, future.End = future.Opened, flow.EndLost // the clock was set back
	equal(t, "a lost flow", got(s.Flow(t.Context(), open.ID))(t), open)
	equal(t, "a lost flow of the future", got(s.Flow(t.Context(), future.ID))(t), future)
	equal(t, "a closed flow", got(s.Flow(t.Context(), closed.ID))(t), closed)
	save(t, s, ended(open))
	total := got(s.Totals(t.Context()))(t)[v.ID]
	equal(t, "totals", figures{total.Flows, total.Refused, total.BytesUp, total.BytesDown}, figures{3, 0, 13, 104})

	many := make([]flow.Flow, 2500) // more than one step of it
	for i := range many {
		many[i] = openFlow(v, "api.example.com", Now())
	}
	save(t, s, many...)
	equal(t, "many lost", got(s.MarkLost(t.Context(), at))(t), int64(2500))
	equal(t, "flows", got(s.Totals(t.Context()))(t)[v.ID].Flows, int64(2503))
}

func destinations(t *testing.T, s Store) {
	a, b := server(t, s, "a"), server(t, s, "b")
	old := closedFlow(a, "api.example.com", Now().Add(-48*time.Hour))
	old.Place = flow.Place{ASN: 64501, Org: "Old Networks", Country: "DE"}
	last := closedFlow(a, "api.example.com", Now())
	last.Grade = flow.GradeNoSNI
	refused := refusedFlow(a, "api.example.com", Now().Add(time.Minute)) // says nothing of place or grade
	save(t, s, last, refused)
	save(t, s, old) // late, so that the newer one stands
	save(t, s, closedFlow(b, "api.example.com", Now().Add(-time.Hour)), closedFlow(a, "x.example.com", Now().Add(-time.Hour)))

	items := got(s.Destinations(t.Context(), store.DestinationQuery{Server: a.ID, Host: "api.example.com"}))(t).Items
	if len(items) != 1 {
		t.Fatalf("there are %d destinations, want 1", len(items))
	}
	days := items[0].Days
	items[0].Days = nil
	equal(t, "destination", items[0], store.Destination{
		ServerID: a.ID, Server: "a", Host: "api.example.com", Port: 443, Place: last.Place, Grade: flow.GradeNoSNI,
		Flows: 3, Refused: 1, BytesUp: 20, BytesDown: 200, FirstSeen: old.Opened, LastSeen: refused.Opened,
	})
	today := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	if len(days) != 14 {
		t.Fatalf("the picture has %d days, want 14", len(days))
	}
	equal(t, "first day", days[0], store.Bucket{At: today.AddDate(0, 0, -13)})
	equal(t, "two days ago", days[11], store.Bucket{At: today.AddDate(0, 0, -2), Flows: 1, BytesUp: 10, BytesDown: 100})
	equal(t, "today", days[13], store.Bucket{At: today, Flows: 2, Refused: 1, BytesUp: 10, BytesDown: 100})

	for q, n := range map[store.DestinationQuery]int{
		{}: 3, {Server: a.ID}: 2, {Host: "api.example.com"}: 2, {Host: "*.example.com"}: 3, {Host: "*.com"}: 3,
		{Server: b.ID, Host: "*.example.com"}: 1, {Host: "*.api.example.com"}: 0, {Host: "example.com"}: 0, {Host: "%"}: 0,
	} {
		if have := len(got(s.Destinations(t.Context(), q))(t).Items); have != n {
			t.Errorf("%+v finds %d destinations, want %d", q, have, n)
		}
	}

	a.Name = "renamed"
	must(t, s.PutServer(t.Context(), a, nil, change(a, "server.rename", Now())))
	equal(t, "name after renaming", got(s.Destinations(t.Context(), store.DestinationQuery{Server: a.ID}))(t).Items[0].Server, "renamed")
}

func destinationsPaged(t *testing.T, s Store) {
	v := server(t, s, "maps")
	var want []string
	for i := range 25 {
		host := string(rune('a'+i)) + ".example"
		save(t, s, closedFlow(v, host, Now().Add(-time.Duration(i/3)*time.Minute)))
		want = append(want, host)
	}
	var have []string
	q := store.DestinationQuery{Server: v.ID, Limit: 4}
	for range 100 {
		p := got(s.Destinations(t.Context(), q))(t)
		for _, d := range p.Items {
			have = append(have, d.Host)
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	slices.Sort(have)
	equal(t, "hosts", have, want)
}

// destinationsBounded: what a server asks for beyond its bound is counted in
// one row, each flow once, and is still found by the host that it asked for.
func destinationsBounded(t *testing.T, s Store) {
	ctx := t.Context()
	v, other := server(t, s, "maps"), server(t, s, "other")
	for batch := range slices.Chunk(manyHosts(v, store.MaxDestinations), 4000) {
		save(t, s, batch...)
	}
	beyond := []flow.Flow{
		refusedFlow(v, "a.beyond.example", Now().Add(time.Second)), closedFlow(v, "b.beyond.example", Now().Add(2*time.Second)),
		openFlow(v, "c.beyond.example", Now().Add(3*time.Second)),
	}
	beyond[1].Port = 8443
	save(t, s, beyond...)
	beyond[2] = ended(beyond[2])
	known := closedFlow(v, "h7.example", Now().Add(time.Minute))
	save(t, s, append(beyond, known, closedFlow(other, "a.beyond.example", Now()))...)

	page := got(s.Destinations(ctx, store.DestinationQuery{Server: v.ID, Limit: 2}))(t).Items
	for i, want := range []struct {
		host string
		port uint16
		figures
	}{{"h7.example", 443, figures{1, 0, 10, 100}}, {store.OtherHosts, 0, figures{3, 1, 20, 200}}} {
		d := page[i]
		equal(t, "host", d.Host, want.host)
		equal(t, "port", d.Port, want.port)
		equal(t, want.host, figures{d.Flows, d.Refused, d.BytesUp, d.BytesDown}, want.figures)
		equal(t, "today of "+want.host, d.Days[13].Flows, want.flows)
	}
	total := got(s.Totals(ctx))(t)
	equal(t, "flows in totals", total[v.ID].Flows, int64(4))
	equal(t, "destinations in totals", total[v.ID].Destinations, int64(store.MaxDestinations+1))
	equal(t, "destinations of the other server", total[other.ID].Destinations, int64(1))

	for _, tt := range []struct {
		q    store.FlowQuery
		want []flow.Flow
	}{
		{store.FlowQuery{Host: store.OtherHosts}, []flow.Flow{beyond[2], beyond[1], beyond[0]}},
		{store.FlowQuery{Host: store.OtherHosts, IDs: ids(beyond[:1])}, beyond[:1]},
		{store.FlowQuery{Host: "*.beyond.example", Port: 443}, []flow.Flow{beyond[2], beyond[0]}},
		{store.FlowQuery{Host: "a.beyond.example"}, beyond[:1]},
		{store.FlowQuery{Host: "b.beyond.example", Verdict: flow.Refused}, nil},
	} {
		tt.q.Server = v.ID
		equal(t, fmt.Sprintf("flows for %+v", tt.q), ids(got(s.Flows(ctx, tt.q))(t).Items), ids(tt.want))
	}
}

// manyHosts returns an open flow to each of n hosts.
func manyHosts(v identity.Server, n int) []flow.Flow {
	flows := make([]flow.Flow, n)
	for i := range flows {
		flows[i] = openFlow(v, fmt.Sprintf("h%d.example", i), Now())
	}
	return flows
}

func traffic(t *testing.T, s Store) {
	v, idle := server(t, s, "maps"), server(t, s, "idle")
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	save(t, s,
		closedFlow(v, "a.example", day.Add(90*time.Minute)),
		closedFlow(v, "b.example", day.Add(119*time.Minute)),
		refusedFlow(v, "c.example", day.Add(25*time.Hour)),
		closedFlow(v, "a.example", day.Add(-time.Second)))
	hours := got(s.Traffic(t.Context(), day, day.Add(26*time.Hour), time.Hour))(t)
	if len(hours[v.ID]) != 26 || len(hours[idle.ID]) != 26 {
		t.Fatalf("there are %d and %d buckets, want 26", len(hours[v.ID]), len(hours[idle.ID]))
	}
	for i, b := range hours[v.ID] {
		want := store.Bucket{At: day.Add(time.Duration(i) * time.Hour)}
		equal(t, "idle bucket", hours[idle.ID][i], want)
		switch i {
		case 1:
			want.Flows, want.BytesUp, want.BytesDown = 2, 20, 200
		case 25:
			want.Flows, want.Refused = 1, 1
		}
		equal(t, "bucket", b, want)
	}
	days := got(s.Traffic(t.Context(), day.Add(3*time.Hour), day.Add(25*time.Hour), 24*time.Hour))(t)[v.ID]
	equal(t, "days", days, []store.Bucket{
		{At: day, Flows: 2, BytesUp: 20, BytesDown: 200},
		{At: day.Add(24 * time.Hour), Flows: 1, Refused: 1},
	})
	equal(t, "no time", len(got(s.Traffic(t.Context(), day, day, time.Hour))(t)), 0)
	for _, step := range []time.Duration{0, -time.Hour, time.Minute, 90 * time.Minute} {
		_, err := s.Traffic(t.Context(), day, day.Add(time.Hour), step)
		is(t, err, store.ErrBadQuery)
	}
	_, err := s.Traffic(t.Context(), time.Time{}, day, time.Hour)
	is(t, err, store.ErrBadQuery)
}
