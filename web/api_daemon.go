package web

import (
	"net/http"
	"slices"
	"time"

	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

const gapsShown = 30 * 24 * time.Hour

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, map[string]string{"status": "alive"})
}

// readyz says whether everything is kept: with a store that can't be written,
// approved connections go on, but this is not the instance to send work to.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Journal.Status().Degraded {
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Code: "degraded", Detail: "The store can't be written."})
		return
	}
	s.reply(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (s *Server) apiStatus(w http.ResponseWriter, r *http.Request) {
	counts, err := s.cfg.Store.AlertCounts(r.Context())
	var gaps []record.Gap
	if err == nil {
		gaps, err = s.cfg.Store.Gaps(r.Context(), s.now().Add(-gapsShown))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := StatusJSON{
		Version: s.cfg.Version, Started: s.started.UTC(),
		ProxyURL: s.cfg.ProxyURL.String(), WebURL: s.cfg.PublicURL.String(), Listen: s.cfg.Listen,
		Servers: len(s.cfg.Servers.Servers()), Alerts: map[string]int64{},
		Record: recordJSON(s.cfg.Journal.Status()), Gaps: mapped(gaps, gapJSON),
		Geo:      GeoJSON{Source: s.cfg.Geo.Source, Date: stamp(s.cfg.Geo.Date), Attribution: s.cfg.Geo.Attribution, AttributionURL: s.cfg.Geo.AttributionURL},
		Counters: s.counters(),
	}
	for status, n := range counts {
		out.Alerts[string(status)] = n
	}
	s.reply(w, http.StatusOK, out)
}

func (s *Server) counters() map[string]int64 {
	if s.cfg.Counters == nil {
		return map[string]int64{}
	}
	return s.cfg.Counters()
}

func (s *Server) apiDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(s.assets["openapi.yaml"].data)
}

// person refuses API tokens: a token must not be able to make another one that
// outlives it.
func (s *Server) person(w http.ResponseWriter, r *http.Request) bool {
	if visitorOf(r).session.Kind != store.SessionToken {
		return true
	}
	writeProblem(w, problem{Status: http.StatusForbidden, Code: "needs_person",
		Detail: "An API token can't do this. Use the command line on the machine of exeat serve, or the dashboard."})
	return false
}

func (s *Server) apiSignInLink(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	link, err := s.SignInLink()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusCreated, SignInLink{URL: link, Expires: s.now().Add(linkLife).UTC()})
}

func (s *Server) apiTokens(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	list, err := s.cfg.Sessions.Sessions(r.Context(), store.SessionToken)
	answerPage(s, w, r, store.Page[store.Session]{Items: list}, err, tokenJSON)
}

func (s *Server) apiAddToken(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	var q TokenRequest
	err := decode(r, &q)
	var made store.Session
	var secret string
	if err == nil {
		made, secret, err = s.newToken(r.Context(), q)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := tokenJSON(made)
	out.Token = secret
	s.reply(w, http.StatusCreated, out)
}

func (s *Server) apiRemoveToken(w http.ResponseWriter, r *http.Request) {
	if !s.person(w, r) {
		return
	}
	id, err := idOf(r)
	if err == nil {
		err = s.endOf(r, id, store.SessionToken)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// endOf deletes one session of a kind, if there is such a one.
func (s *Server) endOf(r *http.Request, id [16]byte, kind store.SessionKind) error {
	list, err := s.cfg.Sessions.Sessions(r.Context(), kind)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(x store.Session) bool { return x.ID == id }) {
		return store.ErrNotFound
	}
	return s.cfg.Sessions.DeleteSession(r.Context(), id)
}
