package baseline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// memory is a Store without a disk.
type memory struct {
	mu       sync.Mutex
	entries  map[uuid.UUID]baseline.Entry
	versions map[identity.ID]int64
	changes  []identity.Change
	fail     error
	// entered, if set, is closed when Decide begins, which then waits for leave.
	entered, leave chan struct{}
}

func newMemory() *memory {
	return &memory{entries: make(map[uuid.UUID]baseline.Entry), versions: make(map[identity.ID]int64)}
}

func (m *memory) Baselines(context.Context) ([]baseline.Entry, map[identity.ID]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []baseline.Entry
	for _, e := range m.entries {
		entries = append(entries, e)
	}
	return entries, m.versions, m.fail
}

func (m *memory) Decide(_ context.Context, id identity.ID, version int64, entries []baseline.Entry, c identity.Change) error {
	if m.entered != nil {
		close(m.entered)
		<-m.leave
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for _, e := range entries {
		m.entries[e.ID] = e
	}
	m.versions[id] = version
	m.changes = append(m.changes, c)
	return nil
}

// save does what the store does with the entries of a record.Batch.
func (m *memory) save(entries []baseline.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if old, ok := m.entries[e.ID]; ok {
			e.State, e.DecidedBy, e.DecidedAt, e.Note = old.State, old.DecidedBy, old.DecidedAt, old.Note
			if old.State != baseline.Candidate {
				e.Grades = old.Grades
			}
		}
		m.entries[e.ID] = e
	}
}

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func newBook(t testing.TB, m *memory) *baseline.Book {
	t.Helper()
	b, err := baseline.NewBook(t.Context(), baseline.BookConfig{Store: m, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var server = identity.Server{ID: uuid.MustParse("01931234-0000-7000-8000-000000000001"), Name: "calendar", Mode: identity.ModeLearn}

// seen is a flow to host:443 that ended.
func seen(host string) flow.Flow {
	return flow.Flow{
		ServerID: server.ID, Server: server.Name, Mode: identity.ModeLearn, Host: host, Port: 443, Verdict: flow.Allowed,
		Opened: start, Closed: start.Add(time.Second), Grade: flow.GradeVerified, Phase: flow.PhaseUnknown,
		BytesUp: 800, End: flow.EndClient,
	}
}

func targets(t testing.TB, names ...string) []baseline.Target {
	t.Helper()
	var all []baseline.Target
	for _, n := range names {
		target, err := baseline.ParseTarget(n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, target)
	}
	return all
}

func approve(t testing.TB, b *baseline.Book, names ...string) []baseline.Entry {
	t.Helper()
	entries, err := b.Approve(t.Context(), server, targets(t, names...), baseline.Decision{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func reject(t testing.TB, b *baseline.Book, names ...string) {
	t.Helper()
	if _, err := b.Reject(t.Context(), server, targets(t, names...), baseline.Decision{}, "test"); err != nil {
		t.Fatal(err)
	}
}

func state(b *baseline.Book, host string) baseline.State {
	return b.Match(server.ID, flow.Destination{Host: host, Port: 443}).State
}

func TestPrecedence(t *testing.T) {
	rows := []struct {
		name              string
		approve, rejected []string
		want              map[string]baseline.State
	}{
		{"exact", []string{"a.example.com"}, nil, map[string]baseline.State{
			"a.example.com": baseline.Approved, "b.a.example.com": baseline.None, "example.com": baseline.None,
		}},
		{"wildcard", []string{"*.example.com"}, nil, map[string]baseline.State{
			"a.example.com": baseline.Approved, "b.a.example.com": baseline.Approved, "example.com": baseline.None, "aexample.com": baseline.None,
		}},
		{"approved inside rejected", []string{"a.example.com"}, []string{"*.example.com"}, map[string]baseline.State{
			"a.example.com": baseline.Approved, "b.example.com": baseline.Rejected, "b.a.example.com": baseline.Rejected,
		}},
		{"rejected inside approved", []string{"*.example.com"}, []string{"a.example.com"}, map[string]baseline.State{
			"a.example.com": baseline.Rejected, "b.example.com": baseline.Approved, "b.a.example.com": baseline.Approved,
		}},
		{"a rejected wildcard above an approved one", []string{"*.a.example.com"}, []string{"*.example.com"}, map[string]baseline.State{
			"x.a.example.com": baseline.Rejected, "b.example.com": baseline.Rejected,
		}},
		{"a rejected wildcard below an approved one", []string{"*.example.com"}, []string{"*.a.example.com"}, map[string]baseline.State{
			"x.a.example.com": baseline.Rejected, "a.example.com": baseline.Approved,
		}},
		{"another port", []string{"a.example.com:8443"}, []string{"*.example.org:80"}, map[string]baseline.State{
			"a.example.com": baseline.None, "a.example.org": baseline.None,
		}},
		{"addresses", []string{"1.2.3.4", "[2606:4700::1]"}, nil, map[string]baseline.State{
			"1.2.3.4": baseline.Approved, "2606:4700::1": baseline.Approved, "2606:4700::2": baseline.None,
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			m := newMemory()
			b := newBook(t, m)
			approve(t, b, r.approve...)
			if r.rejected != nil {
				reject(t, b, r.rejected...)
			}
			for _, b := range []*baseline.Book{b, newBook(t, m)} { // and after a restart
				for host, want := range r.want {
					if got := state(b, host); got != want {
						t.Errorf("%s: %q, want %q", host, got, want)
					}
				}
			}
			if got := b.Match(uuid.New(), flow.Destination{Host: "a.example.com", Port: 443}); got != (baseline.Match{}) {
				t.Errorf("another server has %+v", got)
			}
		})
	}
}

// TestWildcardGrades: among approved wildcards the most specific one says
// which grades are accepted.
func TestWildcardGrades(t *testing.T) {
	b := newBook(t, newMemory())
	approve(t, b, "*.example.com")
	_, err := b.Approve(t.Context(), server, targets(t, "*.a.example.com"), baseline.Decision{Grades: []flow.Grade{flow.GradeNoSNI}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"x.a.example.com": true, "x.y.a.example.com": true, "x.b.example.com": false, "a.example.com": false} {
		m := b.Match(server.ID, flow.Destination{Host: host, Port: 443})
		if m.Grades.Has(flow.GradeNoSNI) != want || !m.Grades.Has(flow.GradeVerified) {
			t.Errorf("%s: %v", host, m.Grades.Grades())
		}
	}
}

func TestGradesOfApproval(t *testing.T) {
	sni := flow.GradeSNIDiffers
	rows := []struct {
		name  string
		host  string
		seen  []flow.Grade
		given []flow.Grade
		want  []flow.Grade
	}{
		{"never seen", "a.example.com", nil, nil, []flow.Grade{flow.GradeVerified}},
		{"what was seen adds nothing", "a.example.com", []flow.Grade{flow.GradeNotTLS, flow.GradeNoSNI, flow.GradeHidden}, nil, []flow.Grade{flow.GradeVerified}},
		{"given as seen", "a.example.com", []flow.Grade{flow.GradeNotTLS}, []flow.Grade{flow.GradeNotTLS}, []flow.Grade{flow.GradeVerified, flow.GradeNotTLS}},
		{"never an SNI that differs", "a.example.com", []flow.Grade{flow.GradeVerified, sni}, nil, []flow.Grade{flow.GradeVerified}},
		{"less than seen", "a.example.com", []flow.Grade{flow.GradeVerified, flow.GradeHidden}, []flow.Grade{}, []flow.Grade{flow.GradeVerified}},
		{"as given", "a.example.com", []flow.Grade{flow.GradeHidden}, []flow.Grade{flow.GradeNoSNI}, []flow.Grade{flow.GradeVerified, flow.GradeNoSNI}},
		{"IP literal that was seen", "93.184.216.34", []flow.Grade{flow.GradeIPLiteral, flow.GradeNotTLS}, nil, []flow.Grade{flow.GradeVerified, flow.GradeIPLiteral}},
		{"IP literal", "93.184.216.34", nil, nil, []flow.Grade{flow.GradeVerified, flow.GradeIPLiteral}},
		{"IP literal, given", "93.184.216.34", nil, []flow.Grade{flow.GradeNotTLS}, []flow.Grade{flow.GradeVerified, flow.GradeIPLiteral, flow.GradeNotTLS}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b := newBook(t, newMemory())
			for _, g := range r.seen {
				f := seen(r.host)
				f.Grade = g
				b.Observe(f)
			}
			entries, err := b.Approve(t.Context(), server, targets(t, r.host), baseline.Decision{Grades: r.given}, "test")
			if err != nil {
				t.Fatal(err)
			}
			m := b.Match(server.ID, flow.Destination{Host: r.host, Port: 443})
			if !slices.Equal(m.Grades.Grades(), r.want) || !slices.Equal(entries[0].Grades, r.want) {
				t.Errorf("accepts %v, entry has %v, want %v", m.Grades.Grades(), entries[0].Grades, r.want)
			}
		})
	}
}

// TestApprovingAgain: an approval without grades takes away nothing that a
// person accepted, and adds nothing that a rejected entry was seen with.
func TestApprovingAgain(t *testing.T) {
	no, not := flow.GradeNoSNI, flow.GradeNotTLS
	b := newBook(t, newMemory())
	f := seen("a.example.com")
	f.Grade = not
	b.Observe(f)
	reject(t, b, "a.example.com")
	for i, step := range []struct{ given, want []flow.Grade }{
		{nil, []flow.Grade{flow.GradeVerified}},
		{[]flow.Grade{no}, []flow.Grade{flow.GradeVerified, no}},
		{nil, []flow.Grade{flow.GradeVerified, no}},
		{[]flow.Grade{}, []flow.Grade{flow.GradeVerified, no}},
		{[]flow.Grade{not}, []flow.Grade{flow.GradeVerified, not}},
		{[]flow.Grade{flow.GradeVerified}, []flow.Grade{flow.GradeVerified}},
	} {
		b.Observe(f) // which must not count once it was decided
		_, err := b.Approve(t.Context(), server, targets(t, "a.example.com"), baseline.Decision{Grades: step.given}, "test")
		if err != nil {
			t.Fatal(err)
		}
		m := b.Match(server.ID, flow.Destination{Host: "a.example.com", Port: 443})
		if !slices.Equal(m.Grades.Grades(), step.want) {
			t.Errorf("step %d: accepts %v, want %v", i, m.Grades.Grades(), step.want)
		}
	}
}

func TestDecideRefuses(t *testing.T) {
	b := newBook(t, newMemory())
	ok := targets(t, "a.example.com")
	rows := []struct {
		name    string
		targets []baseline.Target
		d       baseline.Decision
		want    error
	}{
		{"nothing", nil, baseline.Decision{}, baseline.ErrNoTarget},
		{"a made-up wildcard", []baseline.Target{{Host: "*.com", Port: 443}}, baseline.Decision{}, baseline.ErrSharedHosting},
		{"not canonical", []baseline.Target{{Host: "A.example.com", Port: 443}}, baseline.Decision{}, baseline.ErrBadPattern},
		{"no port", []baseline.Target{{Host: "a.example.com"}}, baseline.Decision{}, baseline.ErrBadPattern},
		{"SNI differs", ok, baseline.Decision{Grades: []flow.Grade{flow.GradeSNIDiffers}}, baseline.ErrBadGrade},
		{"unknown grade", ok, baseline.Decision{Grades: []flow.Grade{"fine"}}, baseline.ErrBadGrade},
		{"empty grade", ok, baseline.Decision{Grades: []flow.Grade{""}}, baseline.ErrBadGrade},
	}
	for _, r := range rows {
		if _, err := b.Approve(t.Context(), server, r.targets, r.d, "test"); !errors.Is(err, r.want) {
			t.Errorf("%s: %v, want %v", r.name, err, r.want)
		}
	}
	if b.Version(server.ID) != 0 || len(b.Entries(server.ID)) != 0 {
		t.Error("a refused decision left something")
	}
}

func TestDecisionIsRecorded(t *testing.T) {
	m := newMemory()
	b := newBook(t, m)
	b.Observe(seen("a.example.com"))
	d := baseline.Decision{Note: "the provider"}
	entries, err := b.Approve(t.Context(), server, targets(t, "a.example.com", "b.example.com:8443", "a.example.com"), d, "cli:1000")
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %d entries, want 2", err, len(entries))
	}
	e := entries[0]
	if e.State != baseline.Approved || e.DecidedBy != "cli:1000" || !e.DecidedAt.Equal(start) || e.Note != d.Note || e.Flows != 1 || e.UsualUp != 800 {
		t.Errorf("entry %+v", e)
	}
	if entries[1].Flows != 0 || !entries[1].FirstSeen.IsZero() {
		t.Errorf("never seen, but %+v", entries[1])
	}
	reject(t, b, "c.example.com")
	if b.Version(server.ID) != 2 || m.versions[server.ID] != 2 || b.Approved(server.ID) != 2 {
		t.Errorf("version %d, stored %d, %d approved", b.Version(server.ID), m.versions[server.ID], b.Approved(server.ID))
	}
	c := m.changes[0]
	if c.Action != "baseline.approve" || c.Actor != "cli:1000" || c.Name != "calendar" || c.Detail != "a.example.com:443, b.example.com:8443" {
		t.Errorf("change %+v", c)
	}
	if m.changes[1].Action != "baseline.reject" {
		t.Errorf("change %+v", m.changes[1])
	}
	b = newBook(t, m)
	if b.Version(server.ID) != 2 || len(b.Entries(server.ID)) != 3 {
		t.Errorf("after a restart: version %d, %d entries", b.Version(server.ID), len(b.Entries(server.ID)))
	}
}

// TestStoreFirst: a decision that the store did not take is not in force.
func TestStoreFirst(t *testing.T) {
	m := newMemory()
	b := newBook(t, m)
	b.Observe(seen("a.example.com"))
	m.fail = errors.New("disk full")
	if _, err := b.Approve(t.Context(), server, targets(t, "a.example.com", "b.example.com"), baseline.Decision{}, "test"); !errors.Is(err, m.fail) {
		t.Errorf("%v", err)
	}
	if state(b, "a.example.com") != baseline.Candidate || state(b, "b.example.com") != baseline.None || b.Version(server.ID) != 0 {
		t.Error("in force although not stored")
	}
	if _, err := baseline.NewBook(t.Context(), baseline.BookConfig{Store: m}); !errors.Is(err, m.fail) {
		t.Errorf("loading: %v", err)
	}
}

func TestObserve(t *testing.T) {
	b := newBook(t, newMemory())
	f := seen("a.example.com")
	f.Closed, f.End, f.BytesUp = time.Time{}, "", 0
	open := b.Observe(f)
	if len(open) != 1 || open[0].State != baseline.Candidate || open[0].Flows != 0 || open[0].UsualUp != 0 {
		t.Fatalf("when it opens: %+v", open)
	}
	f = seen("a.example.com")
	f.Place = flow.Place{ASN: 64500, Org: "Example", Country: "DE"}
	first := b.Observe(f)[0]
	if first.ID != open[0].ID || first.Flows != 1 || first.UsualUp != 800 || !first.LastSeen.Equal(f.Closed) || !first.FirstSeen.Equal(start) {
		t.Errorf("when it ends: %+v", first)
	}
	f.BytesUp, f.Grade, f.Phase, f.Opened, f.Closed = 1600, flow.GradeNoSNI, "tool:send", start.Add(time.Minute), start.Add(2*time.Minute)
	f.Place = flow.Place{ASN: 64400, Org: "Other", Country: "FR"}
	second := b.Observe(f)[0]
	if second.Flows != 2 || second.UsualUp != 900 || !second.FirstSeen.Equal(start) || !second.LastSeen.Equal(f.Closed) {
		t.Errorf("the second: %+v", second)
	}
	if !slices.Equal(second.Grades, []flow.Grade{flow.GradeVerified, flow.GradeNoSNI}) || !slices.Equal(second.Phases, []flow.Phase{"tool:send", "unknown"}) {
		t.Errorf("the second: %v %v", second.Grades, second.Phases)
	}
	if len(second.Networks) != 2 || second.Networks[0].ASN != 64400 || len(first.Networks) != 1 {
		t.Errorf("networks %v, and of the copy before %v", second.Networks, first.Networks)
	}
	failed := seen("a.example.com")
	failed.End, failed.BytesUp = flow.EndFailed, 0
	if e := b.Observe(failed)[0]; e.UsualUp != 900 || e.Flows != 3 {
		t.Errorf("a flow that failed: %+v", e)
	}
}

// TestWhatMakesNoCandidate: only what was let through outside block mode does.
func TestWhatMakesNoCandidate(t *testing.T) {
	b := newBook(t, newMemory())
	for name, change := range map[string]func(*flow.Flow){
		"refused":    func(f *flow.Flow) { f.Verdict = flow.Refused },
		"block mode": func(f *flow.Flow) { f.Mode = identity.ModeBlock },
		"no mode":    func(f *flow.Flow) { f.Mode = "" },
		"no host":    func(f *flow.Flow) { f.Host = "" },
	} {
		f := seen("a.example.com")
		change(&f)
		if got := b.Observe(f); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	f := seen("a.example.com")
	f.Mode = identity.ModeAlert
	if b.Observe(f) == nil {
		t.Error("alert mode makes no candidate")
	}
}

// TestObserveDecided: traffic changes neither the state nor the grades of what
// was decided, and a wildcard's traffic is counted to the wildcard.
func TestObserveDecided(t *testing.T) {
	b := newBook(t, newMemory())
	b.Observe(seen("a.example.com"))
	b.Observe(seen("b.example.org"))
	approve(t, b, "*.example.com", "a.example.net")
	reject(t, b, "b.example.org")
	for _, host := range []string{"a.example.com", "new.example.com", "a.example.net", "b.example.org"} {
		f := seen(host)
		f.Grade = flow.GradeHidden
		e := b.Observe(f)[0]
		if e.State == baseline.Candidate || slices.Contains(e.Grades, flow.GradeHidden) {
			t.Errorf("%s: %+v", host, e)
		}
		if strings.HasSuffix(host, "example.com") && e.Host != "*.example.com" {
			t.Errorf("%s was counted to %s", host, e.Host)
		}
	}
	var hosts []string
	for _, e := range b.Entries(server.ID) {
		hosts = append(hosts, string(e.Host))
	}
	if want := []string{"*.example.com", "a.example.net", "b.example.org"}; !slices.Equal(hosts, want) {
		t.Errorf("entries %v, want %v", hosts, want)
	}
}

func TestEntriesOrder(t *testing.T) {
	b := newBook(t, newMemory())
	approve(t, b, "a.example.com", "c.example.com")
	for _, host := range []string{"z.example.com", "b.example.com"} {
		b.Observe(seen(host))
	}
	f := seen("b.example.com")
	f.Port = 80
	b.Observe(f)
	var got []string
	for _, e := range b.Entries(server.ID) {
		got = append(got, fmt.Sprintf("%s:%d", e.Host, e.Port))
	}
	if want := []string{"b.example.com:80", "b.example.com:443", "z.example.com:443", "a.example.com:443", "c.example.com:443"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestFlood: however many destinations a server makes up, the memory is
// bounded, the rest is counted, and what was decided stays.
func TestFlood(t *testing.T) {
	b := newBook(t, newMemory())
	approve(t, b, "api.example.com")
	for i := range baseline.MaxCandidates + 100 {
		b.Observe(seen(fmt.Sprintf("x%d.evil.net", i)))
	}
	if n, over := len(b.Entries(server.ID)), b.Overflow(server.ID); n != baseline.MaxCandidates+1 || over != 100 {
		t.Errorf("%d entries, %d over", n, over)
	}
	if state(b, "api.example.com") != baseline.Approved || state(b, "x0.evil.net") != baseline.Candidate {
		t.Error("something was evicted")
	}
	approve(t, b, fmt.Sprintf("x%d.evil.net", baseline.MaxCandidates+50)) // never kept, still decidable
	reject(t, b, "x1.evil.net")                                           // makes room for one
	if b.Observe(seen("room.example.net")) == nil || b.Observe(seen("full.example.net")) != nil {
		t.Error("a decision frees one place")
	}
	f := seen("api.example.com")
	for i := range 100 {
		f.Place = flow.Place{ASN: uint32(i + 1)}
		f.Phase = flow.Phase(fmt.Sprintf("tool:%d", i))
		b.Observe(f)
	}
	if e := b.Observe(f)[0]; len(e.Networks) != 32 || len(e.Phases) != 64 {
		t.Errorf("%d networks, %d phases", len(e.Networks), len(e.Phases))
	}
}

func TestForget(t *testing.T) {
	b := newBook(t, newMemory())
	approve(t, b, "a.example.com")
	b.Forget(server.ID)
	if state(b, "a.example.com") != baseline.None || len(b.Entries(server.ID)) != 0 {
		t.Error("not forgotten")
	}
	if got := b.Observe(seen("late.example.com")); got != nil {
		t.Errorf("a late flow made %+v", got)
	}
	if _, err := b.Approve(t.Context(), server, targets(t, "a.example.com"), baseline.Decision{}, "test"); !errors.Is(err, identity.ErrUnknownServer) {
		t.Errorf("approve: %v", err)
	}
}

// TestStaleWildcard: an approved wildcard that a newer list calls shared hosting
// is not in force any more, and a rejected one still is.
func TestStaleWildcard(t *testing.T) {
	m := newMemory()
	for _, e := range []baseline.Entry{
		{Host: "*.workers.dev", State: baseline.Approved}, {Host: "*.vercel.app", State: baseline.Rejected},
		{Host: "*.com", State: baseline.Rejected}, {Host: "a.example.org", State: "trusted"},
	} {
		e.ID, e.Server, e.Port = uuid.New(), server.ID, 443
		m.entries[e.ID] = e
	}
	b := newBook(t, m)
	for host, want := range map[string]baseline.State{
		"x.workers.dev": baseline.None, "x.vercel.app": baseline.Rejected, "x.com": baseline.Rejected, "a.example.org": baseline.Candidate,
	} {
		if got := state(b, host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

// TestDecisionInFlight: while a decision is being written, traffic goes on, is
// not lost, and can't undo it.
func TestDecisionInFlight(t *testing.T) {
	m := newMemory()
	b := newBook(t, m)
	b.Observe(seen("a.example.com"))
	m.entered, m.leave = make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := b.Approve(t.Context(), server, targets(t, "a.example.com", "new.example.com"), baseline.Decision{}, "test")
		done <- err
	}()
	<-m.entered
	f := seen("a.example.com")
	f.Grade = flow.GradeHidden // came too late to be part of what was decided
	m.save(b.Observe(f))
	m.save(b.Observe(seen("new.example.com")))
	if state(b, "a.example.com") != baseline.Candidate || state(b, "new.example.com") != baseline.Candidate {
		t.Error("in force before it was stored")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Reject(ctx, server, targets(t, "c.example.com"), baseline.Decision{}, "test"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the other decision: %v", err)
	}
	close(m.leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	entries := b.Entries(server.ID)
	if len(entries) != 2 || len(m.entries) != 2 {
		t.Fatalf("%d entries, %d stored, want 2: traffic made a second one", len(entries), len(m.entries))
	}
	for i, flows := range []int64{2, 1} {
		if e := entries[i]; e.State != baseline.Approved || e.Flows != flows || slices.Contains(e.Grades, flow.GradeHidden) || m.entries[e.ID].State != baseline.Approved {
			t.Errorf("%+v", e)
		}
	}
}

// traffic makes flows to n hosts until stop is closed.
func traffic(b *baseline.Book, m *memory, n int, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
			m.save(b.Observe(seen(numbered(i % n))))
		}
	}
}

func numbered(i int) string { return fmt.Sprintf("h%d.example.com", i) }

// verdict is what people say of the numbered hosts.
func verdict(i int) baseline.State {
	if i%3 == 0 {
		return baseline.Rejected
	}
	return baseline.Approved
}

// say decides about a host.
func say(b *baseline.Book, host string, to baseline.State) error {
	decide := b.Approve
	if to == baseline.Rejected {
		decide = b.Reject
	}
	_, err := decide(context.Background(), server, []baseline.Target{{Host: baseline.Pattern(host), Port: 443}}, baseline.Decision{}, "test")
	return err
}

// TestDecisionsHoldUnderTraffic has traffic and decisions at the same time: a
// decision that returned is in force at once and for good.
func TestDecisionsHoldUnderTraffic(t *testing.T) {
	const hosts = 200
	m := newMemory()
	b := newBook(t, m)
	stop := make(chan struct{})
	var flows, people sync.WaitGroup
	for range 3 {
		flows.Go(func() { traffic(b, m, hosts, stop) })
	}
	for p := range 2 {
		people.Go(func() {
			for i := p; i < hosts; i += 2 {
				err := say(b, numbered(i), verdict(i))
				if got := state(b, numbered(i)); err != nil || got != verdict(i) {
					t.Errorf("%s is %q just after it was %s: %v", numbered(i), got, verdict(i), err)
				}
			}
		})
	}
	people.Wait()
	close(stop)
	flows.Wait()
	for _, b := range []*baseline.Book{b, newBook(t, m)} {
		for i := range hosts {
			if got := state(b, numbered(i)); got != verdict(i) {
				t.Errorf("%s is %q in the end, was decided %q", numbered(i), got, verdict(i))
			}
		}
		if got := b.Version(server.ID); got != hosts {
			t.Errorf("version %d, want %d", got, hosts)
		}
	}
}

// life is a book with what people have said of its hosts.
type life struct {
	m    *memory
	b    *baseline.Book
	said map[string]baseline.State
}

func lifeHosts() []string {
	return []string{"a.example.com", "b.example.com", "x.a.example.com", "1.2.3.4"}
}

// TestOnlyPeopleDecide: whatever traffic there is, in whatever order with
// decisions, a state is only ever what a person last said of it, or candidate.
func TestOnlyPeopleDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{m: newMemory(), said: make(map[string]baseline.State)}
		l.restart(t)
		t.Repeat(map[string]func(*rapid.T){"observe": l.observe, "decide": l.decide, "restart": l.restart, "": l.check})
	})
}

func (l *life) restart(t *rapid.T) {
	b, err := baseline.NewBook(context.Background(), baseline.BookConfig{Store: l.m})
	if err != nil {
		t.Fatal(err)
	}
	l.b = b
}

func (l *life) observe(t *rapid.T) {
	f := seen(rapid.SampledFrom(lifeHosts()).Draw(t, "host"))
	f.Mode = rapid.SampledFrom([]identity.Mode{identity.ModeLearn, identity.ModeAlert, identity.ModeBlock, ""}).Draw(t, "mode")
	f.Verdict = rapid.SampledFrom([]flow.Verdict{flow.Allowed, flow.Refused}).Draw(t, "verdict")
	f.Grade = rapid.SampledFrom([]flow.Grade{"", flow.GradeVerified, flow.GradeNoSNI, flow.GradeSNIDiffers}).Draw(t, "grade")
	f.Reason = rapid.SampledFrom([]flow.Reason{flow.ReasonApproved, flow.ReasonLearning}).Draw(t, "reason")
	f.BytesUp = rapid.Int64Min(0).Draw(t, "up")
	if rapid.Bool().Draw(t, "open") {
		f.Closed = time.Time{}
	}
	l.m.save(l.b.Observe(f))
}

func (l *life) decide(t *rapid.T) {
	host := rapid.SampledFrom(lifeHosts()).Draw(t, "host")
	to := rapid.SampledFrom([]baseline.State{baseline.Approved, baseline.Rejected}).Draw(t, "to")
	if err := say(l.b, host, to); err != nil {
		t.Fatal(err)
	}
	l.said[host] = to
}

func (l *life) check(t *rapid.T) {
	for _, host := range lifeHosts() {
		match := l.b.Match(server.ID, flow.Destination{Host: host, Port: 443})
		want, decided := l.said[host]
		if decided && match.State != want {
			t.Fatalf("%s is %q, people said %q", host, match.State, want)
		}
		if !decided && match.State != baseline.None && match.State != baseline.Candidate {
			t.Fatalf("%s is %q, and nobody said so", host, match.State)
		}
		if match.Grades.Has(flow.GradeSNIDiffers) {
			t.Fatalf("%s accepts an SNI that differs", host)
		}
	}
	for _, e := range l.b.Entries(server.ID) {
		if e.UsualUp < 0 || e.LastSeen.Before(e.FirstSeen) {
			t.Fatalf("statistics of %+v", e)
		}
	}
}

func TestGradeSet(t *testing.T) {
	s := baseline.Of(flow.GradeHidden, flow.GradeVerified, "", "nonsense")
	if !slices.Equal(s.Grades(), []flow.Grade{flow.GradeVerified, flow.GradeHidden}) {
		t.Errorf("%v", s.Grades())
	}
	if s.Has("") || s.Has("nonsense") || s.Has(flow.GradeNoSNI) || !s.With(flow.GradeNoSNI).Has(flow.GradeNoSNI) || s.Without(flow.GradeHidden).Has(flow.GradeHidden) {
		t.Error("not a set")
	}
	if baseline.GradeSet(0).Grades() != nil {
		t.Error("the zero set has grades")
	}
}
