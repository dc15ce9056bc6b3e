package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// problem is an error as the API tells it (RFC 9457). Type is left out, which
// means "about:blank": Title is then the status in words, and Code carries the
// stable word for programs.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// problem is an error that may be shown to a person.
func (p problem) Error() string { return p.Detail }

func bad(code, detail string) problem {
	return problem{Status: http.StatusBadRequest, Code: code, Detail: detail}
}

func notFound(detail string) problem {
	return problem{Status: http.StatusNotFound, Code: "not_found", Detail: detail}
}

// explain turns err into what may be told. The text of an error that isn't
// known here stays in the log.
func explain(err error) problem {
	var p problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, identity.ErrUnknownServer):
		return problem{Status: http.StatusNotFound, Code: "unknown_server", Detail: "There is no server of that name."}
	case errors.Is(err, identity.ErrExists):
		return problem{Status: http.StatusConflict, Code: "exists", Detail: "A server of that name exists already."}
	case errors.Is(err, identity.ErrRevoked):
		return problem{Status: http.StatusConflict, Code: "revoked", Detail: "The server was revoked, which is for good. Remove it and add it again to start afresh."}
	case errors.Is(err, identity.ErrAmbiguous):
		return problem{Status: http.StatusConflict, Code: "ambiguous", Detail: "Several owners have a server of that name: add ?owner=."}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrClosed):
		return problem{Status: http.StatusServiceUnavailable, Code: "store_unavailable",
			Detail: "The store can't be written now, so nothing was changed. exeat doctor says why."}
	case errors.Is(err, store.ErrBadQuery):
		return bad("bad_query", sentence(err.Error()))
	case errors.Is(err, store.ErrNotFound), errors.Is(err, record.ErrNoAlert):
		return notFound("There is no such thing here.")
	case errors.Is(err, store.ErrBadCursor):
		return bad("bad_cursor", "The cursor is not one that this listing gave.")
	case errors.Is(err, baseline.ErrNoEntry):
		return problem{Status: http.StatusNotFound, Code: "no_entry", Detail: "The baseline has no such entry."}
	case errors.Is(err, baseline.ErrSharedHosting), errors.Is(err, baseline.ErrBadPattern),
		errors.Is(err, baseline.ErrNoTarget), errors.Is(err, baseline.ErrBadGrade):
		return problem{Status: http.StatusUnprocessableEntity, Code: "bad_target", Detail: sentence(err.Error())}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return problem{Status: http.StatusServiceUnavailable, Code: "timeout", Detail: "The store did not answer in time. Try again."}
	}
	return problem{Status: http.StatusInternalServerError, Code: "internal",
		Detail: "Something went wrong here. The log of exeat serve has the cause."}
}

// fail answers an API call that could not be done.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := explain(err)
	s.logFailure(r, p, err)
	writeProblem(w, p)
}

// logFailure notes what is our fault; a client that went away is nobody's.
func (s *Server) logFailure(r *http.Request, p problem, err error) {
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.log.Error("request failed", "method", r.Method, "route", route(r), "err", err)
	}
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone when this fails
}

// refuse answers with p in the form that the request wants: a page for a
// browser, a problem for a program.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p problem) {
	if isAPI(r) {
		writeProblem(w, p)
		return
	}
	s.errorPage(w, r, p)
}
