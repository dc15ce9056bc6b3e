package web_test

import (
	"strings"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// rehearse fills a house with what a week of six servers looks like: honest
// ones, one that calls a new host, one whose SNI contradicts its CONNECT, one
// that was never launched by us, one revoked, and one with very long names.
func (h *house) rehearse() map[string]identity.Server {
	h.t.Helper()
	s := map[string]identity.Server{
		"calendar": h.add("calendar", identity.ModeAlert, true, identity.NewServer{
			Command: []string{"npx", "-y", "@acme/calendar-mcp@1.4.2"}, Package: "@acme/calendar-mcp", Version: "1.4.2"}),
		"github": h.add("github", identity.ModeBlock, true, identity.NewServer{
			Command: []string{"docker", "run", "-i", "ghcr.example/github-mcp-server"}, Owner: "alice"}),
		"weather": h.add("weather", identity.ModeLearn, true, identity.NewServer{
			Command: []string{"uvx", "weather-mcp"}, Package: "weather-mcp", Version: "0.3.0", LearnFor: 4 * 24 * time.Hour}),
		"notes": h.add("notes", identity.ModeLearn, false, identity.NewServer{Owner: "bob@example.com"}),
		"idle":  h.add("postgres", identity.ModeBlock, true, identity.NewServer{Command: []string{"postgres-mcp", "--dsn", "env"}}),
		"gone":  h.add("typosquat", identity.ModeLearn, true, identity.NewServer{Command: []string{"npx", "-y", "githib-mcp"}, Package: "githib-mcp", Version: "9.9.9"}),
		"long": h.add("a-server-whose-name-takes-all-of-the-sixty-three-characters-.x", identity.ModeLearn, true, identity.NewServer{
			Command: []string{"/opt/homebrew/Cellar/node/24.1.0/bin/node", "--enable-source-maps", "/Users/somebody/Library/Application Support/servers/long/dist/index.js"}}),
	}
	h.week(s)
	h.decisions(s)
	h.troubles(s)
	must(h.t, h.reg.Revoke(h.t.Context(), s["gone"].ID, "web:0123456789ab"))
	h.sync()
	return s
}

// week is ordinary traffic.
func (h *house) week(s map[string]identity.Server) {
	for i := range 60 {
		ago := time.Duration(i)*24*time.Minute + 3*time.Minute
		h.flow(s["calendar"], "api.calendar.example", ago, func(f *flow.Flow) { f.BytesUp += int64(i * 300); f.Reason = flow.ReasonApproved })
		if i%3 == 0 {
			h.flow(s["calendar"], "oauth2.example.net", ago+time.Minute, nil)
			h.flow(s["github"], "api.github.com", ago+2*time.Minute, func(f *flow.Flow) {
				f.BytesDown = 2_400_000
				f.Reason = flow.ReasonApproved
				f.Closed = f.Opened.Add(time.Duration(i%7+1) * 20 * time.Second)
			})
		}
		if i%5 == 0 {
			h.flow(s["weather"], "weather.example.org", ago, nil)
		}
	}
	for d := range 12 {
		ago := time.Duration(d)*24*time.Hour + 5*time.Hour
		h.flow(s["weather"], "files.example.com", ago, func(f *flow.Flow) { f.BytesDown = int64(d+1) * 120_000 })
		h.flow(s["notes"], "db.internal.example.com", ago, func(f *flow.Flow) {
			f.Port, f.SNI, f.Grade, f.ALPN, f.JA4 = 5432, "", flow.GradeNotTLS, nil, ""
		})
	}
	h.flow(s["long"], strings.Repeat("a-very-long-label-of-a-tracking-host-0123456789.", 4)+"eu-central-1.elb.example.com", 20*time.Minute, nil)
	h.flow(s["gone"], "api.github.com", 70*time.Hour, nil)
}

// decisions are what people approved and rejected.
func (h *house) decisions(s map[string]identity.Server) {
	h.sync()
	approve := func(name, note string, hosts ...string) {
		for _, host := range hosts {
			t, err := baseline.ParseTarget(host)
			must(h.t, err)
			_, err = h.book.Approve(h.t.Context(), s[name], []baseline.Target{t}, baseline.Decision{Note: note}, "web:0123456789ab")
			must(h.t, err)
		}
	}
	approve("calendar", "", "api.calendar.example:443", "oauth2.example.net:443")
	approve("github", "the API, as documented", "api.github.com:443", "*.github.com:443")
	t, err := baseline.ParseTarget("telemetry.example.com:443")
	must(h.t, err)
	_, err = h.book.Reject(h.t.Context(), s["github"], []baseline.Target{t}, baseline.Decision{Note: "no telemetry from here"}, "cli:1000")
	must(h.t, err)
}

// troubles are what the alerts are about.
func (h *house) troubles(s map[string]identity.Server) {
	f := h.flow(s["calendar"], "collector.metrics.test", 14*time.Minute, func(f *flow.Flow) { f.Reason, f.BytesUp = flow.ReasonNewDestination, 48_211 })
	h.alarm(f, flow.ReasonNewDestination)
	f = h.flow(s["weather"], "webhook.site", 2*time.Hour, func(f *flow.Flow) { f.Reason = flow.ReasonRiskyDestination })
	h.alarm(f, flow.ReasonRiskyDestination)
	for i := range 4 {
		h.flow(s["github"], "telemetry.example.com", time.Duration(i+1)*31*time.Minute, refused(flow.ReasonRejected))
	}
	f = h.flow(s["github"], "exfil.example.net", 47*time.Minute, refused(flow.ReasonNewDestination))
	h.alarm(f, flow.ReasonNewDestination)
	f = h.flow(s["weather"], "weather.example.org", 33*time.Minute, func(f *flow.Flow) {
		f.SNI, f.Grade, f.Reason = "evil.example", flow.GradeSNIDiffers, flow.ReasonSNIMismatch
	})
	h.alarm(f, flow.ReasonSNIMismatch)
	f = h.flow(s["calendar"], "203.0.113.77", 4*time.Hour, func(f *flow.Flow) { f.SNI, f.Grade, f.Reason = "", flow.GradeIPLiteral, flow.ReasonIPLiteral })
	h.alarm(f, flow.ReasonIPLiteral)
	f = h.flow(s["notes"], "169.254.169.254", 26*time.Hour, refused(flow.ReasonMetadataAccess))
	h.alarm(f, flow.ReasonMetadataAccess)
	live := h.flowOpen(s["github"], "api.github.com", 3*time.Minute)
	_ = live
}

// flowOpen records a flow that is still open.
func (h *house) flowOpen(s identity.Server, host string, ago time.Duration) flow.Flow {
	opened := h.clock.Now().Add(-ago)
	f := flow.Flow{ID: idAt(opened), ServerID: s.ID, Server: s.Name, Owner: s.Owner, Mode: s.Mode, Opened: opened,
		Method: flow.MethodConnect, Host: host, Port: 443, IP: addressOf(host), SNI: host, ALPN: []string{"h2"},
		JA4: "t13d1516h2_8daaf6152771_b186095e22b6", Grade: flow.GradeVerified, Phase: flow.PhaseUnknown,
		BytesUp: 9120, BytesDown: 1_220_000, Verdict: flow.Allowed, Reason: flow.ReasonApproved, Place: places().Place(addressOf(host))}
	h.journal.Opened(f)
	return f
}

func alertQuery() store.AlertQuery { return store.AlertQuery{Status: detect.Open, Limit: 1} }

// trouble takes the store away, now and once before.
func (h *house) trouble() {
	h.status = func(st record.Status) record.Status {
		st.Degraded, st.Since, st.Cause, st.Lost = true, h.clock.Now().Add(-3*time.Minute), "the disk is full", 12
		return st
	}
	must(h.t, h.db.SaveGap(h.t.Context(), record.Gap{From: h.clock.Now().Add(-5 * time.Hour), Until: h.clock.Now().Add(-4 * time.Hour),
		Flows: 3, Cause: "the database is locked by another program"}))
}
