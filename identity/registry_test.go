package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
)

// memory is a Store without a disk. Setting fail makes every write fail.
type memory struct {
	mu      sync.Mutex
	servers map[identity.ID]identity.Server
	creds   map[uuid.UUID]identity.Credential
	changes []identity.Change
	fail    error
}

func newMemory() *memory {
	return &memory{servers: make(map[identity.ID]identity.Server), creds: make(map[uuid.UUID]identity.Credential)}
}

func (m *memory) Identities(context.Context) ([]identity.Server, []identity.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, nil, m.fail
	}
	var servers []identity.Server
	for _, s := range m.servers {
		servers = append(servers, s)
	}
	var creds []identity.Credential
	for _, c := range m.creds {
		creds = append(creds, c)
	}
	return servers, creds, nil
}

func (m *memory) PutServer(_ context.Context, s identity.Server, creds []identity.Credential, c identity.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.servers[s.ID] = s
	for _, cred := range creds {
		m.creds[cred.ID] = cred
	}
	m.changes = append(m.changes, c)
	return nil
}

func (m *memory) RemoveServer(_ context.Context, id identity.ID, c identity.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	delete(m.servers, id)
	for k, cred := range m.creds {
		if cred.Server == id {
			delete(m.creds, k)
		}
	}
	m.changes = append(m.changes, c)
	return nil
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// actions returns the words of the audit trail, in order.
func (m *memory) actions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var words []string
	for _, c := range m.changes {
		words = append(words, c.Action)
	}
	return words
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// revocation is one call of Config.Revoked.
type revocation struct {
	server identity.ID
	cred   uuid.UUID
}

// house is a registry with everything around it.
type house struct {
	*identity.Registry
	store *memory
	clock *clock
	mu    sync.Mutex
	cuts  []revocation
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{store: newMemory(), clock: &clock{t: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}}
	h.reload(t)
	return h
}

// reload makes the registry anew from the store, as a restart does.
func (h *house) reload(t testing.TB) {
	t.Helper()
	r, err := identity.NewRegistry(t.Context(), identity.Config{
		Store: h.store, Now: h.clock.Now,
		Revoked: func(id identity.ID, cred uuid.UUID) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cuts = append(h.cuts, revocation{id, cred})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Registry = r
}

func (h *house) revocations() []revocation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.cuts)
}

func (h *house) add(t testing.TB, name identity.Name) (identity.Server, string) {
	t.Helper()
	s, token, err := h.Add(t.Context(), identity.NewServer{Name: name}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s, token
}

var from = netip.MustParseAddr("127.0.0.1")

// wants fails unless the credentials lead to err.
func (h *house) wants(t testing.TB, name, token string, err error) identity.Grant {
	t.Helper()
	g, got := h.Authenticate(name, token, from)
	if !errors.Is(got, err) {
		t.Errorf("authenticate %q: %v, want %v", name, got, err)
	}
	return g
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAuthenticate(t *testing.T) {
	h := newHouse(t)
	s, token := h.add(t, "calendar")
	_, other := h.add(t, "mail")
	if g := h.wants(t, "calendar", token, nil); g.Server.ID != s.ID || g.Credential == uuid.Nil {
		t.Errorf("grant %+v", g)
	}
	for name, pair := range map[string][2]string{
		"no token":            {"calendar", ""},
		"no name":             {"", token},
		"another's token":     {"calendar", other},
		"another's name":      {"mail", token},
		"unknown name":        {"nobody", token},
		"name in capitals":    {"Calendar", token},
		"token in capitals":   {"calendar", strings.ToUpper(token)},
		"a longer token":      {"calendar", token + "a"},
		"a shorter token":     {"calendar", token[:len(token)-1]},
		"a space":             {"calendar", " " + token},
		"NUL in the name":     {"calendar\x00", token},
		"the hash":            {"calendar", fmt.Sprintf("%x", identity.HashToken(token))},
		"a megabyte of token": {"calendar", strings.Repeat("a", 1<<20)},
	} {
		if g, err := h.Authenticate(pair[0], pair[1], netip.Addr{}); err == nil || g.Server.ID != uuid.Nil {
			t.Errorf("%s: let through as %v", name, g.Server.Name)
		}
	}
	if got := h.Failures(); got != 13 {
		t.Errorf("%d failures counted, want 13", got)
	}
	h.wants(t, "calendar", token, nil)
	h.reload(t)
	h.wants(t, "calendar", token, nil)
}

func TestTokenForm(t *testing.T) {
	form := regexp.MustCompile(`^exeat_[a-z2-7]{32}$`)
	seen := make(map[string]bool)
	for range 1000 {
		token := identity.NewToken()
		if !form.MatchString(token) || seen[token] {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
	}
	token := identity.NewToken()
	text := "http://calendar:" + token + "@127.0.0.1:7180 and " + token
	if got := identity.RedactToken(text); strings.Contains(got, token[6:]) || !strings.Contains(got, "@127.0.0.1:7180") {
		t.Errorf("redacted: %s", got)
	}
}

// TestThrottle: wrong tokens are throttled by client address, the right one
// never is, and time heals.
func TestThrottle(t *testing.T) {
	h := newHouse(t)
	_, token := h.add(t, "calendar")
	guess := func(from string) error {
		_, err := h.Authenticate("calendar", identity.NewToken(), netip.MustParseAddr(from))
		return err
	}
	for i := range 10 {
		if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrBadCredential) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	for range 100 {
		if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrThrottled) {
			t.Fatal(err)
		}
		if _, err := h.Authenticate("calendar", token, netip.MustParseAddr("192.0.2.1")); err != nil {
			t.Fatalf("the right token: %v", err)
		}
	}
	if got := h.Failures(); got != 110 {
		t.Errorf("%d failures, want 110", got)
	}
	h.clock.move(6 * time.Second)
	if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrBadCredential) {
		t.Errorf("after a while: %v", err)
	}
	if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrThrottled) {
		t.Errorf("only one for each interval: %v", err)
	}
	h.clock.move(-24 * time.Hour)
	if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrThrottled) {
		t.Errorf("clock set back: %v", err)
	}
	h.clock.move(time.Minute + time.Second)
	if err := guess("192.0.2.1"); !errors.Is(err, identity.ErrBadCredential) {
		t.Errorf("a clock that was set back throttles for ever: %v", err)
	}
}

