package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/goccy/go-yaml"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

var me = web.Peer{UID: 1000, PID: 4242}

// call speaks to the socket and reads the answer into v.
func (h *house) call(method, path, body string, want int, v any) {
	h.t.Helper()
	res := h.socket(me, method, path, body)
	if res.Code != want {
		h.t.Fatalf("%s %s: %d, want %d: %s", method, path, res.Code, want, res.Body)
	}
	if v != nil {
		decodeInto(h.t, res.Body.Bytes(), v)
	}
}

func TestServersOverTheAPI(t *testing.T) {
	h := newHouse(t)
	var made web.Issued
	h.call("POST", "/api/v1/servers", `{"name":"calendar","mode":"alert","command":["npx","cal"]}`, 201, &made)
	u := parse(t, made.ProxyURL)
	pass, _ := u.User.Password()
	if u.User.Username() != "calendar" || pass != made.Token || u.Host != "127.0.0.1:7180" || made.Proxy != "http://127.0.0.1:7180" {
		t.Errorf("issued %+v", made)
	}
	if _, err := h.reg.Authenticate("calendar", made.Token, addressOf("x")); err != nil {
		t.Errorf("the token: %v", err)
	}
	h.call("POST", "/api/v1/servers", `{"name":"calendar"}`, 409, nil)
	h.call("POST", "/api/v1/servers", `{"name":"Calendar"}`, 400, nil)
	h.call("POST", "/api/v1/servers", `{"name":"x","mode":"ask"}`, 400, nil)

	var now web.ServerJSON
	h.call("POST", "/api/v1/servers/calendar/mode", `{"mode":"block"}`, 200, &now)
	if now.Mode != identity.ModeBlock {
		t.Errorf("mode %s", now.Mode)
	}
	h.call("POST", "/api/v1/servers/calendar/rename", `{"name":"cal"}`, 200, &now)
	h.call("GET", "/api/v1/servers/calendar", "", 200, &now)
	if now.Name != "cal" {
		t.Errorf("the former name finds %s", now.Name)
	}

	var rotated web.Issued
	h.call("POST", "/api/v1/servers/cal/rotate", `{"overlap":0}`, 200, &rotated)
	if _, err := h.reg.Authenticate("cal", made.Token, addressOf("x")); err == nil {
		t.Error("the old token still works after rotating without overlap")
	}
	h.call("POST", "/api/v1/servers/cal/rotate", `{"overlap":-1}`, 400, nil)

	var l web.Listener
	h.call("POST", "/api/v1/servers/cal/listener", `{}`, 200, &l)
	if !strings.HasPrefix(l.ProxyURL, "http://127.0.0.1:") {
		t.Errorf("listener %+v", l)
	}
	var one web.ServerDetail
	h.call("GET", "/api/v1/servers/cal", "", 200, &one)
	if one.Listen != l.Listen || len(one.Creds) != 2 || one.Coverage != identity.CoverageBlind {
		t.Errorf("detail %+v", one)
	}
	h.call("POST", "/api/v1/servers/cal/revoke", `{}`, 200, &now)
	if now.Status != identity.StatusRevoked {
		t.Errorf("status %s", now.Status)
	}
	h.call("POST", "/api/v1/enrol", `{"name":"cal"}`, 409, nil)
	h.call("DELETE", "/api/v1/servers/cal", "", 204, nil)
	h.call("GET", "/api/v1/servers/cal", "", 404, nil)

	var trail web.List[identity.Change]
	h.call("GET", "/api/v1/audit", "", 200, &trail)
	if trail.Items[0].Actor != "cli:1000" || trail.Items[0].Action != "server.remove" {
		t.Errorf("audit %+v", trail.Items[0])
	}
}

