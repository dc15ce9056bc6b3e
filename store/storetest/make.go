package storetest

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
)

// tester is what these helpers need of a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
	Errorf(format string, args ...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got returns v, or ends the test if there was an error.
func got[T any](v T, err error) func(tester) T {
	return func(t tester) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func equal[T any](t tester, what string, have, want T) {
	t.Helper()
	if !reflect.DeepEqual(have, want) {
		t.Errorf("%s:\nhave %+v\nwant %+v", what, have, want)
	}
}

func is(t tester, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

// newID returns a new time-ordered ID.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func change(s identity.Server, action string, at time.Time) identity.Change {
	return identity.Change{At: at, Actor: "cli:1000", Action: action, Server: s.ID, Name: s.Name, Detail: "by a test"}
}

// server stores a new server of that name.
func server(t tester, s Store, name identity.Name) identity.Server {
	t.Helper()
	v := identity.Server{ID: newID(), Name: name, Mode: identity.ModeLearn, Status: identity.StatusActive, Created: Now()}
	must(t, s.PutServer(context.Background(), v, nil, change(v, "server.add", Now())))
	return v
}

// openFlow returns a flow of v that opened at at.
func openFlow(v identity.Server, host string, at time.Time) flow.Flow {
	return flow.Flow{
		ID: newID(), ServerID: v.ID, Server: v.Name, Mode: identity.ModeLearn, Opened: at,
		Method: flow.MethodConnect, Host: host, Port: 443, IP: netip.MustParseAddr("203.0.113.7"),
		Place: flow.Place{ASN: 64500, Org: "Example Networks", Country: "CH"},
		Grade: flow.GradeVerified, Phase: flow.PhaseUnknown, Verdict: flow.Allowed, Reason: flow.ReasonLearning,
	}
}

// closedFlow returns the same after a second, with 10 bytes up and 100 down.
func closedFlow(v identity.Server, host string, at time.Time) flow.Flow {
	return ended(openFlow(v, host, at))
}

func ended(f flow.Flow) flow.Flow {
	f.Closed, f.End, f.BytesUp, f.BytesDown = f.Opened.Add(time.Second), flow.EndClient, 10, 100
	return f
}

func refusedFlow(v identity.Server, host string, at time.Time) flow.Flow {
	f := openFlow(v, host, at)
	f.IP, f.Place, f.Grade = netip.Addr{}, flow.Place{}, ""
	f.Closed, f.End, f.Verdict, f.Reason = at, flow.EndRefused, flow.Refused, flow.ReasonNewDestination
	return f
}

func save(t tester, s Store, flows ...flow.Flow) {
	t.Helper()
	must(t, s.SaveBatch(context.Background(), record.Batch{Flows: flows}))
}

func ids(flows []flow.Flow) []uuid.UUID {
	out := make([]uuid.UUID, 0, len(flows))
	for _, f := range flows {
		out = append(out, f.ID)
	}
	return out
}