// TestThrottleManyAddresses: an IPv6 client can't change its address within
// its /64 to get round the throttle.
func TestThrottleManyAddresses(t *testing.T) {
	h := newHouse(t)
	throttled := 0
	for i := range 100 {
		_, err := h.Authenticate("calendar", "exeat_", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)))
		if errors.Is(err, identity.ErrThrottled) {
			throttled++
		}
	}
	if throttled != 90 {
		t.Errorf("%d of 100 throttled, want 90", throttled)
	}
}

func TestRevokeServer(t *testing.T) {
	h := newHouse(t)
	s, token := h.add(t, "calendar")
	must(t, h.Revoke(t.Context(), s.ID, "test"))
	if g := h.wants(t, "calendar", token, identity.ErrRevoked); g.Server.ID != s.ID {
		t.Errorf("the grant of a revoked server is %+v", g)
	}
	h.wants(t, "calendar", identity.NewToken(), identity.ErrBadCredential)
	if got := h.revocations(); !slices.Equal(got, []revocation{{s.ID, uuid.Nil}}) {
		t.Errorf("told: %v", got)
	}
	if _, err := h.Rotate(t.Context(), s.ID, 0, "test"); !errors.Is(err, identity.ErrRevoked) {
		t.Errorf("rotate: %v", err)
	}
	if _, _, _, err := h.Enrol(t.Context(), identity.NewServer{Name: "calendar"}, "test"); !errors.Is(err, identity.ErrRevoked) {
		t.Errorf("enrol: %v", err)
	}
	must(t, h.Revoke(t.Context(), s.ID, "test"))
	if got := h.store.actions(); !slices.Equal(got, []string{"server.add", "server.revoke"}) {
		t.Errorf("audit: %v", got)
	}
	h.reload(t)
	h.wants(t, "calendar", token, identity.ErrRevoked)
}

