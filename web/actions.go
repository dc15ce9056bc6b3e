package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// What pages and API do alike is here, once.

const (
	maxNote        = 500
	maxTargets     = 500
	defaultOverlap = time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

// newServer checks what a request says about a server to be.
func (s *Server) newServer(q NewServerRequest) (identity.NewServer, error) {
	name, err := identity.ParseName(q.Name)
	if err != nil {
		return identity.NewServer{}, bad("bad_name", sentence(err.Error()))
	}
	n := identity.NewServer{Name: name, Owner: q.Owner, Command: q.Command, Package: q.Package, Version: q.Version,
		LearnFor: s.cfg.LearnFor}
	if q.Mode != "" {
		if n.Mode, err = identity.ParseMode(q.Mode); err != nil {
			return identity.NewServer{}, bad("bad_mode", sentence(err.Error()))
		}
	}
	return n, nil
}

// issued puts a fresh credential into the form that is shown once.
func (s *Server) issued(srv identity.Server, token string, created bool) Issued {
	u := *s.cfg.ProxyURL
	u.User = url.UserPassword(string(srv.Name), token)
	return Issued{
		Name: srv.Name, Owner: srv.Owner, Mode: srv.Mode, ID: srv.ID, Created: created,
		Token: token, ProxyURL: u.String(), Proxy: s.cfg.ProxyURL.String(),
	}
}

func (s *Server) summary(srv identity.Server) BaselineSummary {
	b := BaselineSummary{Server: srv.Name, Owner: srv.Owner,
		Version: s.cfg.Baselines.Version(srv.ID), Overflow: s.cfg.Baselines.Overflow(srv.ID)}
	for _, e := range s.cfg.Baselines.Entries(srv.ID) {
		switch e.State {
		case baseline.Approved:
			b.Approved++
		case baseline.Rejected:
			b.Rejected++
		case baseline.Candidate:
			b.Candidates++
		}
	}
	return b
}

// targets reads the destinations of a decision.
func targets(texts []string) ([]baseline.Target, error) {
	if len(texts) == 0 {
		return nil, bad("no_targets", "Say which destinations are meant.")
	}
	if len(texts) > maxTargets {
		return nil, bad("too_many_targets", "At most 500 destinations can be decided at once.")
	}
	out := make([]baseline.Target, 0, len(texts))
	for _, text := range texts {
		t, err := baseline.ParseTarget(strings.TrimSpace(text))
		if err != nil {
			return nil, problem{Status: http.StatusUnprocessableEntity, Code: "bad_target",
				Detail: "“" + clip(text, 100) + "” can't be decided on: " + err.Error() + "."}
		}
		out = append(out, t)
	}
	return out, nil
}

// decideOn approves or rejects destinations of one server.
func (s *Server) decideOn(ctx context.Context, srv identity.Server, approve bool, q DecideRequest, who string) ([]baseline.Entry, error) {
	ts, err := targets(q.Targets)
	if err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(q.Note) > maxNote {
		return nil, bad("long_note", "A note has at most 500 characters.")
	}
	d := baseline.Decision{Grades: q.Grades, Note: q.Note}
	do := s.cfg.Baselines.Reject
	if approve {
		do = s.cfg.Baselines.Approve
	}
	entries, err := do(ctx, srv, ts, d, who)
	s.changed(srv.ID, err)
	return entries, err
}

// changed tells other pages that a server or its baseline is not what it was.
func (s *Server) changed(id identity.ID, err error) {
	if err == nil {
		s.cfg.Events.Publish(record.Event{Server: id})
	}
}

// decideAlert approves or rejects the destination that an alert is about, then
// resolves the alert.
func (s *Server) decideAlert(ctx context.Context, id uuid.UUID, approve bool, settle SettleRequest, who string) (detect.Alert, error) {
	a, err := s.cfg.Store.Alert(ctx, id)
	if err != nil {
		return detect.Alert{}, err
	}
	srv, ok := s.cfg.Servers.Server(a.ServerID)
	if !ok {
		return detect.Alert{}, identity.ErrUnknownServer
	}
	if !decidable(a) {
		return detect.Alert{}, problem{Status: http.StatusConflict, Code: "not_decidable",
			Detail: "This alert is not about a destination that a baseline could hold. Acknowledge or resolve it."}
	}
	dest := flow.Destination{Host: a.Host, Port: a.Port}
	if settle.Target != "" && settle.Target != dest.String() {
		return detect.Alert{}, problem{Status: http.StatusConflict, Code: "target_changed",
			Detail: "The server has asked for another host since: this alert is now about " + dest.String() + ". Nothing was decided; look at it again."}
	}
	q := DecideRequest{Targets: []string{dest.String()}, Note: settle.Note}
	if approve {
		q.Grades = append(gradesOf(a.Kind), s.accepted(srv.ID, dest)...)
	}
	if _, err := s.decideOn(ctx, srv, approve, q, who); err != nil {
		return detect.Alert{}, err
	}
	return s.cfg.Journal.SetAlertStatus(ctx, id, detect.Resolved, who)
}

// accepted returns the grades that an entry accepts already, and verified: an
// approval given on an alert's page accepts what the alert is about and
// nothing that came since.
func (s *Server) accepted(id identity.ID, d flow.Destination) []flow.Grade {
	for _, e := range s.cfg.Baselines.Entries(id) {
		if string(e.Host) == d.Host && e.Port == d.Port && e.State == baseline.Approved {
			return e.Grades
		}
	}
	return []flow.Grade{flow.GradeVerified}
}

// decidable reports whether the baseline can settle the cause of a. What the
// address guard refuses stays refused whatever the baseline says.
func decidable(a detect.Alert) bool {
	switch a.Kind {
	case detect.NewDestination, detect.RiskyDestination, detect.NoSNI, detect.NotTLS, detect.HiddenName, detect.IPLiteral:
		return a.Host != "" && a.Port != 0
	}
	return false
}

// gradesOf says which grade has to be accepted so that approving a
// destination settles an alert of this kind.
func gradesOf(k detect.Kind) []flow.Grade {
	switch k {
	case detect.NoSNI:
		return []flow.Grade{flow.GradeNoSNI}
	case detect.NotTLS:
		return []flow.Grade{flow.GradeNotTLS}
	case detect.HiddenName:
		return []flow.Grade{flow.GradeHidden}
	case detect.IPLiteral:
		return []flow.Grade{flow.GradeIPLiteral}
	}
	return nil
}

// openListener opens a server's own listener.
func (s *Server) listenerOf(ctx context.Context, srv identity.Server) (Listener, error) {
	if s.cfg.Listeners == nil {
		return Listener{}, problem{Status: http.StatusNotImplemented, Code: "no_listeners",
			Detail: "This Exeat does not open listeners for single servers."}
	}
	addr, err := s.cfg.Listeners.Open(ctx, srv.ID)
	if err != nil {
		return Listener{}, err
	}
	return Listener{Listen: addr, ProxyURL: (&url.URL{Scheme: "http", Host: addr}).String()}, nil
}

// newToken makes an API token.
func (s *Server) newToken(ctx context.Context, q TokenRequest) (store.Session, string, error) {
	label := strings.TrimSpace(q.Label)
	if label == "" || utf8.RuneCountInString(label) > 80 {
		return store.Session{}, "", bad("bad_label", "A token needs a label of 1 to 80 characters, so that it can be told apart.")
	}
	days := q.Days
	if days == 0 {
		days = 90
	}
	if days < 1 || days > 3650 {
		return store.Session{}, "", bad("bad_days", "days is a number from 1 to 3650.")
	}
	return s.gate.open(ctx, store.SessionToken, label, time.Duration(days)*24*time.Hour)
}

// sentence makes an error's text one: a capital first, a full stop last.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	r, n := utf8.DecodeRuneInString(text)
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return strings.ToUpper(string(r)) + text[n:]
}

// clip cuts text after n characters.
func clip(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i] + "…"
		}
		n--
	}
	return text
}
