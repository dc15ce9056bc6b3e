package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

const (
	destinationsShown = 200
	candidatesShown   = 300
	timelineFlows     = 1000
	timelineSpan      = 24 * time.Hour
	recentFlows       = 12
)

// serverView is the page of one server.
type serverView struct {
	Server       identity.Server
	URL          string
	Coverage     identity.Coverage
	Totals       store.Totals
	Summary      BaselineSummary
	Modes        []identity.Mode
	Alerts       []detect.Alert
	Candidates   []destinationRow
	Waiting      int // all candidates; no more than candidatesShown are listed
	Risky        int // candidates that "select all" leaves out
	Destinations []destinationRow
	MoreDest     bool
	Timeline     timeline
	Recent       []flow.Flow
	Credentials  []identity.Credential
	Proxy        string
	Listeners    bool
	Learning     bool // the learning window is open
}

// Launch is the server's command in one line.
func (v serverView) Launch() string { return strings.Join(v.Server.Command, " ") }

// destinationRow is one destination: what the baseline says of it, and what
// was seen of it.
type destinationRow struct {
	Host   string
	Port   uint16
	State  baseline.State
	Entry  baseline.Entry
	Seen   store.Destination
	Place  flow.Place
	Grades []flow.Grade
	Risk   string // why it needs a second look; empty: it doesn't
	Bytes  barPicture
	First  time.Time
	Last   time.Time
	Flows  int64
}

// Value is what a form sends for this row: the destination, and the grades
// that the person saw when deciding.
func (d destinationRow) Value() string {
	grades := make([]string, len(d.Grades))
	for i, g := range d.Grades {
		grades[i] = string(g)
	}
	return baseline.Target{Host: baseline.Pattern(d.Host), Port: d.Port}.String() + " " + strings.Join(grades, ",")
}

// Name is host:port as people read it.
func (d destinationRow) Name() string {
	return baseline.Target{Host: baseline.Pattern(d.Host), Port: d.Port}.String()
}

func (s *Server) serverPage(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	var v serverView
	if err == nil {
		v, err = s.serverView(r.Context(), srv)
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, "server", page{Title: srv.Ref(), Nav: "servers", Body: v})
}

func (s *Server) serverView(ctx context.Context, srv identity.Server) (serverView, error) {
	now := s.now()
	v := serverView{Server: srv, URL: serverURL(srv.Name, srv.Owner), Modes: allModes(), Summary: s.summary(srv),
		Credentials: s.cfg.Servers.Credentials(srv.ID), Proxy: s.cfg.ProxyURL.String(), Listeners: s.cfg.Listeners != nil,
		Learning: srv.Mode == identity.ModeLearn && srv.LearnUntil.After(now)}
	totals, err := s.cfg.Store.Totals(ctx)
	if err != nil {
		return v, err
	}
	v.Totals = totals[srv.ID]
	v.Coverage = srv.Coverage(v.Totals.Flows)
	alerts, err := s.cfg.Store.Alerts(ctx, store.AlertQuery{Server: srv.ID, Status: detect.Open, Limit: 5})
	if err != nil {
		return v, err
	}
	v.Alerts = alerts.Items
	seen, err := s.cfg.Store.Destinations(ctx, store.DestinationQuery{Server: srv.ID, Limit: destinationsShown})
	if err != nil {
		return v, err
	}
	v.MoreDest = seen.Next != ""
	s.placeDestinations(&v, s.cfg.Baselines.Entries(srv.ID), seen.Items)
	day, err := s.cfg.Store.Flows(ctx, store.FlowQuery{Server: srv.ID, Since: now.Add(-timelineSpan), Limit: timelineFlows})
	if err != nil {
		return v, err
	}
	v.Timeline = drawTimeline(day.Items, now.Add(-timelineSpan), now, day.Next != "")
	v.Recent = day.Items[:min(recentFlows, len(day.Items))]
	return v, nil
}