func TestRevokeCredential(t *testing.T) {
	h := newHouse(t)
	s, first := h.add(t, "calendar")
	second, err := h.Rotate(t.Context(), s.ID, time.Hour, "test")
	must(t, err)
	cred := h.wants(t, "calendar", first, nil).Credential
	must(t, h.RevokeCredential(t.Context(), cred, "test"))
	h.wants(t, "calendar", first, identity.ErrBadCredential)
	h.wants(t, "calendar", second, nil)
	if got := h.revocations(); !slices.Equal(got, []revocation{{s.ID, cred}}) {
		t.Errorf("told: %v", got)
	}
	if err := h.RevokeCredential(t.Context(), uuid.New(), "test"); !errors.Is(err, identity.ErrBadCredential) {
		t.Errorf("an unknown credential: %v", err)
	}
}

func TestRotate(t *testing.T) {
	h := newHouse(t)
	s, first := h.add(t, "calendar")
	second, err := h.Rotate(t.Context(), s.ID, time.Hour, "test")
	must(t, err)
	h.wants(t, "calendar", first, nil)
	h.wants(t, "calendar", second, nil)
	h.clock.move(time.Hour)
	h.wants(t, "calendar", first, identity.ErrBadCredential)
	h.wants(t, "calendar", second, nil)
	if got := h.revocations(); got != nil {
		t.Errorf("an overlap cuts no tunnel, but told: %v", got)
	}
	cred := h.wants(t, "calendar", second, nil).Credential
	third, err := h.Rotate(t.Context(), s.ID, 0, "test")
	must(t, err)
	h.wants(t, "calendar", second, identity.ErrBadCredential)
	h.wants(t, "calendar", third, nil)
	if got := h.revocations(); !slices.Contains(got, revocation{s.ID, cred}) {
		t.Errorf("told: %v, want %v among them", got, cred)
	}
	h.reload(t)
	h.wants(t, "calendar", first, identity.ErrBadCredential)
	h.wants(t, "calendar", second, identity.ErrBadCredential)
	h.wants(t, "calendar", third, nil)
}

// TestRotateNeverLengthens: a second rotation must not give an old token more
// time than the first one left it.
func TestRotateNeverLengthens(t *testing.T) {
	h := newHouse(t)
	s, first := h.add(t, "calendar")
	_, err := h.Rotate(t.Context(), s.ID, time.Minute, "test")
	must(t, err)
	_, err = h.Rotate(t.Context(), s.ID, time.Hour, "test")
	must(t, err)
	h.clock.move(time.Minute)
	h.wants(t, "calendar", first, identity.ErrBadCredential)
}

func TestRename(t *testing.T) {
	h := newHouse(t)
	s, token := h.add(t, "calendar")
	h.add(t, "mail")
	if err := h.Rename(t.Context(), s.ID, "mail", "test"); !errors.Is(err, identity.ErrExists) {
		t.Errorf("a taken name: %v", err)
	}
	if err := h.Rename(t.Context(), s.ID, "No Name", "test"); err == nil {
		t.Error("an impossible name was taken")
	}
	must(t, h.Rename(t.Context(), s.ID, "agenda", "test"))
	if g := h.wants(t, "agenda", token, nil); g.Server.ID != s.ID {
		t.Error("renaming changed the ID")
	}
	h.wants(t, "mail", token, identity.ErrBadCredential)
}

// TestFormerName: a former name goes on to mean its server, so that a launch by
// it doesn't start again with an empty baseline.
func TestFormerName(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	s, token := h.add(t, "calendar")
	must(t, h.SetMode(ctx, s.ID, identity.ModeBlock, "test"))
	mail, _ := h.add(t, "mail")
	must(t, h.Rename(ctx, s.ID, "agenda", "test"))
	must(t, h.Rename(ctx, s.ID, "diary", "test"))
	must(t, h.Rename(ctx, s.ID, "diary", "test")) // which changes nothing
	for _, when := range []string{"before", "after a restart"} {
		for _, name := range []identity.Name{"calendar", "agenda", "diary"} {
			if g := h.wants(t, string(name), token, nil); g.Server.ID != s.ID || g.Server.Name != "diary" {
				t.Errorf("%s: %s authenticates %+v", when, name, g.Server)
			}
			got, more, created, err := h.Enrol(ctx, identity.NewServer{Name: name}, "test")
			if err != nil || created || got.ID != s.ID || got.Name != "diary" || got.Mode != identity.ModeBlock {
				t.Errorf("%s: enrolling %s: created %v, %+v, %v", when, name, created, got, err)
			}
			h.wants(t, string(name), more, nil)
			if found, err := h.Find(string(name)); err != nil || found.ID != s.ID {
				t.Errorf("%s: Find(%s): %v", when, name, err)
			}
			if _, _, err := h.Add(ctx, identity.NewServer{Name: name}, "test"); !errors.Is(err, identity.ErrExists) {
				t.Errorf("%s: adding %s: %v", when, name, err)
			}
			if err := h.Rename(ctx, mail.ID, name, "test"); !errors.Is(err, identity.ErrExists) {
				t.Errorf("%s: another server renamed to %s: %v", when, name, err)
			}
		}
		h.reload(t)
	}
	_, _, err := h.Add(ctx, identity.NewServer{Name: "agenda"}, "test")
	if err == nil || !strings.Contains(err.Error(), "agenda is the former name of diary") {
		t.Errorf("the reason is not said: %v", err)
	}
	must(t, h.Rename(ctx, s.ID, "calendar", "test"))
	if got, _ := h.Server(s.ID); !slices.Equal(got.Formerly, []identity.Name{"agenda", "diary"}) {
		t.Errorf("a name taken back: formerly %v", got.Formerly)
	}
	must(t, h.Remove(ctx, s.ID, "test"))
	if fresh, _ := h.add(t, "agenda"); fresh.ID == s.ID {
		t.Error("a removed server's ID came again")
	}
}

