package web

import (
	"encoding/base64"
	"net/http"
	"time"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

func (s *Server) apiServers(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	limit, after, since := q.limit(), q.Get("cursor"), q.time("since")
	start, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		q.fail(store.ErrBadCursor)
	}
	if q.err != nil {
		s.fail(w, r, q.err)
		return
	}
	totals, err := s.cfg.Store.Totals(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := List[ServerJSON]{Items: []ServerJSON{}}
	last := ""
	for _, srv := range s.cfg.Servers.Servers() {
		key, t := place(srv), totals[srv.ID]
		if key <= string(start) || (!since.IsZero() && t.LastSeen.Before(since)) {
			continue
		}
		if len(out.Items) == limit {
			out.Next = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		out.Items = append(out.Items, NewServerJSON(srv, t))
		last = key
	}
	s.reply(w, http.StatusOK, out)
}

// place is where a server stands in the order of Servers. A name holds no
// NUL, so that the key sorts like the pair.
func place(s identity.Server) string { return string(s.Name) + "\x00" + s.Owner }

func (s *Server) apiServer(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	totals, err := s.cfg.Store.Totals(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, ServerDetail{
		ServerJSON: NewServerJSON(srv, totals[srv.ID]), ID: srv.ID, Created: srv.Created.UTC(),
		Launched: stamp(srv.Launched), LearnUntil: stamp(srv.LearnUntil), Listen: srv.Listen,
		Baseline: s.summary(srv), Creds: mapped(s.cfg.Servers.Credentials(srv.ID), credentialJSON),
	})
}

func (s *Server) apiAddServer(w http.ResponseWriter, r *http.Request) {
	var q NewServerRequest
	if err := decode(r, &q); err != nil {
		s.fail(w, r, err)
		return
	}
	n, err := s.newServer(q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	srv, token, err := s.cfg.Servers.Add(r.Context(), n, actor(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.changed(srv.ID, nil)
	s.reply(w, http.StatusCreated, s.issued(srv, token, true))
}

func (s *Server) apiEnrol(w http.ResponseWriter, r *http.Request) {
	var q EnrolRequest
	if err := decode(r, &q); err != nil {
		s.fail(w, r, err)
		return
	}
	n, err := s.newServer(q.NewServerRequest)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	who := runActor(r)
	srv, token, created, err := s.cfg.Servers.Enrol(r.Context(), n, who)
	if err == nil && q.Launch {
		l := identity.Launch{Command: q.Command, Package: q.Package, Version: q.Version}
		err = s.cfg.Servers.Launched(r.Context(), srv.ID, l, who)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if q.Launch && q.PID > 0 && visitorOf(r).peer != nil && s.cfg.Launched != nil {
		s.cfg.Launched(srv.ID, q.PID)
	}
	s.changed(srv.ID, nil)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	s.reply(w, status, s.issued(srv, token, created))
}

// runActor is "run:UID" for exeat run on the socket, so that the audit trail
// tells launching from deciding.
func runActor(r *http.Request) string {
	who := actor(r)
	if len(who) > 4 && who[:4] == "cli:" {
		return "run:" + who[4:]
	}
	return who
}

func (s *Server) apiSetMode(w http.ResponseWriter, r *http.Request) {
	var q ModeRequest
	srv, err := s.serverAnd(r, &q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	mode, err := identity.ParseMode(q.Mode)
	if err != nil {
		s.fail(w, r, bad("bad_mode", sentence(err.Error())))
		return
	}
	s.answerServer(w, r, srv.ID, s.cfg.Servers.SetMode(r.Context(), srv.ID, mode, actor(r)))
}

// serverAnd returns the server of the path and reads the body into q.
func (s *Server) serverAnd(r *http.Request, q any) (identity.Server, error) {
	srv, err := s.serverOf(r)
	if err != nil {
		return srv, err
	}
	return srv, decode(r, q)
}

// answerServer answers with the server as it now is, or with err.
func (s *Server) answerServer(w http.ResponseWriter, r *http.Request, id identity.ID, err error) {
	s.changed(id, err)
	srv, ok := s.cfg.Servers.Server(id)
	if err == nil && !ok {
		err = identity.ErrUnknownServer
	}
	var totals map[identity.ID]store.Totals
	if err == nil {
		totals, err = s.cfg.Store.Totals(r.Context())
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, NewServerJSON(srv, totals[id]))
}

func (s *Server) apiRotate(w http.ResponseWriter, r *http.Request) {
	var q RotateRequest
	srv, err := s.serverAnd(r, &q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	overlap := defaultOverlap
	if q.Overlap != nil {
		overlap = time.Duration(*q.Overlap) * time.Second
		if *q.Overlap < 0 || *q.Overlap > int64(maxOverlap/time.Second) {
			s.fail(w, r, bad("bad_overlap", "overlap is a number of seconds from 0 to 604800, which is a week."))
			return
		}
	}
	token, err := s.cfg.Servers.Rotate(r.Context(), srv.ID, overlap, actor(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.changed(srv.ID, nil)
	s.reply(w, http.StatusOK, s.issued(srv, token, false))
}

func (s *Server) apiRevoke(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverAnd(r, &struct{}{})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answerServer(w, r, srv.ID, s.cfg.Servers.Revoke(r.Context(), srv.ID, actor(r)))
}

func (s *Server) apiRename(w http.ResponseWriter, r *http.Request) {
	var q RenameRequest
	srv, err := s.serverAnd(r, &q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	name, err := identity.ParseName(q.Name)
	if err != nil {
		s.fail(w, r, bad("bad_name", sentence(err.Error())))
		return
	}
	s.answerServer(w, r, srv.ID, s.cfg.Servers.Rename(r.Context(), srv.ID, name, actor(r)))
}

func (s *Server) apiListener(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverAnd(r, &struct{}{})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	l, err := s.listenerOf(r.Context(), srv)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, l)
}

func (s *Server) apiRemoveServer(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverAnd(r, &struct{}{})
	if err == nil {
		err = s.cfg.Servers.Remove(r.Context(), srv.ID, actor(r))
		s.changed(srv.ID, err)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