// placeDestinations joins what the baseline says with what was seen, and sorts
// it into what waits for a decision and the rest.
func (s *Server) placeDestinations(v *serverView, entries []baseline.Entry, seen []store.Destination) {
	at := make(map[flow.Destination]*store.Destination, len(seen))
	for i := range seen {
		at[flow.Destination{Host: seen[i].Host, Port: seen[i].Port}] = &seen[i]
	}
	for _, e := range entries {
		k := flow.Destination{Host: string(e.Host), Port: e.Port}
		row := s.destinationRow(e, at[k])
		delete(at, k)
		if isCandidate(e) {
			v.Candidates = append(v.Candidates, row)
			if row.Risk != "" {
				v.Risky++
			}
			continue
		}
		v.Destinations = append(v.Destinations, row)
	}
	for _, d := range at {
		v.Destinations = append(v.Destinations, s.destinationRow(baseline.Entry{Host: baseline.Pattern(d.Host), Port: d.Port}, d))
	}
	byRisk := func(a, b destinationRow) int {
		return cmp.Or(cmp.Compare(boolRank(b.Risk != ""), boolRank(a.Risk != "")), byLast(a, b))
	}
	slices.SortFunc(v.Candidates, byRisk)
	v.Waiting = len(v.Candidates)
	v.Candidates = v.Candidates[:min(v.Waiting, candidatesShown)]
	slices.SortFunc(v.Destinations, byLast)
}

func byLast(a, b destinationRow) int {
	return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *Server) destinationRow(e baseline.Entry, seen *store.Destination) destinationRow {
	row := destinationRow{Host: string(e.Host), Port: e.Port, State: e.State, Entry: e,
		Grades: e.Grades, First: e.FirstSeen, Last: e.LastSeen, Flows: e.Flows}
	if len(e.Networks) > 0 {
		row.Place = e.Networks[0]
	}
	if seen != nil {
		row.Seen, row.Place, row.First, row.Last, row.Flows = *seen, seen.Place, seen.FirstSeen, seen.LastSeen, seen.Flows
		if len(row.Grades) == 0 && seen.Grade != "" {
			row.Grades = []flow.Grade{seen.Grade}
		}
	}
	row.Bytes = bytesPicture(row.Seen.Days)
	row.Risk = s.risk(row)
	return row
}

// risk says why a destination needs a second look before it is approved.
func (s *Server) risk(d destinationRow) string {
	if class := s.class(d.Host); class != "" {
		return class
	}
	for _, g := range d.Grades {
		if g != flow.GradeVerified && g != flow.GradeCaptured {
			return gradeWords(g).Name
		}
	}
	return ""
}

// class is what kind of risky host it is, in words; empty: it is none.
func (s *Server) class(host string) string {
	if s.cfg.Risky == nil {
		return ""
	}
	class := s.cfg.Risky.Class(host)
	for _, c := range detect.Classes() {
		if c.Class == class {
			return c.Name
		}
	}
	return strings.ReplaceAll(class, "_", " ")
}

// decide approves or rejects what the form names: one destination by its own
// button, those with a tick by the buttons below, or one typed in.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	if err := r.ParseForm(); err != nil {
		s.failPage(w, r, bad("bad_form", "The form can't be read."))
		return
	}
	approve, chosen := false, []string(nil)
	switch {
	case r.PostForm.Has("approve"):
		approve, chosen = true, r.PostForm["approve"]
	case r.PostForm.Has("reject"):
		chosen = r.PostForm["reject"]
	case r.PostFormValue("all") == "approve":
		approve, chosen = true, r.PostForm["target"]
	case r.PostFormValue("all") == "reject":
		chosen = r.PostForm["target"]
	}
	n, err := s.decideForm(r, srv, approve, chosen)
	done := "rejected:"
	if approve {
		done = "approved:"
	}
	s.back(w, r, done+humanCount(n), err)
}

// decideForm decides on destinations by the grades that the page showed with
// them, so that nothing is accepted that came since.
func (s *Server) decideForm(r *http.Request, srv identity.Server, approve bool, chosen []string) (int, error) {
	if len(chosen) == 0 {
		return 0, bad("no_targets", "No destination was ticked.")
	}
	byGrades := map[string][]string{}
	for _, v := range chosen {
		target, grades, _ := strings.Cut(strings.TrimSpace(v), " ")
		byGrades[grades] = append(byGrades[grades], target)
	}
	n := 0
	for grades, list := range byGrades {
		q := DecideRequest{Targets: list, Note: strings.TrimSpace(r.PostFormValue("note"))}
		for g := range strings.SplitSeq(grades, ",") {
			if g != "" && flow.Grade(g) != flow.GradeSNIDiffers {
				q.Grades = append(q.Grades, flow.Grade(g))
			}
		}
		if _, err := s.decideOn(r.Context(), srv, approve, q, actor(r)); err != nil {
			return n, err
		}
		n += len(list)
	}
	return n, nil
}