// TestFormerNameComesLast: whoever has a name is meant by it before whoever had
// it.
func TestFormerNameComesLast(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	s, _ := h.add(t, "calendar")
	must(t, h.Rename(ctx, s.ID, "agenda", "test"))
	ann, _, err := h.Add(ctx, identity.NewServer{Name: "calendar", Owner: "ann"}, "test")
	must(t, err)
	if found, err := h.Find("calendar"); err != nil || found.ID != ann.ID {
		t.Errorf("Find(calendar) = %s, %v", found.Ref(), err)
	}
	if _, err := h.Find("ann/agenda"); !errors.Is(err, identity.ErrUnknownServer) {
		t.Errorf("another owner's: %v", err)
	}
	for i := range 200 {
		err = h.Rename(ctx, s.ID, identity.Name(fmt.Sprintf("name%d", i)), "test")
		if err != nil {
			break
		}
	}
	if got, _ := h.Server(s.ID); err == nil || len(got.Formerly) != 100 {
		t.Errorf("%d former names, %v", len(got.Formerly), err)
	}
}

// TestSweep: the end of an overlap is reported once, even if the account was
// changed meanwhile; other ends aren't.
func TestSweep(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	s, first := h.add(t, "calendar")
	old := h.wants(t, "calendar", first, nil).Credential
	_, session, _, err := h.Enrol(ctx, identity.NewServer{Name: "calendar"}, "test")
	must(t, err)
	oldSession := h.wants(t, "calendar", session, nil).Credential
	h.clock.move(30*24*time.Hour - time.Minute) // its own end comes before that of the overlap
	_, err = h.Rotate(ctx, s.ID, time.Hour, "test")
	must(t, err)
	h.clock.move(time.Second)
	_, _, _, err = h.Enrol(ctx, identity.NewServer{Name: "calendar"}, "test")
	must(t, err)
	told := func(when string, want ...revocation) {
		t.Helper()
		h.Sweep()
		h.Sweep()
		if got := h.revocations(); !slices.Equal(got, want) {
			t.Errorf("%s: told %v, want %v", when, got, want)
		}
	}
	told("at once")
	h.reload(t)
	h.clock.move(58 * time.Second)
	told("before any end")
	h.clock.move(time.Second)
	must(t, h.SetMode(ctx, s.ID, identity.ModeAlert, "test")) // which drops what has expired
	told("the session's end", revocation{s.ID, oldSession})
	h.clock.move(time.Hour - time.Minute - time.Second)
	told("just before the overlap's end", revocation{s.ID, oldSession})
	h.clock.move(time.Second)
	told("the overlap's end", revocation{s.ID, oldSession}, revocation{s.ID, old})
	h.clock.move(40 * 24 * time.Hour)
	told("the end of a session that nobody rotated out", revocation{s.ID, oldSession}, revocation{s.ID, old})
}

