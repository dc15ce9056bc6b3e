package web

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// answerPage answers with one page of a listing.
func answerPage[A, B any](s *Server, w http.ResponseWriter, r *http.Request, p store.Page[A], err error, f func(A) B) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, List[B]{Items: mapped(p.Items, f), Next: p.Next})
}

func asIs[T any](v T) T { return v }

func (s *Server) apiFlows(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	fq := q.flows()
	var p store.Page[flow.Flow]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Flows(r.Context(), fq)
	}
	answerPage(s, w, r, p, err, asIs)
}

func (s *Server) apiFlow(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var f flow.Flow
	if err == nil {
		f, err = s.cfg.Store.Flow(r.Context(), id)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, f)
}

func (s *Server) apiDestinations(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	dq := store.DestinationQuery{Server: q.server(), Host: q.host(), Limit: q.limit(), Cursor: q.Get("cursor")}
	since := q.time("since")
	var p store.Page[store.Destination]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Destinations(r.Context(), dq)
	}
	if !since.IsZero() {
		kept := p.Items[:0]
		for _, d := range p.Items {
			if !d.LastSeen.Before(since) {
				kept = append(kept, d)
			}
		}
		p.Items = kept
	}
	answerPage(s, w, r, p, err, NewDestinationJSON)
}

func (s *Server) apiBaselines(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	q.limit()
	if q.err != nil {
		s.fail(w, r, q.err)
		return
	}
	// Live in memory and one line a server: a page holds them all.
	s.reply(w, http.StatusOK, List[BaselineSummary]{Items: mapped(s.cfg.Servers.Servers(), s.summary)})
}

func (s *Server) apiBaseline(w http.ResponseWriter, r *http.Request) {
	srv, err := s.serverOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q := s.query(r)
	state := word(q, "state", baseline.Candidate, baseline.Approved, baseline.Rejected)
	if q.err != nil {
		s.fail(w, r, q.err)
		return
	}
	out := BaselineJSON{BaselineSummary: s.summary(srv), Items: []EntryJSON{}}
	for _, e := range s.cfg.Baselines.Entries(srv.ID) {
		if state == "" || e.State == state {
			out.Items = append(out.Items, NewEntryJSON(e))
		}
	}
	s.reply(w, http.StatusOK, out)
}

func (s *Server) apiApprove(w http.ResponseWriter, r *http.Request) { s.apiDecide(w, r, true) }
func (s *Server) apiReject(w http.ResponseWriter, r *http.Request)  { s.apiDecide(w, r, false) }

func (s *Server) apiDecide(w http.ResponseWriter, r *http.Request, approve bool) {
	var q DecideRequest
	srv, err := s.serverAnd(r, &q)
	var entries []baseline.Entry
	if err == nil {
		entries, err = s.decideOn(r.Context(), srv, approve, q, actor(r))
	}
	answerPage(s, w, r, store.Page[baseline.Entry]{Items: entries}, err, NewEntryJSON)
}

func (s *Server) apiAlerts(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	aq := q.alerts()
	var p store.Page[detect.Alert]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Alerts(r.Context(), aq)
	}
	answerPage(s, w, r, p, err, asIs)
}

func (s *Server) apiAlert(w http.ResponseWriter, r *http.Request) {
	id, err := idOf(r)
	var a detect.Alert
	if err == nil {
		a, err = s.cfg.Store.Alert(r.Context(), id)
	}
	s.answerAlert(w, r, a, err)
}

func (s *Server) answerAlert(w http.ResponseWriter, r *http.Request, a detect.Alert, err error) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, http.StatusOK, a)
}

func (s *Server) apiAck(w http.ResponseWriter, r *http.Request)     { s.apiSettle(w, r, "ack") }
func (s *Server) apiResolve(w http.ResponseWriter, r *http.Request) { s.apiSettle(w, r, "resolve") }

func (s *Server) apiAlertApprove(w http.ResponseWriter, r *http.Request) {
	s.apiSettle(w, r, "approve")
}

func (s *Server) apiAlertReject(w http.ResponseWriter, r *http.Request) {
	s.apiSettle(w, r, "reject")
}

// SettleRequest is the body of POST /api/v1/alerts/{id}/…; it may be empty.
type SettleRequest struct {
	// Note goes into the baseline with approve and reject.
	Note string `json:"note,omitempty"`
	// Target is the "host:port" that whoever approves or rejects has in mind.
	// An alert is about a family of hosts and shows the latest; if that is
	// another one by now, nothing is decided (409). Empty: the latest.
	Target string `json:"target,omitempty"`
}

func (s *Server) apiSettle(w http.ResponseWriter, r *http.Request, action string) {
	var q SettleRequest
	id, err := idOf(r)
	if err == nil {
		err = decode(r, &q)
	}
	var a detect.Alert
	if err == nil {
		a, err = s.settle(r.Context(), id, action, q, actor(r))
	}
	s.answerAlert(w, r, a, err)
}

// settle does what a person decided about an alert.
func (s *Server) settle(ctx context.Context, id uuid.UUID, action string, q SettleRequest, who string) (detect.Alert, error) {
	switch action {
	case "ack":
		return s.cfg.Journal.SetAlertStatus(ctx, id, detect.Acknowledged, who)
	case "resolve":
		return s.cfg.Journal.SetAlertStatus(ctx, id, detect.Resolved, who)
	case "approve":
		return s.decideAlert(ctx, id, true, q, who)
	case "reject":
		return s.decideAlert(ctx, id, false, q, who)
	}
	return detect.Alert{}, bad("bad_action", "An alert can be acknowledged, resolved, approved or rejected.")
}

func (s *Server) apiAudit(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	aq := store.AuditQuery{Server: q.server(), Since: q.time("since"), Limit: q.limit(), Cursor: q.Get("cursor")}
	var p store.Page[identity.Change]
	err := q.err
	if err == nil {
		p, err = s.cfg.Store.Audit(r.Context(), aq)
	}
	answerPage(s, w, r, p, err, func(c identity.Change) identity.Change {
		c.At = c.At.UTC()
		return c
	})
}
