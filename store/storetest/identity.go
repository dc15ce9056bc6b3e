package storetest

import (
	"testing"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

func identities(t *testing.T, s Store) {
	ctx := t.Context()
	v := identity.Server{
		ID: newID(), Name: "calendar", Owner: "ada", Mode: identity.ModeBlock, Status: identity.StatusActive,
		Command: []string{"npx", "-y", "it's; DROP TABLE servers"}, Package: "@scope/calendar", Version: "1.2.3",
		Created: Now(), LearnUntil: Now().Add(time.Hour), Launched: Now(), Listen: "127.0.0.1:4000",
	}
	c := identity.Credential{ID: newID(), Server: v.ID, Hash: [32]byte{1, 2}, Created: Now(), Expires: Now().Add(time.Hour)}
	must(t, s.PutServer(ctx, v, []identity.Credential{c}, change(v, "server.add", Now())))
	servers, creds, err := s.Identities(ctx)
	must(t, err)
	equal(t, "servers", servers, []identity.Server{v})
	equal(t, "credentials", creds, []identity.Credential{c})

	v.Name, v.Mode, v.Status, v.Command = "diary", identity.ModeAlert, identity.StatusRevoked, nil
	v.Formerly = []identity.Name{"calendar", "agenda"}
	c.Revoked = Now()
	more := identity.Credential{ID: newID(), Server: v.ID, Hash: [32]byte{3}, Created: Now().Add(time.Second)}
	must(t, s.PutServer(ctx, v, []identity.Credential{c, more}, change(v, "server.rename", Now().Add(time.Second))))
	servers, creds, err = s.Identities(ctx)
	must(t, err)
	equal(t, "servers after a change", servers, []identity.Server{v})
	equal(t, "credentials after a change", creds, []identity.Credential{c, more})

	trail := got(s.Audit(ctx, store.AuditQuery{}))(t)
	equal(t, "audit trail", trail.Items, []identity.Change{
		change(v, "server.rename", Now().Add(time.Second)),
		{At: Now(), Actor: "cli:1000", Action: "server.add", Server: v.ID, Name: "calendar", Detail: "by a test"},
	})
}

func uniqueNames(t *testing.T, s Store) {
	ctx := t.Context()
	first := server(t, s, "mail")
	second := first
	second.ID = newID()
	is(t, s.PutServer(ctx, second, nil, change(second, "server.add", Now())), identity.ErrExists)
	second.Owner = "bob"
	must(t, s.PutServer(ctx, second, nil, change(second, "server.add", Now())))
	second.Owner = ""
	is(t, s.PutServer(ctx, second, nil, change(second, "server.rename", Now())), identity.ErrExists)
	if n := len(got(s.Audit(ctx, store.AuditQuery{}))(t).Items); n != 2 {
		t.Errorf("the audit trail has %d records, want 2: what failed must leave none", n)
	}
}

// expiredCredentials: a change of a server takes along its own credentials that
// had expired by then, and no other.
func expiredCredentials(t *testing.T, s Store) {
	ctx := t.Context()
	v, other := server(t, s, "notes"), server(t, s, "mail")
	made := 0
	cred := func(v identity.Server, expires time.Time) identity.Credential {
		made++
		return identity.Credential{ID: newID(), Server: v.ID, Hash: [32]byte{byte(made)}, Created: Now(), Expires: expires}
	}
	soon, later, never := cred(v, Now().Add(time.Second)), cred(v, Now().Add(2*time.Second)), cred(v, time.Time{})
	revoked := cred(v, time.Time{})
	revoked.Revoked = Now()
	foreign := cred(other, soon.Expires)
	must(t, s.PutServer(ctx, v, []identity.Credential{soon, later, never, revoked}, change(v, "server.rotate", Now())))
	must(t, s.PutServer(ctx, other, []identity.Credential{foreign}, change(other, "server.rotate", Now())))
	check := func(when string, want ...identity.Credential) {
		t.Helper()
		_, creds, err := s.Identities(ctx)
		must(t, err)
		equal(t, "credentials "+when, creds, want)
	}
	check("before any expired", soon, later, never, revoked, foreign)
	is(t, s.PutServer(ctx, identity.Server{ID: v.ID, Name: other.Name}, nil, change(v, "server.rename", Now().Add(time.Hour))), identity.ErrExists)
	check("after a change that failed", soon, later, never, revoked, foreign)
	must(t, s.PutServer(ctx, v, nil, change(v, "server.mode", soon.Expires)))
	check("when the first has expired", later, never, revoked, foreign)
	late := cred(v, Now())
	must(t, s.PutServer(ctx, v, []identity.Credential{late}, change(v, "server.rotate", soon.Expires)))
	check("after one that is given too late", later, never, revoked, foreign)
}

func removing(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "notes")
	cred := identity.Credential{ID: newID(), Server: v.ID, Hash: [32]byte{9}, Created: Now()}
	must(t, s.PutServer(ctx, v, []identity.Credential{cred}, change(v, "server.rotate", Now())))
	must(t, s.Decide(ctx, v.ID, 1, []baseline.Entry{approved(v, "api.example.com")}, change(v, "baseline.approve", Now())))
	f := closedFlow(v, "api.example.com", Now())
	save(t, s, f)
	a := newAlert(v, "evil.example", Now())
	must(t, s.InsertAlert(ctx, a))

	must(t, s.RemoveServer(ctx, v.ID, change(v, "server.remove", Now())))
	servers, creds, err := s.Identities(ctx)
	must(t, err)
	entries, versions, err := s.Baselines(ctx)
	must(t, err)
	if len(servers)+len(creds)+len(entries)+len(versions) != 0 {
		t.Errorf("something is left: %v %v %v %v", servers, creds, entries, versions)
	}
	equal(t, "flow", got(s.Flow(ctx, f.ID))(t), f)
	equal(t, "alert", got(s.Alert(ctx, a.ID))(t), a)
	equal(t, "name of its destination", got(s.Destinations(ctx, store.DestinationQuery{}))(t).Items[0].Server, v.Name)
	is(t, s.RemoveServer(ctx, v.ID, change(v, "server.remove", Now())), identity.ErrUnknownServer)
	server(t, s, "notes") // its name is free again
}