// TestSweepAfterRevoking: what was reported by a revocation isn't again.
func TestSweepAfterRevoking(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	a, _ := h.add(t, "a")
	b, _ := h.add(t, "b")
	for _, s := range []identity.Server{a, b} {
		h.clock.move(time.Second)
		_, err := h.Rotate(ctx, s.ID, time.Hour, "test")
		must(t, err)
	}
	must(t, h.Revoke(ctx, a.ID, "test"))
	must(t, h.Remove(ctx, b.ID, "test"))
	want := h.revocations()
	h.clock.move(2 * time.Hour)
	h.Sweep()
	if got := h.revocations(); len(got) != 2 || !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestEnrol(t *testing.T) {
	h := newHouse(t)
	n := identity.NewServer{Name: "calendar", Mode: identity.ModeAlert, LearnFor: time.Hour}
	s, first, created, err := h.Enrol(t.Context(), n, "test")
	must(t, err)
	if !created || s.Mode != identity.ModeAlert || !s.LearnUntil.Equal(h.clock.Now().Add(time.Hour)) {
		t.Errorf("created %v: %+v", created, s)
	}
	n.Mode = identity.ModeLearn
	again, second, created, err := h.Enrol(t.Context(), n, "test")
	must(t, err)
	if created || again.ID != s.ID || again.Mode != identity.ModeAlert {
		t.Errorf("enrolling again: created %v, mode %s: a launch must not lower a mode", created, again.Mode)
	}
	h.wants(t, "calendar", first, nil)
	h.wants(t, "calendar", second, nil)
	h.clock.move(30 * 24 * time.Hour)
	h.wants(t, "calendar", first, nil)
	h.wants(t, "calendar", second, identity.ErrBadCredential)
}

// TestEnrolIsBounded: launching a server for ever doesn't fill the memory.
func TestEnrolIsBounded(t *testing.T) {
	h := newHouse(t)
	s, first := h.add(t, "calendar")
	var latest string
	for range 1100 {
		_, token, _, err := h.Enrol(t.Context(), identity.NewServer{Name: "calendar"}, "test")
		must(t, err)
		latest = token
		h.clock.move(time.Second)
	}
	if n := len(h.Credentials(s.ID)); n != 1001 {
		t.Errorf("%d credentials, want 1001", n)
	}
	h.wants(t, "calendar", first, nil)
	h.wants(t, "calendar", latest, nil)
	h.clock.move(31 * 24 * time.Hour)
	if n := len(h.Credentials(s.ID)); n != 1 {
		t.Errorf("%d credentials a month later, want 1", n)
	}
}

func TestFind(t *testing.T) {
	h := newHouse(t)
	for _, n := range []identity.NewServer{
		{Name: "calendar", Owner: "ann"}, {Name: "calendar", Owner: "bob"}, {Name: "mail", Owner: "ann"},
		{Name: "files"}, {Name: "files", Owner: "ann"},
	} {
		_, _, err := h.Add(t.Context(), n, "test")
		must(t, err)
	}
	for ref, want := range map[string]string{"ann/calendar": "ann/calendar", "mail": "ann/mail", "files": "files", "ann/files": "ann/files"} {
		s, err := h.Find(ref)
		if err != nil || s.Ref() != want {
			t.Errorf("Find(%s) = %s, %v, want %s", ref, s.Ref(), err, want)
		}
	}
	for ref, want := range map[string]error{
		"calendar": identity.ErrAmbiguous, "bob/mail": identity.ErrUnknownServer, "": identity.ErrUnknownServer,
		"/mail": identity.ErrUnknownServer, "ann/": identity.ErrUnknownServer, "ann/calendar/x": identity.ErrUnknownServer,
	} {
		if _, err := h.Find(ref); !errors.Is(err, want) {
			t.Errorf("Find(%q): %v, want %v", ref, err, want)
		}
	}
	var refs []string
	for _, s := range h.Servers() {
		refs = append(refs, s.Ref())
	}
	if want := []string{"ann/calendar", "bob/calendar", "files", "ann/files", "ann/mail"}; !slices.Equal(refs, want) {
		t.Errorf("Servers: %v, want %v", refs, want)
	}
}

func TestAddRefuses(t *testing.T) {
	h := newHouse(t)
	h.add(t, "calendar")
	for name, n := range map[string]identity.NewServer{
		"no name": {}, "a bad name": {Name: "Calendar"}, "a bad mode": {Name: "a", Mode: "off"}, "ask": {Name: "a", Mode: "ask"},
		"owner with a slash": {Name: "a", Owner: "x/y"}, "owner with a newline": {Name: "a", Owner: "x\ny"}, "taken": {Name: "calendar"},
	} {
		if _, _, err := h.Add(t.Context(), n, "test"); err == nil {
			t.Errorf("%s: added", name)
		}
	}
	if _, _, err := h.Add(t.Context(), identity.NewServer{Name: "calendar"}, "test"); !errors.Is(err, identity.ErrExists) {
		t.Errorf("a taken name: %v", err)
	}
}

func TestSetListen(t *testing.T) {
	h := newHouse(t)
	a, _ := h.add(t, "a")
	b, _ := h.add(t, "b")
	for _, addr := range []string{"0.0.0.0:80", "192.168.1.1:80", "127.0.0.1", "localhost:80", "127.0.0.1:0", ":80", "[::ffff:127.0.0.1]:80"} {
		if err := h.SetListen(t.Context(), a.ID, addr, "test"); err == nil {
			t.Errorf("%s was taken", addr)
		}
	}
	must(t, h.SetListen(t.Context(), a.ID, "127.0.0.1:7190", "test"))
	if err := h.SetListen(t.Context(), b.ID, "127.0.0.1:7190", "test"); err == nil {
		t.Error("two servers have one listener")
	}
	must(t, h.SetListen(t.Context(), b.ID, "[::1]:7190", "test"))
	must(t, h.SetListen(t.Context(), a.ID, "", "test"))
	if s, _ := h.Server(a.ID); s.Listen != "" {
		t.Errorf("listener %q", s.Listen)
	}
}

func TestLaunchedAndCoverage(t *testing.T) {
	h := newHouse(t)
	s, _ := h.add(t, "calendar")
	if got := s.Coverage(5); got != identity.CoverageBlind {
		t.Errorf("never launched: %s", got)
	}
	l := identity.Launch{Command: []string{"/usr/bin/npx", "-y", "cal@1.2.3", "--key", "s3cret"}, Package: "cal", Version: "1.2.3"}
	must(t, h.Launched(t.Context(), s.ID, l, "run:1000"))
	l.Command[0] = "changed by the caller"
	s, _ = h.Server(s.ID)
	if s.Command[0] != "/usr/bin/npx" || s.Package != "cal" || s.Version != "1.2.3" || !s.Launched.Equal(h.clock.Now()) {
		t.Errorf("launched: %+v", s)
	}
	if s.Coverage(0) != identity.CoverageSilent || s.Coverage(1) != identity.CoverageCovered {
		t.Errorf("coverage %s and %s", s.Coverage(0), s.Coverage(1))
	}
	must(t, h.Launched(t.Context(), s.ID, identity.Launch{Command: []string{"/opt/secret dir/cal"}}, "run:1000"))
	for _, c := range h.store.changes {
		if strings.Contains(c.Detail, "s3cret") || strings.Contains(c.Detail, "/opt") {
			t.Errorf("the audit trail has arguments: %s", c.Detail)
		}
	}
}

func TestRemove(t *testing.T) {
	h := newHouse(t)
	s, token := h.add(t, "calendar")
	must(t, h.Remove(t.Context(), s.ID, "test"))
	h.wants(t, "calendar", token, identity.ErrBadCredential)
	if err := h.Remove(t.Context(), s.ID, "test"); !errors.Is(err, identity.ErrUnknownServer) {
		t.Errorf("twice: %v", err)
	}
	if got := h.revocations(); !slices.Equal(got, []revocation{{s.ID, uuid.Nil}}) {
		t.Errorf("told: %v", got)
	}
	again, _ := h.add(t, "calendar")
	if again.ID == s.ID {
		t.Error("a removed server's ID came again")
	}
}

// TestStoreFirst: what the store did not take changes nothing.
func TestStoreFirst(t *testing.T) {
	h := newHouse(t)
	s, token := h.add(t, "calendar")
	cred := h.Credentials(s.ID)[0].ID
	before, _ := h.Server(s.ID)
	full := errors.New("disk full")
	h.store.setFail(full)
	ctx := t.Context()
	for name, change := range map[string]func() error{
		"add":               func() error { _, _, err := h.Add(ctx, identity.NewServer{Name: "x"}, "test"); return err },
		"mode":              func() error { return h.SetMode(ctx, s.ID, identity.ModeBlock, "test") },
		"rename":            func() error { return h.Rename(ctx, s.ID, "x", "test") },
		"rotate":            func() error { _, err := h.Rotate(ctx, s.ID, 0, "test"); return err },
		"revoke":            func() error { return h.Revoke(ctx, s.ID, "test") },
		"revoke credential": func() error { return h.RevokeCredential(ctx, cred, "test") },
		"listen":            func() error { return h.SetListen(ctx, s.ID, "127.0.0.1:7190", "test") },
		"launched":          func() error { return h.Launched(ctx, s.ID, identity.Launch{Command: []string{"x"}}, "test") },
		"remove":            func() error { return h.Remove(ctx, s.ID, "test") },
		"enrol":             func() error { _, _, _, err := h.Enrol(ctx, identity.NewServer{Name: "calendar"}, "test"); return err },
	} {
		if err := change(); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.wants(t, "calendar", token, nil)
	after, _ := h.Server(s.ID)
	if fmt.Sprint(after) != fmt.Sprint(before) || len(h.Servers()) != 1 || len(h.Credentials(s.ID)) != 1 {
		t.Errorf("changed from %+v to %+v", before, after)
	}
	if got := h.revocations(); got != nil {
		t.Errorf("told of revocations that aren't durable: %v", got)
	}
	if _, err := identity.NewRegistry(ctx, identity.Config{Store: h.store}); !errors.Is(err, full) {
		t.Errorf("loading: %v", err)
	}
}

// TestCancelled: a writer that waits for its turn can give up.
func TestCancelled(t *testing.T) {
	h := newHouse(t)
	s, _ := h.add(t, "calendar")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the choice between a free turn and the end is random
		if err := h.SetMode(ctx, s.ID, identity.ModeBlock, "test"); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestUnknownServer(t *testing.T) {
	h := newHouse(t)
	ctx, id := t.Context(), uuid.New()
	_, rotate := h.Rotate(ctx, id, 0, "test")
	for name, err := range map[string]error{
		"mode": h.SetMode(ctx, id, identity.ModeBlock, "test"), "rename": h.Rename(ctx, id, "x", "test"), "rotate": rotate,
		"revoke": h.Revoke(ctx, id, "test"), "listen": h.SetListen(ctx, id, "", "test"), "launched": h.Launched(ctx, id, identity.Launch{}, "test"),
	} {
		if !errors.Is(err, identity.ErrUnknownServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h.Credentials(id) != nil {
		t.Error("an unknown server has credentials")
	}
}

// TestConcurrent has clients authenticate while everything changes: the right
// token of a server that nobody touches is never refused.
func TestConcurrent(t *testing.T) {
	h := newHouse(t)
	_, token := h.add(t, "steady")
	s, _ := h.add(t, "moving")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := h.Authenticate("steady", token, from); err != nil {
					t.Errorf("steady: %v", err)
					return
				}
				_, _ = h.Authenticate("moving", identity.NewToken(), from)
				h.Servers()
			}
		})
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := range 50 {
				token, err := h.Rotate(t.Context(), s.ID, time.Hour, "test")
				if err != nil {
					t.Error(err)
					return
				}
				_ = h.SetMode(t.Context(), s.ID, identity.ModeBlock, "test")
				_ = h.Rename(t.Context(), s.ID, identity.Name(fmt.Sprintf("moving-%d-%d", i, n)), "test")
				_, _ = h.Authenticate("moving", token, from)
			}
		})
	}
	writers.Wait()
	close(stop)
	wg.Wait()
	if n := len(h.Credentials(s.ID)); n != 201 {
		t.Errorf("%d credentials, want 201: a change was lost", n)
	}
}

func TestAuthenticateAllocates(t *testing.T) {
	h := newHouse(t)
	_, token := h.add(t, "calendar")
	wrong := identity.NewToken()
	if n := testing.AllocsPerRun(100, func() {
		_, _ = h.Authenticate("calendar", token, from)
		_, _ = h.Authenticate("calendar", wrong, from)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	h := newHouse(b)
	var token string
	for i := range 1000 {
		_, token = h.add(b, identity.Name(fmt.Sprintf("server-%d", i)))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.Authenticate("server-999", token, from); err != nil {
				b.Error(err)
			}
		}
	})
}