func TestEnrol(t *testing.T) {
	h := newHouse(t)
	body := `{"name":"weather","mode":"block","command":["uvx","weather"],"package":"weather","version":"1.0.0","launch":true,"pid":77}`
	var first, second web.Issued
	h.call("POST", "/api/v1/enrol", body, 201, &first)
	h.call("POST", "/api/v1/enrol", body, 200, &second)
	if first.ID != second.ID || first.Token == second.Token || !first.Created || second.Created {
		t.Errorf("first %+v, then %+v", first, second)
	}
	for _, token := range []string{first.Token, second.Token} {
		if _, err := h.reg.Authenticate("weather", token, addressOf("x")); err != nil {
			t.Error(err)
		}
	}
	s, _ := h.reg.Server(first.ID)
	if s.Launched.IsZero() || s.Package != "weather" || h.started[s.ID] != 77 {
		t.Errorf("server %+v, started %v", s, h.started)
	}
	var trail web.List[identity.Change]
	h.call("GET", "/api/v1/audit?server=weather", "", 200, &trail)
	if trail.Items[0].Actor != "run:1000" {
		t.Errorf("audit %+v", trail.Items[0])
	}
}

// keysOf are the keys of the first item of a listing.
func keysOf(t *testing.T, res *httptest.ResponseRecorder) []string {
	t.Helper()
	var list struct {
		Items []map[string]any
		Next  string
	}
	decodeInto(t, res.Body.Bytes(), &list)
	if len(list.Items) == 0 {
		t.Fatalf("nothing in %s", res.Body)
	}
	var keys []string
	for k := range list.Items[0] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestKeys holds the JSON to what others build on.
func TestKeys(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	for path, want := range map[string]string{
		"/api/v1/servers":            "name owner mode status coverage package version command first_seen last_seen flows open_alerts",
		"/api/v1/baselines/calendar": "host port state phases networks usual_up first_seen last_seen flows decided_by decided_at note",
		"/api/v1/flows":              "id server owner opened closed method host port ip sni alpn ja4 ech grade phase tool asn as_org country bytes_up bytes_down verdict reason mode end",
		"/api/v1/alerts":             "id kind severity server host port first last count status title explanation next flows",
		"/api/v1/destinations":       "server host port asn as_org country grade flows refused bytes_up bytes_down first_seen last_seen days",
		"/api/v1/audit":              "at actor action server detail",
	} {
		got := keysOf(t, h.socket(me, "GET", path, ""))
		for k := range strings.FieldsSeq(want) {
			if !slices.Contains(got, k) {
				t.Errorf("%s lacks %q: %v", path, k, got)
			}
		}
	}
}

// TestPaging walks each listing page by page and expects everything once.
func TestPaging(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	for _, path := range []string{"/api/v1/servers", "/api/v1/flows", "/api/v1/destinations", "/api/v1/alerts", "/api/v1/audit"} {
		var all web.List[json.RawMessage]
		h.call("GET", path+"?limit=1000", "", 200, &all)
		var walked []string
		cursor := ""
		for range 1000 {
			var p web.List[json.RawMessage]
			h.call("GET", path+"?limit=2&cursor="+cursor, "", 200, &p)
			for _, it := range p.Items {
				walked = append(walked, string(it))
			}
			if cursor = p.Next; cursor == "" {
				break
			}
			if len(p.Items) != 2 {
				t.Errorf("%s: a page of %d in the middle", path, len(p.Items))
			}
		}
		if len(walked) != len(all.Items) {
			t.Errorf("%s: %d by pages, %d at once", path, len(walked), len(all.Items))
		}
		for i := range min(len(walked), len(all.Items)) {
			if walked[i] != string(all.Items[i]) {
				t.Errorf("%s: item %d differs", path, i)
				break
			}
		}
		for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "since=yesterday", "cursor=!"} {
			if res := h.socket(me, "GET", path+"?"+bad, ""); res.Code != 400 && !strings.HasPrefix(bad, "cursor") {
				t.Errorf("%s?%s: %d", path, bad, res.Code)
			} else if res.Code == 400 && res.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s?%s: %s", path, bad, res.Header().Get("Content-Type"))
			}
		}
	}
}

