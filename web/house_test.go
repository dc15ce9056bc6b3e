package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/resolve"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// clock is a time that only moves when it is told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is a whole Exeat without its proxy: the real store, registry, book and
// journal behind the real handlers on a real port.
type house struct {
	t       *testing.T
	clock   *clock
	db      *store.DB
	reg     *identity.Registry
	book    *baseline.Book
	journal *record.Journal
	web     *web.Server
	tcp     *httptest.Server
	url     string
	opened  *listeners
	mu      sync.Mutex // guards what the handlers call back
	inside  func(int) bool
	self    []web.Peer
	started map[identity.ID]int
	status  func(record.Status) record.Status
}

// moody is the real journal, whose state can be made worse than it is.
type moody struct {
	*record.Journal
	h *house
}

func (m moody) Status() record.Status {
	st := m.Journal.Status()
	if m.h.status != nil {
		st = m.h.status(st)
	}
	return st
}

// geography is the far side of the network: which addresses are whose.
type geography map[netip.Addr]flow.Place

func (g geography) Place(a netip.Addr) flow.Place { return g[a] }

type nobody struct{}

func (nobody) Remember(identity.ID, resolve.Answer) {}

// listeners opens real loopback listeners.
type listeners struct {
	mu   sync.Mutex
	open map[identity.ID]net.Listener
	reg  *identity.Registry
}

func (l *listeners) Open(ctx context.Context, id identity.ID) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln, ok := l.open[id]; ok {
		return ln.Addr().String(), nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	l.open[id] = ln
	return ln.Addr().String(), l.reg.SetListen(ctx, id, ln.Addr().String(), "system")
}

func (l *listeners) close() {
	for _, ln := range l.open {
		_ = ln.Close()
	}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx := t.Context()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	h := &house{t: t, clock: &clock{t: time.Now().UTC().Truncate(time.Second)}, started: map[identity.ID]int{}}
	var err error
	h.db, err = store.Open(ctx, store.Config{Path: filepath.Join(t.TempDir(), "exeat.db"), Logger: log, Now: h.clock.Now})
	must(t, err)
	h.reg, err = identity.NewRegistry(ctx, identity.Config{Store: h.db, Now: h.clock.Now})
	must(t, err)
	h.book, err = baseline.NewBook(ctx, baseline.BookConfig{Store: h.db, Now: h.clock.Now})
	must(t, err)
	risky, err := detect.LoadRisky()
	must(t, err)
	h.journal, err = record.Open(ctx, record.Config{Store: h.db, Servers: h.reg, Places: places(), Learner: h.book,
		Memory: nobody{}, Risky: risky, Logger: log, Now: h.clock.Now})
	must(t, err)
	h.opened = &listeners{open: map[identity.ID]net.Listener{}, reg: h.reg}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.url = "http://" + ln.Addr().String()
	h.web, err = web.New(web.Config{
		Servers: h.reg, Baselines: h.book, Store: h.db, Sessions: h.db, Journal: moody{h.journal, h}, Events: h.journal.Hub(),
		Listeners: h.opened, Risky: risky, ProxyURL: parse(t, "http://127.0.0.1:7180"), PublicURL: parse(t, h.url),
		Inside: h.isInside, AnyInside: h.anyInside, SelfAccess: h.sawSelf,
		Launched: func(id identity.ID, pid int) { h.started[id] = pid },
		LearnFor: 7 * 24 * time.Hour, Version: "0.1.0-test",
		Listen:    map[string]string{"proxy": "127.0.0.1:7180", "web": ln.Addr().String()},
		Geo:       web.GeoInfo{Source: "bundled", Date: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Attribution: "Routing data: RouteViews and RIPE RIS, CC BY 4.0"},
		Counters:  func() map[string]int64 { return map[string]int64{"limit_tunnels": 3} },
		Heartbeat: 50 * time.Millisecond,
		Now:       h.clock.Now, Logger: log,
	})
	must(t, err)
	h.tcp = &httptest.Server{Listener: ln, Config: h.web.HTTPServer()}
	h.tcp.Start()
	t.Cleanup(h.close)
	return h
}

func (h *house) setInside(f func(pid int) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inside = f
}

func (h *house) anyInside() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inside != nil
}

func (h *house) isInside(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inside != nil && h.inside(pid)
}

func (h *house) sawSelf(_ context.Context, p web.Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.self = append(h.self, p)
}

// turnedDown are the peers that were refused for being inside.
func (h *house) turnedDown() []web.Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.self)
}

func (h *house) close() {
	h.web.Close()
	h.tcp.Close()
	h.opened.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(h.t, h.journal.Close(ctx))
	must(h.t, h.db.Close())
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	must(t, err)
	return u
}

// client is a browser without JavaScript: it keeps cookies and follows nothing.
type client struct {
	h      *house
	cookie *http.Cookie
	token  string
}

// signIn opens a session by a link, as a person does.
func (h *house) signIn() *client {
	h.t.Helper()
	link, err := h.web.SignInLink()
	must(h.t, err)
	u := parse(h.t, link)
	c := &client{h: h}
	res := c.form("/signin", url.Values{"t": {u.Query().Get("t")}})
	if res.StatusCode != http.StatusSeeOther {
		h.t.Fatalf("signing in: %s", res.Status)
	}
	for _, k := range res.Cookies() {
		c.cookie = k
	}
	if c.cookie == nil {
		h.t.Fatal("signing in set no cookie")
	}
	return c
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body string
}

