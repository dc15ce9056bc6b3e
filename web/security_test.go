package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// routes lists what is routed, with every parameter filled in.
func routes(t *testing.T, h *house) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := chi.Walk(h.web.Handler().(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		out[method+" "+pattern] = strings.NewReplacer("{ref}", "calendar", "{id}", "01890000-0000-7000-8000-000000000000",
			"{name}", "app.css").Replace(pattern)
		return nil
	})
	must(t, err)
	if len(out) < 40 {
		t.Fatalf("only %d routes were found", len(out))
	}
	return out
}

var open = []string{"GET /healthz", "GET /readyz", "GET /static/{name}", "GET /signin", "POST /signin"}

// TestEverythingNeedsASession asks every route without one.
func TestEverythingNeedsASession(t *testing.T) {
	h := newHouse(t)
	h.add("calendar", identity.ModeLearn, true, identity.NewServer{Package: "sesame"})
	c := &client{h: h}
	for name, path := range routes(t, h) {
		if contains(open, name) {
			continue
		}
		method, pattern, _ := strings.Cut(name, " ")
		res := c.do(c.request(method, path, "application/json", "{}"))
		api := strings.HasPrefix(pattern, "/api/") || pattern == "/metrics"
		switch {
		case !api && method == http.MethodGet:
			if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "/signin?next=") {
				t.Errorf("%s without a session: %s to %q", name, res.Status, res.Header.Get("Location"))
			}
		case res.StatusCode != http.StatusUnauthorized:
			t.Errorf("%s without a session: %s", name, res.Status)
		}
		if strings.Contains(res.body, "sesame") {
			t.Errorf("%s without a session tells of a server", name)
		}
	}
	if res := c.do(c.request("HEAD", "/servers/calendar", "", "")); res.StatusCode != http.StatusSeeOther {
		t.Errorf("HEAD without a session: %s", res.Status)
	}
	if res := c.get("/no/such/place"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("an unknown page without a session: %s, so that one can tell pages apart", res.Status)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// TestHeadersOnEveryAnswer checks what protects a page, errors included.
func TestHeadersOnEveryAnswer(t *testing.T) {
	h := newHouse(t)
	h.rehearse()
	c := h.signIn()
	for name, path := range routes(t, h) {
		method, _, _ := strings.Cut(name, " ")
		if name == "GET /api/v1/events" || method != http.MethodGet {
			continue
		}
		for _, who := range []*client{c, {h: h}} {
			res := who.get(path)
			for header, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
			} {
				if got := res.Header.Get(header); got != want {
					t.Errorf("%s: %s is %q", name, header, got)
				}
			}
			csp := res.Header.Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
				if !strings.Contains(csp, part) {
					t.Errorf("%s: the policy lacks %s", name, part)
				}
			}
			if strings.Contains(csp, "unsafe") {
				t.Errorf("%s: the policy allows something unsafe", name)
			}
		}
	}
}

func TestHost(t *testing.T) {
	h := newHouse(t)
	c := h.signIn()
	for _, host := range []string{"evil.example", "127.0.0.1:1", "127.0.0.1", "localhost", ""} {
		req := c.request("GET", "/", "", "")
		req.Host = host
		if host == "" {
			req.Host = "exeat.evil.example:7181"
		}
		if res := c.do(req); res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("Host %q: %s", host, res.Status)
		}
	}
}

// TestOtherOrigins asks as another site's page would.
func TestOtherOrigins(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	c := h.signIn()
	for _, tt := range []struct {
		name   string
		method string
		path   string
		header map[string]string
		want   int
	}{
		{"a form of another site", "POST", "/servers/calendar/mode", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"a form of another program on localhost", "POST", "/servers/calendar/mode", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, 403},
		{"an old browser's form of another site", "POST", "/servers/calendar/mode", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a form without an origin", "POST", "/servers/calendar/mode", map[string]string{"Origin": "null"}, 403},
		{"another program's page reading the API", "GET", "/api/v1/flows", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"a link to the API", "GET", "/api/v1/flows", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"a frame", "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"a link", "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"our own form", "POST", "/servers/calendar/mode", map[string]string{"Sec-Fetch-Site": "same-origin"}, 303},
		{"an old browser's own form", "POST", "/servers/calendar/mode", map[string]string{"Origin": h.url}, 303},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := c.request(tt.method, tt.path, "application/x-www-form-urlencoded", "mode=block")
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			if res := c.do(req); res.StatusCode != tt.want {
				t.Errorf("%s, want %d: %s", res.Status, tt.want, res.body)
			}
		})
	}
	if now, _ := h.reg.Server(s.ID); now.Mode != identity.ModeBlock {
		t.Errorf("the mode is %s", now.Mode)
	}
	// A link from another site comes without our SameSite=Strict cookie: the
	// page asks for itself again, from our own origin.
	stranger := &client{h: h}
	req := stranger.request("GET", "/alerts?status=all", "", "")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if res := stranger.do(req); res.StatusCode != 200 || !strings.Contains(res.body, `http-equiv="refresh" content="0; url=/alerts?status=all"`) {
		t.Errorf("a link from another site: %s %s", res.Status, res.body)
	}
}