func TestFlowFilters(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	for _, tt := range []struct {
		query string
		check func(f flow.Flow) bool
	}{
		{"server=github&owner=alice", func(f flow.Flow) bool { return f.Server == "github" }},
		{"verdict=refused", func(f flow.Flow) bool { return f.Verdict == flow.Refused }},
		{"host=*.example.com", func(f flow.Flow) bool { return strings.HasSuffix(f.Host, ".example.com") }},
		{"host=API.github.com.", func(f flow.Flow) bool { return f.Host == "api.github.com" }},
		{"grade=not_tls", func(f flow.Flow) bool { return f.Grade == flow.GradeNotTLS }},
		{"port=5432", func(f flow.Flow) bool { return f.Port == 5432 }},
		{"since=1h", func(f flow.Flow) bool { return h.clock.Now().Sub(f.Opened) <= time.Hour }},
		{"until=24h&reason=learning", func(f flow.Flow) bool {
			return h.clock.Now().Sub(f.Opened) >= 24*time.Hour && f.Reason == flow.ReasonLearning
		}},
		{"open=true", func(f flow.Flow) bool { return f.Closed.IsZero() }},
	} {
		var p web.List[flow.Flow]
		h.call("GET", "/api/v1/flows?limit=1000&"+tt.query, "", 200, &p)
		if len(p.Items) == 0 {
			t.Errorf("%s finds nothing", tt.query)
		}
		for _, f := range p.Items {
			if !tt.check(f) {
				t.Errorf("%s finds %+v", tt.query, f)
			}
		}
	}
	for _, bad := range []string{"host=a%20b", "port=0", "port=x", "verdict=maybe", "grade=top", "server=nobody"} {
		if res := h.socket(me, "GET", "/api/v1/flows?"+bad, ""); res.Code != 400 && res.Code != 404 {
			t.Errorf("%s: %d", bad, res.Code)
		}
	}
}

func TestDecisions(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()["weather"]
	var list web.List[web.EntryJSON]
	h.call("POST", "/api/v1/baselines/weather/approve", `{"targets":["files.example.com","*.weather.example.org:8443"],"note":"ok"}`, 200, &list)
	if len(list.Items) != 2 || list.Items[0].DecidedBy != "cli:1000" || list.Items[0].Port != 443 || list.Items[1].Note != "ok" {
		t.Errorf("approved %+v", list.Items)
	}
	if m := h.book.Match(s.ID, flow.Destination{Host: "files.example.com", Port: 443}); m.State != baseline.Approved {
		t.Errorf("the book says %q", m.State)
	}
	var b web.BaselineJSON
	h.call("GET", "/api/v1/baselines/weather?state=approved", "", 200, &b)
	if len(b.Items) != 2 || b.Approved != 2 {
		t.Errorf("baseline %+v", b)
	}
	h.call("POST", "/api/v1/baselines/weather/reject", `{"targets":["webhook.site:443"]}`, 200, &list)
	for body, want := range map[string]int{
		`{"targets":[]}`:                                  400,
		`{"targets":["*.github.io:443"]}`:                 422,
		`{"targets":["a b"]}`:                             422,
		`{"targets":["x.example:443"],"grades":["best"]}`: 422,
		`{"targets":["x.example:443"],"bogus":1}`:         400,
		`{"targets":["x.example:443"]} {}`:                400,
		`[]`:                                              400,
		`{"targets":["x.example:443"],"note":"` + strings.Repeat("x", 501) + `"}`: 400,
	} {
		if res := h.socket(me, "POST", "/api/v1/baselines/weather/approve", body); res.Code != want {
			t.Errorf("%.60s: %d %s, want %d", body, res.Code, res.Body, want)
		}
	}
	if res := h.socket(me, "POST", "/api/v1/baselines/weather/approve", `{"note":"`+strings.Repeat("x", 300<<10)+`"}`); res.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", res.Code)
	}
	c := h.signIn()
	if res := c.form("/api/v1/baselines/weather/approve", nil); res.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form for the API: %s", res.Status)
	}
}

