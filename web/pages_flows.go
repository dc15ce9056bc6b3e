package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// flowsView is a page of flows with the filters that led to it.
type flowsView struct {
	Flows    []flow.Flow
	Servers  []identity.Server
	Server   string // chosen, as owner/name
	Host     string
	Verdict  string
	Grade    string
	Since    string
	Open     bool
	Grades   []flow.Grade
	Next     string // address of the page after
	First    string // address of the newest page; empty: this is it
	Filtered bool
	Problem  string // what is wrong with the filters
}

const flowsPerPage = 100

func shownGrades() []flow.Grade {
	return []flow.Grade{flow.GradeVerified, flow.GradeNoSNI, flow.GradeSNIDiffers, flow.GradeCaptured,
		flow.GradeIPLiteral, flow.GradeNotTLS, flow.GradeHidden}
}

func (s *Server) flowsPage(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	if owner, name, ok := strings.Cut(values.Get("server"), "/"); ok {
		// The select box names a server as owner/name in one value.
		values.Set("server", name)
		values.Set("owner", owner)
	}
	q := &query{Values: values, s: s}
	fq := q.flows()
	fq.Limit = flowsPerPage
	v := flowsView{Servers: s.cfg.Servers.Servers(), Server: r.URL.Query().Get("server"), Host: values.Get("host"),
		Verdict: values.Get("verdict"), Grade: values.Get("grade"), Since: values.Get("since"), Open: fq.Open,
		Grades: shownGrades()}
	v.Filtered = v.Server != "" || v.Host != "" || v.Verdict != "" || v.Grade != "" || v.Since != "" || v.Open
	if q.err != nil {
		v.Problem = explain(q.err).Detail
	} else {
		p, err := s.cfg.Store.Flows(r.Context(), fq)
		if err != nil {
			s.failPage(w, r, err)
			return
		}
		v.Flows = p.Items
		v.Next = pageURL(r, p.Next)
	}
	if fq.Cursor != "" {
		v.First = pageURLWithout(r)
	}
	s.show(w, r, "flows", page{Title: "Flows", Nav: "flows", Body: v})
}

// pageURL is this page's address with another cursor; empty without one.
func pageURL(r *http.Request, cursor string) string {
	if cursor == "" {
		return ""
	}
	q := r.URL.Query()
	q.Set("cursor", cursor)
	q.Del("done")
	return (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).RequestURI()
}

func pageURLWithout(r *http.Request) string {
	q := r.URL.Query()
	q.Del("cursor")
	q.Del("done")
	return (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).RequestURI()
}

func (s *Server) flowPage(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var f flow.Flow
	if err == nil {
		f, err = s.cfg.Store.Flow(r.Context(), id)
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, "flow", page{Title: "Flow to " + f.Destination().String(), Nav: "flows", Body: f})
}

// alertsView is the inbox.
type alertsView struct {
	Alerts []alertCard
	Status detect.Status // "" shows all
	Counts map[detect.Status]int64
	Server string
	Owner  string
	Next   string
	Any    bool // there are alerts of some status
	Tabs   []alertTab
}

// alertTab leads to the alerts of one status.
type alertTab struct {
	Name  string
	URL   string
	Count int64
	Here  bool
}

// alertCard is one alert with what can be done about it.
type alertCard struct {
	detect.Alert
	Decidable bool
	Known     bool // the server still exists
	URL       string
}

// cardHere is an alert on the page to come back to.
type cardHere struct {
	Card alertCard
	Here string
}

// Dest is host:port, or the host alone, or nothing.
func (a alertCard) Dest() string {
	switch {
	case a.Host == "":
		return ""
	case a.Port == 0:
		return a.Host
	}
	return flow.Destination{Host: a.Host, Port: a.Port}.String()
}

func (s *Server) card(a detect.Alert) alertCard {
	srv, known := s.cfg.Servers.Server(a.ServerID)
	c := alertCard{Alert: a, Known: known, Decidable: known && decidable(a)}
	if known {
		c.URL = serverURL(srv.Name, srv.Owner)
	}
	return c
}

const alertsPerPage = 50

func (s *Server) alertsPage(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	if !q.Has("status") {
		q.Set("status", string(detect.Open))
	}
	if q.Get("status") == "all" {
		q.Set("status", "")
	}
	aq := q.alerts()
	aq.Limit = alertsPerPage
	var p store.Page[detect.Alert]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Alerts(r.Context(), aq)
	}
	v := alertsView{Status: aq.Status, Server: q.Get("server"), Owner: q.Get("owner"), Next: pageURL(r, p.Next)}
	if err == nil {
		v.Counts, err = s.cfg.Store.AlertCounts(r.Context())
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	v.Alerts = mapped(p.Items, s.card)
	v.Tabs = v.tabs()
	s.show(w, r, "alerts", page{Title: "Alerts", Nav: "alerts", Body: v})
}

func (v *alertsView) tabs() []alertTab {
	var out []alertTab
	var all int64
	add := func(name string, st detect.Status, word string, n int64) {
		q := url.Values{"status": {word}}
		if v.Server != "" {
			q.Set("server", v.Server)
		}
		if v.Owner != "" {
			q.Set("owner", v.Owner)
		}
		out = append(out, alertTab{Name: name, URL: "/alerts?" + q.Encode(), Count: n, Here: v.Status == st})
	}
	for _, st := range []detect.Status{detect.Open, detect.Acknowledged, detect.Resolved} {
		add(strings.ToUpper(string(st[:1]))+string(st[1:]), st, string(st), v.Counts[st])
		all += v.Counts[st]
	}
	add("All", "", "all", all)
	v.Any = all > 0
	return out
}

// alertView is one alert with its evidence.
type alertView struct {
	Card  alertCard
	Flows []flow.Flow
}

func (s *Server) alertPage(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var a detect.Alert
	if err == nil {
		a, err = s.cfg.Store.Alert(r.Context(), id)
	}
	var p store.Page[flow.Flow]
	if err == nil && len(a.Flows) > 0 {
		p, err = s.cfg.Store.Flows(r.Context(), store.FlowQuery{IDs: a.Flows, Limit: len(a.Flows)})
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, "alert", page{Title: a.Title, Nav: "alerts", Body: alertView{Card: s.card(a), Flows: p.Items}})
}

// settleAlert carries out the button that was pressed on an alert.
func (s *Server) settleAlert(w http.ResponseWriter, r *http.Request) {
	var id uuid.UUID
	id, err := idOf(r)
	action := r.PostFormValue("do")
	q := SettleRequest{Note: strings.TrimSpace(r.PostFormValue("note")), Target: r.PostFormValue("target")}
	if err == nil && q.Target == "" && (action == "approve" || action == "reject") {
		err = bad("no_target", "The form did not say which destination it showed.")
	}
	if err == nil {
		_, err = s.settle(r.Context(), id, action, q, actor(r))
	}
	done := action
	if action == "approve" || action == "reject" {
		done = "alert-" + action
	}
	s.back(w, r, done, err)
}
