package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// signInView is the page before everything else.
type signInView struct {
	Token   string // from the link; empty: none was followed
	Next    string
	Problem string
}

// signInPage only shows a button: a program that looks at links before people
// do must not use one up. Our module presses the button.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	v := signInView{Token: r.URL.Query().Get("t"), Next: localPath(r.URL.Query().Get("next"))}
	if v.Token == "" {
		if _, err := s.gate.identify(w, r); err == nil {
			http.Redirect(w, r, v.Next, http.StatusSeeOther)
			return
		}
	}
	s.showSignIn(w, r, http.StatusOK, v)
}

func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, status int, v signInView) {
	s.render(w, r, status, "signin", page{Title: "Sign in", Alone: true, Body: v,
		Frame: frame{Geo: s.cfg.Geo, Version: s.cfg.Version}})
}

// signIn uses the link's token up and opens a session.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.PostFormValue("next"))
	if !s.gate.takeLink(r.PostFormValue("t")) {
		if s.gate.failed(r) {
			s.refuse(w, r, tooManyFailures(w))
			return
		}
		s.showSignIn(w, r, http.StatusForbidden, signInView{Next: next,
			Problem: "This link was used already, or it is more than ten minutes old."})
		return
	}
	_, secret, err := s.gate.open(r.Context(), store.SessionBrowser, browserName(r.UserAgent()), sessionLife)
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	http.SetCookie(w, s.gate.cookie(secret, sessionLife))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// signOut ends the session of this browser.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if v := visitorOf(r); v.session.ID != uuid.Nil {
		if err := s.cfg.Sessions.DeleteSession(r.Context(), v.session.ID); err != nil {
			s.failPage(w, r, err)
			return
		}
	}
	http.SetCookie(w, s.gate.cookie("", 0))
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// sessionsView lists who may come in.
type sessionsView struct {
	Browsers []sessionRow
	Tokens   []sessionRow
	Made     *store.Session
	Secret   string // of the token just made; shown once
}

type sessionRow struct {
	store.Session
	Mine bool
}

func (s *Server) sessionsPage(w http.ResponseWriter, r *http.Request) {
	s.showSessions(w, r, nil, "")
}

func (s *Server) showSessions(w http.ResponseWriter, r *http.Request, made *store.Session, secret string) {
	rows := func(kind store.SessionKind) ([]sessionRow, error) {
		list, err := s.cfg.Sessions.Sessions(r.Context(), kind)
		slices.SortFunc(list, func(a, b store.Session) int { return b.Seen.Compare(a.Seen) })
		mine := visitorOf(r).session.ID
		var out []sessionRow
		for _, x := range list {
			if s.now().Before(x.Expires) {
				out = append(out, sessionRow{Session: x, Mine: x.ID == mine})
			}
		}
		return out, err
	}
	browsers, err := rows(store.SessionBrowser)
	var tokens []sessionRow
	if err == nil {
		tokens, err = rows(store.SessionToken)
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.show(w, r, "sessions", page{Title: "Sessions", Nav: "sessions",
		Body: sessionsView{Browsers: browsers, Tokens: tokens, Made: made, Secret: secret}})
}

func (s *Server) addToken(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	days, _ := strconv.Atoi(r.PostFormValue("days"))
	made, secret, err := s.newToken(r.Context(), TokenRequest{Label: r.PostFormValue("label"), Days: days})
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	s.showSessions(w, r, &made, secret)
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	id, err := idOf(r)
	if err == nil {
		err = s.endOf(r, id, store.SessionBrowser)
		if err != nil {
			err = s.endOf(r, id, store.SessionToken)
		}
	}
	s.back(w, r, "ended", err)
}

// auditView is a page of the audit trail.
type auditView struct {
	Items   []auditRow
	Servers []identity.Server
	Server  string
	Next    string
	First   string
}

type auditRow struct {
	identity.Change
	URL string // the server's page; empty when it is gone
}

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	chosen := values.Get("server")
	if owner, name, ok := strings.Cut(chosen, "/"); ok {
		values = url.Values{"server": {name}, "owner": {owner}, "cursor": values["cursor"]}
	}
	q := &query{Values: values, s: s}
	aq := store.AuditQuery{Server: q.server(), Since: q.time("since"), Limit: defaultLimit, Cursor: r.URL.Query().Get("cursor")}
	var p store.Page[identity.Change]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Audit(r.Context(), aq)
	}
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	v := auditView{Servers: s.cfg.Servers.Servers(), Server: chosen, Next: pageURL(r, p.Next)}
	if aq.Cursor != "" {
		v.First = pageURLWithout(r)
	}
	for _, c := range p.Items {
		row := auditRow{Change: c}
		if srv, ok := s.cfg.Servers.Server(c.Server); ok {
			row.URL = serverURL(srv.Name, srv.Owner)
		}
		v.Items = append(v.Items, row)
	}
	s.show(w, r, "audit", page{Title: "Audit", Nav: "audit", Body: v})
}