func TestAlertsOverTheAPI(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()
	find := func(kind detect.Kind, server string) detect.Alert {
		var p web.List[detect.Alert]
		h.call("GET", "/api/v1/alerts?status=open&kind="+string(kind)+"&server="+server, "", 200, &p)
		if len(p.Items) != 1 {
			t.Fatalf("%d open %s alerts", len(p.Items), kind)
		}
		return p.Items[0]
	}
	var a detect.Alert
	fresh := find(detect.NewDestination, "calendar")
	h.call("POST", "/api/v1/alerts/"+fresh.ID.String()+"/ack", `{}`, 200, &a)
	if a.Status != detect.Acknowledged {
		t.Errorf("status %s", a.Status)
	}
	h.call("POST", "/api/v1/alerts/"+fresh.ID.String()+"/approve", `{"target":"other.metrics.test:443"}`, 409, nil)
	if m := h.book.Match(s["calendar"].ID, flow.Destination{Host: "other.metrics.test", Port: 443}); m.State == baseline.Approved {
		t.Error("what the alert is not about was approved")
	}
	h.call("POST", "/api/v1/alerts/"+fresh.ID.String()+"/approve", `{"note":"ours","target":"collector.metrics.test:443"}`, 200, &a)
	if a.Status != detect.Resolved {
		t.Errorf("status %s", a.Status)
	}
	m := h.book.Match(s["calendar"].ID, flow.Destination{Host: "collector.metrics.test", Port: 443})
	if m.State != baseline.Approved || m.Grades.Has(flow.GradeNoSNI) || !m.Grades.Has(flow.GradeVerified) {
		t.Errorf("the book says %+v", m)
	}
	risky := find(detect.RiskyDestination, "weather")
	h.call("POST", "/api/v1/alerts/"+risky.ID.String()+"/reject", `{}`, 200, &a)
	if m := h.book.Match(s["weather"].ID, flow.Destination{Host: "webhook.site", Port: 443}); m.State != baseline.Rejected {
		t.Errorf("the book says %+v", m)
	}
	h.call("POST", "/api/v1/alerts/"+find(detect.MetadataAccess, "notes").ID.String()+"/approve", `{}`, 409, nil)
	h.call("POST", "/api/v1/alerts/01890000-0000-7000-8000-000000000000/ack", `{}`, 404, nil)
	h.call("POST", "/api/v1/alerts/nonsense/ack", `{}`, 404, nil)
}

