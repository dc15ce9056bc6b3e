package web

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// jsonOnly refuses writes whose body isn't JSON. A form of another site can't
// send this type without asking first (CORS), which is one more bar to it.
func jsonOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || kind != "application/json" {
			writeProblem(w, problem{Status: http.StatusUnsupportedMediaType, Code: "not_json",
				Detail: "Send the body as Content-Type: application/json."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// decode reads the body into v, all of it and nothing else. An empty body is
// an empty object.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &large):
		return problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: "The body is too large."}
	case err != nil:
		return bad("bad_json", "The body is not the JSON object that is expected here: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("bad_json", "There is something after the JSON object.")
	}
	return nil
}

// reply answers with v as JSON.
func (s *Server) reply(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.log.Error("answer can't be encoded", "err", err)
		writeProblem(w, explain(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client is gone when this fails
}

// serverOf returns the server that the path names. Names are unique within an
// owner; ?owner= tells two of the same name apart.
func (s *Server) serverOf(r *http.Request) (identity.Server, error) {
	return s.find(chi.URLParam(r, "ref"), r.URL.Query().Get("owner"))
}

func (s *Server) find(name, owner string) (identity.Server, error) {
	if owner != "" {
		name = owner + "/" + name
	}
	return s.cfg.Servers.Find(name)
}

func idOf(r *http.Request) (uuid.UUID, error) {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return uuid.UUID{}, notFound("There is no such thing here.")
	}
	return id, nil
}

// query reads the parameters of a listing; the first mistake is kept.
type query struct {
	url.Values
	s   *Server
	err error
}

func (s *Server) query(r *http.Request) *query { return &query{Values: r.URL.Query(), s: s} }

func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

func (q *query) limit() int {
	text := q.Get("limit")
	if text == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		q.fail(bad("bad_limit", "limit is a number from 1 to 1000."))
		return defaultLimit
	}
	return n
}

// time reads a point in time: RFC 3339, or how long ago ("90m", "24h", "7d").
func (q *query) time(key string) time.Time {
	t, err := parseSince(q.Get(key), q.s.now())
	if err != nil {
		q.fail(bad("bad_time", key+" is a time such as 2026-01-31T12:00:00Z or an age such as 90m, 24h or 7d."))
	}
	return t
}

var errSince = errors.New("not a time")

func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return time.Time{}, errSince
		}
		return now.Add(-time.Duration(n) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, errSince
	}
	return now.Add(-d), nil
}

// server returns the ID of the server that the parameters name; zero when they
// name none.
func (q *query) server() identity.ID {
	name := q.Get("server")
	if name == "" {
		return identity.ID{}
	}
	srv, err := q.s.find(name, q.Get("owner"))
	if err != nil {
		q.fail(err)
	}
	return srv.ID
}

// host reads a host or "*.x" in its canonical form.
func (q *query) host() string {
	text := strings.TrimSpace(q.Get("host"))
	if text == "" {
		return ""
	}
	bare, wild := strings.CutPrefix(text, "*.")
	h, err := flow.ParseHost(bare)
	if err != nil {
		q.fail(bad("bad_host", "host is a name such as api.example.com, an address, or *.example.com."))
		return ""
	}
	if wild {
		return "*." + h
	}
	return h
}

func (q *query) port() uint16 {
	text := q.Get("port")
	if text == "" {
		return 0
	}
	p, err := flow.ParsePort(text)
	if err != nil {
		q.fail(bad("bad_port", "port is a number from 1 to 65535."))
	}
	return p
}

// word reads a parameter that is one of a few words.
func word[T ~string](q *query, key string, known ...T) T {
	v := T(q.Get(key))
	if v == "" {
		return ""
	}
	for _, k := range known {
		if v == k {
			return v
		}
	}
	q.fail(bad("bad_"+key, key+" is not one of the words that it can be."))
	return ""
}

func (q *query) flows() store.FlowQuery {
	return store.FlowQuery{
		Server: q.server(), Host: q.host(), Port: q.port(),
		Verdict: word(q, "verdict", flow.Allowed, flow.Refused),
		Grade: word(q, "grade", flow.GradeVerified, flow.GradeNoSNI, flow.GradeSNIDiffers,
			flow.GradeCaptured, flow.GradeIPLiteral, flow.GradeNotTLS, flow.GradeHidden),
		Reason: flow.Reason(q.Get("reason")),
		Since:  q.time("since"), Until: q.time("until"),
		Open:  q.Get("open") == "true" || q.Get("open") == "1",
		Limit: q.limit(), Cursor: q.Get("cursor"),
	}
}

func (q *query) alerts() store.AlertQuery {
	return store.AlertQuery{
		Server: q.server(),
		Status: word(q, "status", detect.Open, detect.Acknowledged, detect.Resolved),
		Kind:   detect.Kind(q.Get("kind")), Since: q.time("since"),
		Limit: q.limit(), Cursor: q.Get("cursor"),
	}
}
