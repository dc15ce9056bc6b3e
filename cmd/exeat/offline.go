package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// reading returns a client for a listing: of the daemon if one runs, otherwise
// of the store itself, read-only, through the very same API.
func reading(ctx context.Context, cfg *config) (*client, error) {
	c, err := connect(ctx, cfg)
	if !errors.Is(err, errNoDaemon) {
		return c, err
	}
	return offline(ctx, cfg)
}

// offline serves the API from the store inside this process.
func offline(ctx context.Context, cfg *config) (*client, error) {
	db, err := store.OpenReadOnly(ctx, cfg.storePath())
	if err != nil {
		return nil, try(err, "exeat serve, or --data DIR if the data is elsewhere")
	}
	handler, err := offlineHandler(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &client{
		http: &http.Client{Transport: inProcess{handler}}, base: "http://exeat",
		close: db.Close,
	}, nil
}

func offlineHandler(ctx context.Context, db *store.DB) (http.Handler, error) {
	registry, err := identity.NewRegistry(ctx, identity.Config{Store: db})
	if err != nil {
		return nil, err
	}
	book, err := baseline.NewBook(ctx, baseline.BookConfig{Store: db})
	if err != nil {
		return nil, err
	}
	here := &url.URL{Scheme: "http", Host: "exeat"}
	server, err := web.New(web.Config{
		Servers: registry, Baselines: book, Store: db, Sessions: db,
		Journal: noJournal{}, Events: &record.Hub{},
		ProxyURL: here, PublicURL: here, Version: version(),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return nil, err
	}
	return server.SocketHandler(), nil
}

// noJournal stands where the daemon's journal would: nothing is happening.
type noJournal struct{}

func (noJournal) Status() record.Status { return record.Status{} }

func (noJournal) SetAlertStatus(context.Context, uuid.UUID, detect.Status, string) (detect.Alert, error) {
	return detect.Alert{}, errNoDaemon
}

// inProcess answers requests by calling a handler.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := &answer{header: make(http.Header), status: http.StatusOK}
	ctx := web.WithPeer(r.Context(), web.Peer{UID: uint32(os.Getuid()), PID: os.Getpid()})
	t.handler.ServeHTTP(answer, r.WithContext(ctx))
	return &http.Response{
		StatusCode: answer.status, Header: answer.header, Request: r,
		Body: io.NopCloser(&answer.body), ContentLength: int64(answer.body.Len()),
	}, nil
}

// answer collects what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