func TestStatusAndHealth(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	var st web.StatusJSON
	h.call("GET", "/api/v1/status", "", 200, &st)
	if st.Servers != 7 || st.Alerts["open"] != 6 || st.Geo.Source != "bundled" || st.Counters["limit_tunnels"] != 3 || st.Record.Degraded {
		t.Errorf("status %+v", st)
	}
	c := &client{h: h}
	for _, path := range []string{"/healthz", "/readyz"} {
		if res := c.get(path); res.StatusCode != 200 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	res := h.socket(me, "GET", "/metrics", "")
	for _, want := range []string{`exeat_flows_total{server="alice/github"} `, `exeat_servers{mode="block",status="active"} 2`, `exeat_alerts{status="open"} 6`,
		`exeat_events_total{what="limit_tunnels"} 3`, `exeat_http_requests_total{route="/api/v1/status",status="2xx"} 1`} {
		if !strings.Contains(res.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, host := range []string{"github.com", "webhook.site", "example.com"} {
		if strings.Contains(strings.ReplaceAll(res.Body.String(), "bob@example.com", ""), host) {
			t.Errorf("/metrics names %s", host)
		}
	}
}

// TestDescription holds openapi.yaml and the routes together.
func TestDescription(t *testing.T) {
	h := newHouse(t)
	var doc struct {
		OpenAPI    string                    `yaml:"openapi"`
		Paths      map[string]map[string]any `yaml:"paths"`
		Components map[string]map[string]any `yaml:"components"`
	}
	text := h.socket(me, "GET", "/api/v1/openapi.yaml", "").Body.String()
	must(t, yaml.Unmarshal([]byte(text), &doc))
	described := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	routed := map[string]bool{}
	must(t, chi.Walk(h.web.Handler().(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if strings.HasPrefix(pattern, "/api/") || slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, pattern) {
			routed[method+" "+pattern] = true
		}
		return nil
	}))
	for r := range routed {
		if !described[r] {
			t.Errorf("%s is routed and not described", r)
		}
	}
	for d := range described {
		if !routed[d] {
			t.Errorf("%s is described and not routed", d)
		}
	}
	for _, part := range strings.Split(text, `$ref: "#/components/`)[1:] {
		kind, rest, _ := strings.Cut(part, "/")
		name, _, _ := strings.Cut(rest, `"`)
		if doc.Components[kind][name] == nil {
			t.Errorf("components/%s/%s is referred to and missing", kind, name)
		}
	}
}

// TestDescribedFields holds the schemas to what is really answered.
func TestDescribedFields(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	must(t, yaml.Unmarshal(h.socket(me, "GET", "/api/v1/openapi.yaml", "").Body.Bytes(), &doc))
	for schema, path := range map[string]string{"Server": "/api/v1/servers", "Flow": "/api/v1/flows", "Alert": "/api/v1/alerts",
		"Destination": "/api/v1/destinations", "Entry": "/api/v1/baselines/calendar", "BaselineSummary": "/api/v1/baselines"} {
		var want []string
		for k := range doc.Components.Schemas[schema].Properties {
			want = append(want, k)
		}
		slices.Sort(want)
		if got := keysOf(t, h.socket(me, "GET", path, "")); !slices.Equal(got, want) {
			t.Errorf("%s is described as %v and answered as %v", schema, want, got)
		}
	}
	var status map[string]any
	decodeInto(t, h.socket(me, "GET", "/api/v1/status", "").Body.Bytes(), &status)
	for k := range status {
		if doc.Components.Schemas["Status"].Properties[k] == nil {
			t.Errorf("status has %s, which isn't described", k)
		}
	}
}

func TestSinceForms(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	counts := map[string]int{}
	for _, since := range []string{"90m", "24h", "7d", h.clock.Now().Add(-90 * time.Minute).Format(time.RFC3339)} {
		var p web.List[flow.Flow]
		h.call("GET", "/api/v1/flows?limit=1000&since="+since, "", 200, &p)
		counts[since] = len(p.Items)
	}
	if counts["90m"] != counts[h.clock.Now().Add(-90*time.Minute).Format(time.RFC3339)] || counts["90m"] >= counts["24h"] || counts["24h"] >= counts["7d"] {
		t.Errorf("counts %v", counts)
	}
}

// TestTwoOwners has two servers of one name.
func TestTwoOwners(t *testing.T) {
	h := newHouse(t)
	for i, owner := range []string{"alice", "bob"} {
		h.call("POST", "/api/v1/servers", `{"name":"github","owner":"`+owner+`"}`, 201, nil)
		if i == 1 {
			h.call("POST", "/api/v1/servers/github/mode", `{"mode":"block"}`, 409, nil)
		}
	}
	h.call("POST", "/api/v1/servers/github/mode?owner=bob", `{"mode":"block"}`, 200, nil)
	for owner, want := range map[string]identity.Mode{"alice": identity.ModeLearn, "bob": identity.ModeBlock} {
		s, err := h.reg.Find(owner + "/github")
		must(t, err)
		if s.Mode != want {
			t.Errorf("%s's mode is %s", owner, s.Mode)
		}
	}
	c := h.signIn()
	if res := c.get("/servers/github?owner=bob"); res.StatusCode != 200 || !strings.Contains(res.body, "/servers/github/mode?owner=bob") {
		t.Errorf("bob's page: %s", res.Status)
	}
}

// TestForms walks the pages as a browser without JavaScript would.
func TestForms(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()
	c := h.signIn()
	post := func(path, body, where string) answer {
		t.Helper()
		res := c.do(c.request("POST", path, "application/x-www-form-urlencoded", body))
		if res.StatusCode != 303 || !strings.HasPrefix(res.Header.Get("Location"), where) {
			t.Errorf("POST %s: %s to %q: %.300s", path, res.Status, res.Header.Get("Location"), res.body)
		}
		return res
	}
	post("/servers/weather/baseline", "back=/servers/weather&approve=files.example.com:443+verified", "/servers/weather?done=approved%3A1")
	post("/servers/weather/baseline", "back=/servers/weather&all=reject&target=webhook.site:443+verified&target=weather.example.org:443+verified,sni_differs&note=no", "/servers/weather?done=rejected%3A2")
	for host, want := range map[string]baseline.State{"files.example.com": baseline.Approved, "webhook.site": baseline.Rejected, "weather.example.org": baseline.Rejected} {
		if m := h.book.Match(s["weather"].ID, flow.Destination{Host: host, Port: 443}); m.State != want {
			t.Errorf("%s is %q", host, m.State)
		}
	}
	if res := c.get("/servers/weather?done=approved%3A1"); !strings.Contains(res.body, "1 destination approved.") {
		t.Error("what was done isn't said")
	}
	post("/servers/weather/mode", "back=/servers/weather&mode=block", "/servers/weather?done=mode")
	post("/servers/weather/rename", "name=wetter", "/servers/wetter?done=renamed")
	creds := h.reg.Credentials(s["weather"].ID)
	post("/servers/wetter/revoke", "back=/servers/wetter&credential="+creds[0].ID.String(), "/servers/wetter?done=credential")
	post("/servers/wetter/listener", "back=/servers/wetter", "/servers/wetter?done=listener")
	post("/servers/wetter/revoke", "back=/servers/wetter", "/servers/wetter?done=revoked")
	post("/servers/wetter/remove", "back=/", "/?done=removed")
	p, err := h.db.Alerts(t.Context(), store.AlertQuery{Status: detect.Open, Limit: 1})
	must(t, err)
	post("/alerts/"+p.Items[0].ID.String(), "back=/alerts&do=ack", "/alerts?done=ack")
	if res := c.form("/servers", map[string][]string{"name": {"fresh"}, "mode": {"learn"}}); res.StatusCode != 200 || !strings.Contains(res.body, "http://fresh:") {
		t.Errorf("adding a server: %s", res.Status)
	}
	if res := c.form("/servers/fresh/rotate", map[string][]string{"overlap": {"none"}}); res.StatusCode != 200 || !strings.Contains(res.body, "shown once") {
		t.Errorf("rotating: %s", res.Status)
	}
	if n := len(h.reg.Credentials(mustFind(t, h, "fresh").ID)); n != 2 {
		t.Errorf("%s credentials", strconv.Itoa(n))
	}
	if res := c.form("/servers/fresh/baseline", map[string][]string{"back": {"/servers/fresh"}, "all": {"approve"}}); res.StatusCode != 400 || !strings.Contains(res.body, "No destination was ticked") {
		t.Errorf("nothing ticked: %s", res.Status)
	}
}

func mustFind(t *testing.T, h *house, ref string) identity.Server {
	t.Helper()
	s, err := h.reg.Find(ref)
	must(t, err)
	return s
}

// TestTrouble: a store that can't be written is said on every page, to whoever
// asks for readiness, and in the metrics.
func TestTrouble(t *testing.T) {
	h := newHouse(t)
	h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	h.trouble()
	c := h.signIn()
	for _, path := range []string{"/", "/servers/calendar", "/flows", "/alerts", "/audit", "/sessions"} {
		res := c.get(path)
		for _, want := range []string{"The store can&#39;t be written", "the disk is full", "12 flows ended unrecorded", "Gap in the record: 3 flows"} {
			if !strings.Contains(strings.ReplaceAll(res.body, "can't", "can&#39;t"), want) {
				t.Errorf("%s doesn't say %q", path, want)
			}
		}
	}
	if res := (&client{h: h}).get("/readyz"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready: %s", res.Status)
	}
	var st web.StatusJSON
	h.call("GET", "/api/v1/status", "", 200, &st)
	if !st.Record.Degraded || len(st.Gaps) != 1 {
		t.Errorf("status %+v", st)
	}
	if !strings.Contains(h.socket(me, "GET", "/metrics", "").Body.String(), "exeat_store_degraded 1") {
		t.Error("the metrics don't say it")
	}
}