func approved(v identity.Server, host baseline.Pattern) baseline.Entry {
	return baseline.Entry{
		ID: newID(), Server: v.ID, Host: host, Port: 443, State: baseline.Approved, Grades: []flow.Grade{flow.GradeVerified},
		DecidedBy: "cli:1000", DecidedAt: Now(), Note: "needed",
	}
}

func candidate(v identity.Server, host baseline.Pattern, flows int64) baseline.Entry {
	return baseline.Entry{
		ID: newID(), Server: v.ID, Host: host, Port: 443, State: baseline.Candidate,
		Grades: []flow.Grade{flow.GradeVerified, flow.GradeNoSNI}, Phases: []flow.Phase{"idle", "startup"},
		Networks: []flow.Place{{ASN: 64500, Org: "Example Networks", Country: "CH"}},
		UsualUp:  700, FirstSeen: Now(), LastSeen: Now().Add(time.Minute), Flows: flows,
	}
}

func decisions(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	e := candidate(v, "api.example.com", 3)
	must(t, s.SaveBatch(ctx, record.Batch{Entries: []baseline.Entry{e}}))
	e.State, e.DecidedBy, e.DecidedAt, e.Note = baseline.Rejected, "web:1", Now(), "not ours"
	wild := approved(v, "*.example.org")
	must(t, s.Decide(ctx, v.ID, 7, []baseline.Entry{e, wild}, change(v, "baseline.reject", Now())))
	entries, versions, err := s.Baselines(ctx)
	must(t, err)
	equal(t, "versions", versions, map[identity.ID]int64{v.ID: 7})
	equal(t, "entries", byHost(entries), map[baseline.Pattern]baseline.Entry{e.Host: e, wild.Host: wild})

	again := wild // the same host and port under another ID is the same entry
	again.ID, again.Note = newID(), "again"
	must(t, s.Decide(ctx, v.ID, 8, []baseline.Entry{again}, change(v, "baseline.approve", Now())))
	entries, _, err = s.Baselines(ctx)
	must(t, err)
	equal(t, "entries", byHost(entries), map[baseline.Pattern]baseline.Entry{e.Host: e, wild.Host: again})
	is(t, s.Decide(ctx, newID(), 1, nil, identity.Change{}), identity.ErrUnknownServer)
}

func byHost(entries []baseline.Entry) map[baseline.Pattern]baseline.Entry {
	m := map[baseline.Pattern]baseline.Entry{}
	for _, e := range entries {
		m[e.Host] = e
	}
	return m
}

func entry(t *testing.T, s Store) baseline.Entry {
	t.Helper()
	entries, _, err := s.Baselines(t.Context())
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("there are %d entries, want 1", len(entries))
	}
	return entries[0]
}

func learningNeverDecides(t *testing.T, s Store) {
	ctx := t.Context()
	v := server(t, s, "maps")
	sly := candidate(v, "api.example.com", 1)
	sly.State, sly.DecidedBy, sly.DecidedAt = baseline.Approved, "nobody", Now()
	must(t, s.SaveBatch(ctx, record.Batch{Entries: []baseline.Entry{sly}}))
	want := candidate(v, "api.example.com", 1)
	want.ID = sly.ID
	equal(t, "a new entry", entry(t, s), want)

	want.Grades, want.Flows = []flow.Grade{flow.GradeVerified}, 2
	must(t, s.SaveBatch(ctx, record.Batch{Entries: []baseline.Entry{want}}))
	equal(t, "a candidate's statistics", entry(t, s), want)

	want.State, want.DecidedBy, want.DecidedAt, want.Note = baseline.Approved, "cli:1000", Now(), "yes"
	must(t, s.Decide(ctx, v.ID, 1, []baseline.Entry{want}, change(v, "baseline.approve", Now())))
	more := candidate(v, "api.example.com", 9)
	more.ID, more.UsualUp = want.ID, 900
	must(t, s.SaveBatch(ctx, record.Batch{Entries: []baseline.Entry{more}}))
	want.Flows, want.UsualUp = 9, 900
	equal(t, "an approved entry", entry(t, s), want)
}

func lateStatistics(t *testing.T, s Store) {
	v := server(t, s, "maps")
	now, late := candidate(v, "api.example.com", 9), candidate(v, "api.example.com", 4)
	late.ID, late.UsualUp = now.ID, 1
	must(t, s.SaveBatch(t.Context(), record.Batch{Entries: []baseline.Entry{now, late}}))
	equal(t, "entry", entry(t, s), now)
}

func learningRemoved(t *testing.T, s Store) {
	gone := identity.Server{ID: newID(), Name: "gone"}
	f := closedFlow(gone, "api.example.com", Now())
	must(t, s.SaveBatch(t.Context(), record.Batch{Flows: []flow.Flow{f}, Entries: []baseline.Entry{candidate(gone, "api.example.com", 1)}}))
	entries, _, err := s.Baselines(t.Context())
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("a removed server has a baseline: %v", entries)
	}
	equal(t, "its flow", got(s.Flow(t.Context(), f.ID))(t), f)
}