func TestSignIn(t *testing.T) {
	h := newHouse(t)
	link, err := h.web.SignInLink()
	must(t, err)
	token := parse(t, link).Query().Get("t")
	c := &client{h: h}
	for range 3 { // a program that looks at links first uses nothing up
		if res := c.get("/signin?t=" + token); res.StatusCode != 200 || !strings.Contains(res.body, token) || len(res.Cookies()) != 0 {
			t.Fatalf("looking at the link: %s", res.Status)
		}
	}
	res := c.form("/signin", url.Values{"t": {token}, "next": {"/alerts"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/alerts" {
		t.Fatalf("signing in: %s to %q", res.Status, res.Header.Get("Location"))
	}
	k := res.Cookies()[0]
	if !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" || k.MaxAge != 30*24*3600 {
		t.Errorf("the cookie is %+v", k)
	}
	if again := c.form("/signin", url.Values{"t": {token}}); again.StatusCode != http.StatusForbidden || len(again.Cookies()) != 0 {
		t.Errorf("the link worked twice: %s", again.Status)
	}
	c.cookie = k
	if res := c.get("/"); res.StatusCode != 200 {
		t.Errorf("signed in: %s", res.Status)
	}
	sessions, err := h.db.Sessions(t.Context(), store.SessionBrowser)
	must(t, err)
	if len(sessions) != 1 || strings.Contains(fmt.Sprintf("%x", sessions[0].Hash), k.Value) {
		t.Errorf("sessions: %+v", sessions)
	}
}

func TestSignInLinksExpire(t *testing.T) {
	h := newHouse(t)
	link, err := h.web.SignInLink()
	must(t, err)
	h.clock.Advance(10 * time.Minute)
	c := &client{h: h}
	if res := c.form("/signin", parse(t, link).Query()); res.StatusCode != http.StatusForbidden {
		t.Errorf("an old link: %s", res.Status)
	}
}

func TestSessionsSlide(t *testing.T) {
	h := newHouse(t)
	c := h.signIn()
	for range 4 { // used every three weeks, it goes on
		h.clock.Advance(21 * 24 * time.Hour)
		res := c.get("/")
		if res.StatusCode != 200 || len(res.Cookies()) != 1 {
			t.Fatalf("after three weeks: %s, %d cookies", res.Status, len(res.Cookies()))
		}
	}
	h.clock.Advance(30*24*time.Hour + time.Second)
	if res := c.get("/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after a month unused: %s", res.Status)
	}
}

func TestSignOut(t *testing.T) {
	h := newHouse(t)
	c, other := h.signIn(), h.signIn()
	if res := c.form("/signout", nil); res.StatusCode != http.StatusSeeOther || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("signing out: %s", res.Status)
	}
	if res := c.get("/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after signing out: %s", res.Status)
	}
	if res := other.get("/"); res.StatusCode != 200 {
		t.Errorf("the other browser: %s", res.Status)
	}
}

func TestNextStaysHere(t *testing.T) {
	h := newHouse(t)
	for _, next := range []string{"//evil.example", `/\evil.example`, "https://evil.example/", "javascript:alert(1)", "/signin?next=/x", "evil", "/\tx", "///x"} {
		link, err := h.web.SignInLink()
		must(t, err)
		c := &client{h: h}
		res := c.form("/signin", url.Values{"t": {parse(t, link).Query().Get("t")}, "next": {next}})
		if got := res.Header.Get("Location"); got != "/" {
			t.Errorf("next=%q leads to %q", next, got)
		}
	}
}

// TestGuessing slows guesses down and never the right secret.
func TestGuessing(t *testing.T) {
	h := newHouse(t)
	right := h.signIn()
	guess := &client{h: h, token: "exeat_guess"}
	throttled := 0
	for range 30 {
		switch res := guess.get("/api/v1/servers"); res.StatusCode {
		case http.StatusTooManyRequests:
			throttled++
			if res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		case http.StatusUnauthorized:
		default:
			t.Fatalf("a guess: %s", res.Status)
		}
	}
	if throttled != 20 {
		t.Errorf("%d of 30 guesses were slowed down", throttled)
	}
	if res := right.get("/api/v1/servers"); res.StatusCode != 200 {
		t.Errorf("the right cookie from the same address: %s", res.Status)
	}
}