func (c *client) do(req *http.Request) answer {
	c.h.t.Helper()
	if c.cookie != nil {
		req.AddCookie(c.cookie)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 20 * time.Second}
	res, err := hc.Do(req)
	must(c.h.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(c.h.t, err)
	hc.CloseIdleConnections()
	return answer{res, string(body)}
}

func (c *client) request(method, path, kind, body string) *http.Request {
	c.h.t.Helper()
	req, err := http.NewRequestWithContext(c.h.t.Context(), method, c.h.url+path, strings.NewReader(body))
	must(c.h.t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	return req
}

func (c *client) get(path string) answer { return c.do(c.request("GET", path, "", "")) }

func (c *client) form(path string, v url.Values) answer {
	return c.do(c.request("POST", path, "application/x-www-form-urlencoded", v.Encode()))
}

func (c *client) json(method, path, body string) answer {
	return c.do(c.request(method, path, "application/json", body))
}

// socket returns what the Unix socket's door answers to a peer.
func (h *house) socket(p web.Peer, method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://exeat"+path, strings.NewReader(body))
	if body != "" || method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	h.web.SocketHandler().ServeHTTP(rec, req.WithContext(web.WithPeer(req.Context(), p)))
	return rec
}

// add makes a server.
func (h *house) add(name string, m identity.Mode, launched bool, n identity.NewServer) identity.Server {
	h.t.Helper()
	n.Name, n.Mode = identity.Name(name), m
	s, _, err := h.reg.Add(h.t.Context(), n, "cli:1000")
	must(h.t, err)
	if launched {
		must(h.t, h.reg.Launched(h.t.Context(), s.ID, identity.Launch{Command: n.Command, Package: n.Package, Version: n.Version}, "run:1000"))
	}
	s, _ = h.reg.Server(s.ID)
	return s
}

// flow records a flow that ended, opened before ago.
func (h *house) flow(s identity.Server, host string, ago time.Duration, edit func(*flow.Flow)) flow.Flow {
	h.t.Helper()
	opened := h.clock.Now().Add(-ago)
	f := flow.Flow{
		ID: idAt(opened), ServerID: s.ID, Server: s.Name, Owner: s.Owner, Mode: s.Mode,
		Opened: opened, Closed: opened.Add(1200 * time.Millisecond), Method: flow.MethodConnect,
		Host: host, Port: 443, IP: addressOf(host), SNI: host, ALPN: []string{"h2", "http/1.1"},
		JA4: "t13d1516h2_8daaf6152771_b186095e22b6", Grade: flow.GradeVerified, Phase: flow.PhaseUnknown,
		BytesUp: 4210, BytesDown: 48_300, Verdict: flow.Allowed, Reason: flow.ReasonLearning, End: flow.EndClient,
	}
	if edit != nil {
		edit(&f)
	}
	f.Place = places().Place(f.IP)
	h.journal.Closed(f)
	return f
}

// alarm raises the alert that the proxy would raise about f.
func (h *house) alarm(f flow.Flow, reason flow.Reason) detect.Alert {
	h.t.Helper()
	must(h.t, h.journal.Alarm(h.t.Context(), f, reason))
	p, err := h.db.Alerts(h.t.Context(), store.AlertQuery{Server: f.ServerID, Kind: detect.Kind(reason), Limit: 1})
	must(h.t, err)
	if len(p.Items) == 0 {
		h.t.Fatalf("no %s alert was stored", reason)
	}
	return p.Items[0]
}

func (h *house) sync() { must(h.t, h.journal.Sync(h.t.Context())) }

func refused(reason flow.Reason) func(*flow.Flow) {
	return func(f *flow.Flow) {
		f.Verdict, f.Reason, f.End = flow.Refused, reason, flow.EndRefused
		f.Closed, f.IP, f.SNI, f.JA4, f.ALPN, f.Grade = f.Opened, netip.Addr{}, "", "", nil, ""
		f.BytesUp, f.BytesDown = 0, 0
	}
}

// idAt makes an ID whose order is that of time, as the proxy's are.
func idAt(t time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	ms := t.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// addressOf is where a name leads: some address of the documentation ranges.
func addressOf(host string) netip.Addr {
	sum := sha256.Sum256([]byte(host))
	return netip.AddrFrom4([4]byte{203, 0, 113, sum[0]})
}

func places() geography {
	g := geography{}
	for host, p := range map[string]flow.Place{
		"api.github.com":          {ASN: 36459, Org: "GitHub, Inc.", Country: "US"},
		"api.calendar.example":    {ASN: 15169, Org: "Example Cloud LLC", Country: "US"},
		"oauth2.example.net":      {ASN: 15169, Org: "Example Cloud LLC", Country: "US"},
		"collector.metrics.test":  {ASN: 64501, Org: "Bulletproof Hosting Holding International Limited", Country: "SC"},
		"weather.example.org":     {ASN: 64502, Org: "Wetterdienst", Country: "DE"},
		"files.example.com":       {ASN: 64503, Org: "Example Storage", Country: "NL"},
		"webhook.site":            {ASN: 64504, Org: "Hetzner Online GmbH", Country: "DE"},
		"telemetry.example.com":   {ASN: 64503, Org: "Example Storage", Country: "NL"},
		"db.internal.example.com": {ASN: 64505, Org: "Example Database Service", Country: "IE"},
	} {
		g[addressOf(host)] = p
	}
	return g
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func decodeInto(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
