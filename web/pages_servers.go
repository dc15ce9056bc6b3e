package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// serversView is the first page.
type serversView struct {
	Servers    []serverRow
	OpenAlerts int64
	Candidates int
	Flows      int64 // in the last day
	Refused    int64 // in the last day
	Proxy      string
	Modes      []identity.Mode
}

// serverRow is one server in the list.
type serverRow struct {
	identity.Server
	Coverage identity.Coverage
	Totals   store.Totals
	Summary  BaselineSummary
	Day      barPicture
}

// Launch is the server's command in one line.
func (r serverRow) Launch() string { return strings.Join(r.Command, " ") }

func allModes() []identity.Mode {
	return []identity.Mode{identity.ModeLearn, identity.ModeAlert, identity.ModeBlock}
}

// lastDay is the last 24 whole hours and the one that has begun.
func (s *Server) lastDay() (since, until time.Time) {
	until = s.now().UTC().Truncate(time.Hour).Add(time.Hour)
	return until.Add(-24 * time.Hour), until
}

func (s *Server) serversPage(w http.ResponseWriter, r *http.Request) {
	v, err := s.serversView(r)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, "servers", page{Title: "Servers", Nav: "servers", Body: v})
}

func (s *Server) serversView(r *http.Request) (serversView, error) {
	v := serversView{Proxy: s.cfg.ProxyURL.String(), Modes: allModes()}
	totals, err := s.cfg.Store.Totals(r.Context())
	if err != nil {
		return v, err
	}
	since, until := s.lastDay()
	traffic, err := s.cfg.Store.Traffic(r.Context(), since, until, time.Hour)
	if err != nil {
		return v, err
	}
	for _, srv := range s.cfg.Servers.Servers() {
		row := serverRow{Server: srv, Totals: totals[srv.ID], Coverage: srv.Coverage(totals[srv.ID].Flows),
			Summary: s.summary(srv), Day: trafficPicture(traffic[srv.ID], "the last day")}
		v.Servers = append(v.Servers, row)
		v.OpenAlerts += row.Totals.OpenAlerts
		v.Candidates += row.Summary.Candidates
		for _, b := range traffic[srv.ID] {
			v.Flows += b.Flows
			v.Refused += b.Refused
		}
	}
	slices.SortStableFunc(v.Servers, byUrgency)
	return v, nil
}

// byUrgency puts revoked servers last and keeps the order by name otherwise:
// rows that change places while one looks at them are no help.
func byUrgency(a, b serverRow) int {
	gone := func(r serverRow) int {
		if r.Status == identity.StatusRevoked {
			return 1
		}
		return 0
	}
	return gone(a) - gone(b)
}

// issuedView shows a fresh credential, once.
type issuedView struct {
	Issued
	Server identity.Server
	What   string
}

func (s *Server) addServer(w http.ResponseWriter, r *http.Request) {
	n, err := s.newServer(NewServerRequest{Name: strings.TrimSpace(r.PostFormValue("name")),
		Owner: strings.TrimSpace(r.PostFormValue("owner")), Mode: r.PostFormValue("mode")})
	var srv identity.Server
	var token string
	if err == nil {
		srv, token, err = s.cfg.Servers.Add(r.Context(), n, actor(r))
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.changed(srv.ID, nil)
	s.show(w, r, "issued", page{Title: "Server added", Nav: "servers",
		Body: issuedView{Issued: s.issued(srv, token, true), Server: srv, What: "added"}})
}

func (s *Server) rotate(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	overlap := defaultOverlap
	if r.PostFormValue("overlap") == "none" {
		overlap = 0
	}
	var token string
	if err == nil {
		token, err = s.cfg.Servers.Rotate(r.Context(), srv.ID, overlap, actor(r))
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.changed(srv.ID, nil)
	s.show(w, r, "issued", page{Title: "New credential", Nav: "servers",
		Body: issuedView{Issued: s.issued(srv, token, false), Server: srv, What: "rotated"}})
}

// change carries out a form that changes one server and goes back.
func (s *Server) change(w http.ResponseWriter, r *http.Request, done string, do func(srv identity.Server) error) {
	srv, err := s.serverOf(r)
	if err == nil {
		err = do(srv)
		s.changed(srv.ID, err)
	}
	s.back(w, r, done, err)
}

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "mode", func(srv identity.Server) error {
		mode, err := identity.ParseMode(r.PostFormValue("mode"))
		if err != nil {
			return bad("bad_mode", sentence(err.Error()))
		}
		return s.cfg.Servers.SetMode(r.Context(), srv.ID, mode, actor(r))
	})
}

// revoke withdraws a server, or one credential of it.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	cred := r.PostFormValue("credential")
	if cred == "" {
		s.change(w, r, "revoked", func(srv identity.Server) error {
			return s.cfg.Servers.Revoke(r.Context(), srv.ID, actor(r))
		})
		return
	}
	s.change(w, r, "credential", func(srv identity.Server) error {
		for _, c := range s.cfg.Servers.Credentials(srv.ID) {
			if c.ID.String() == cred {
				return s.cfg.Servers.RevokeCredential(r.Context(), c.ID, actor(r))
			}
		}
		return store.ErrNotFound
	})
}

func (s *Server) rename(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	var name identity.Name
	if err == nil {
		if name, err = identity.ParseName(strings.TrimSpace(r.PostFormValue("name"))); err != nil {
			err = bad("bad_name", sentence(err.Error()))
		}
	}
	if err == nil {
		err = s.cfg.Servers.Rename(r.Context(), srv.ID, name, actor(r))
		s.changed(srv.ID, err)
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	r.PostForm.Set("back", serverURL(name, srv.Owner))
	s.back(w, r, "renamed", nil)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "removed", func(srv identity.Server) error {
		return s.cfg.Servers.Remove(r.Context(), srv.ID, actor(r))
	})
}

func (s *Server) openListener(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "listener", func(srv identity.Server) error {
		_, err := s.listenerOf(r.Context(), srv)
		return err
	})
}

// isCandidate reports whether e waits for a decision.
func isCandidate(e baseline.Entry) bool { return e.State == baseline.Candidate }