func TestTokens(t *testing.T) {
	h := newHouse(t)
	me := web.Peer{UID: 1000, PID: 4242}
	made := h.socket(me, "POST", "/api/v1/tokens", `{"label":"ci","days":1}`)
	var tok web.TokenJSON
	decodeInto(t, made.Body.Bytes(), &tok)
	if made.Code != http.StatusCreated || !strings.HasPrefix(tok.Token, "exeat_") {
		t.Fatalf("making a token: %d %s", made.Code, made.Body)
	}
	c := &client{h: h, token: tok.Token}
	if res := c.get("/api/v1/servers"); res.StatusCode != 200 {
		t.Errorf("with the token: %s", res.Status)
	}
	if res := c.get("/metrics"); res.StatusCode != 200 || !strings.Contains(res.body, "exeat_build_info") {
		t.Errorf("metrics: %s", res.Status)
	}
	for _, path := range []string{"/api/v1/tokens", "/api/v1/signin-links"} {
		if res := c.json("POST", path, `{"label":"x"}`); res.StatusCode != http.StatusForbidden {
			t.Errorf("a token may POST %s: %s", path, res.Status)
		}
	}
	h.clock.Advance(25 * time.Hour)
	if res := c.get("/api/v1/servers"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("with an expired token: %s", res.Status)
	}
	tok = web.TokenJSON{}
	decodeInto(t, h.socket(me, "POST", "/api/v1/tokens", `{"label":"ci"}`).Body.Bytes(), &tok)
	if del := h.socket(me, "DELETE", "/api/v1/tokens/"+tok.ID.String(), ""); del.Code != http.StatusNoContent {
		t.Fatalf("ending a token: %d %s", del.Code, del.Body)
	}
	c.token = tok.Token
	if res := c.get("/api/v1/servers"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("with an ended token: %s", res.Status)
	}
}

// TestSelfApproval is promise 5: a launched server can't speak to us.
func TestSelfApproval(t *testing.T) {
	h := newHouse(t)
	h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	h.setInside(func(pid int) bool { return pid == 666 })
	res := h.socket(web.Peer{UID: 1000, PID: 666}, "POST", "/api/v1/baselines/calendar/approve", `{"targets":["evil.example:443"]}`)
	if res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), "self_access") {
		t.Errorf("from inside: %d %s", res.Code, res.Body)
	}
	if told := h.turnedDown(); len(told) != 1 || told[0].PID != 666 {
		t.Errorf("told of %v", told)
	}
	if ok := h.socket(web.Peer{UID: 1000, PID: 4242}, "GET", "/api/v1/servers", ""); ok.Code != 200 {
		t.Errorf("from outside: %d", ok.Code)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://exeat/api/v1/servers", nil)
	must(t, err)
	rec := newRecorder()
	h.web.SocketHandler().ServeHTTP(rec, req)
	if rec.Code != http.StatusForbidden {
		t.Errorf("a peer that isn't known: %d", rec.Code)
	}
}

// TestHostileWords puts what could break out of a page everywhere where a
// client or a person can put words.
func TestHostileWords(t *testing.T) {
	h := newHouse(t)
	const script = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	const bidi = "safe\u202egpj.exe\u2066\u200b\x1b[31m\u0000"
	s := h.add("victim", identity.ModeLearn, true, identity.NewServer{
		Command: []string{"npx", script, bidi}, Package: script + bidi, Version: script})
	f := h.flow(s, "victim.example.com", time.Minute, func(f *flow.Flow) {
		f.SNI, f.ALPN, f.JA4, f.Tool, f.Phase = script+bidi, []string{script, bidi}, script, script, flow.Phase("tool:"+script)
		f.Chain = []string{script, bidi}
		f.Owner = script
		f.Grade, f.Reason = flow.GradeSNIDiffers, flow.Reason(script)
	})
	a := h.alarm(f, flow.ReasonSNIMismatch)
	target, err := baseline.ParseTarget("victim.example.com:443")
	must(t, err)
	h.sync()
	_, err = h.book.Reject(t.Context(), s, []baseline.Target{target}, baseline.Decision{Note: script + bidi}, script)
	must(t, err)
	c := h.signIn()
	c.form("/sessions/tokens", url.Values{"label": {script + bidi}})
	for _, path := range []string{"/", "/servers/victim", "/flows", "/flows/" + f.ID.String(), "/alerts", "/alerts/" + a.ID.String(), "/audit", "/sessions",
		"/flows?host=" + url.QueryEscape(script), "/flows?since=" + url.QueryEscape(script), "/alerts?server=" + url.QueryEscape(script), "/?done=" + url.QueryEscape(script),
		"/" + url.PathEscape(script)} {
		res := c.get(path)
		if strings.Contains(res.body, "<script>alert") || strings.Contains(res.body, "<img src=x") {
			t.Errorf("%s lets markup through", path)
		}
		if strings.Contains(res.body, `class="host">`+script) {
			t.Errorf("%s lets a quote through", path)
		}
		for _, r := range res.body {
			if r == 0x202e || r == 0x2066 || r == 0x200b || r == 0x1b || r == 0 {
				t.Errorf("%s shows %U", path, r)
				break
			}
		}
	}
	if res := c.get("/flows/" + f.ID.String()); !strings.Contains(res.body, "&lt;script&gt;alert(1)") {
		t.Error("the hostile SNI isn't on its flow's page, so nothing was tested")
	}
}
