package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/exeat/exeat/web"
)

// client speaks to the daemon's API: over the socket in the data directory, or
// to EXEAT_URL with EXEAT_TOKEN. Where no daemon runs, a reading client answers
// the same API from the store itself.
type client struct {
	http  *http.Client
	base  string
	token string
	close func() error
}

// errNoDaemon means that nothing answers on the data directory's socket.
var errNoDaemon = errors.New("no daemon is running for this data directory")

// connect returns a client of the running daemon, or errNoDaemon.
func connect(ctx context.Context, cfg *config) (*client, error) {
	if base := os.Getenv("EXEAT_URL"); base != "" {
		if !isOrigin(strings.TrimSuffix(base, "/")) {
			return nil, fmt.Errorf("EXEAT_URL: %q is not http(s)://HOST[:PORT]", base)
		}
		token := os.Getenv("EXEAT_TOKEN")
		if token == "" {
			return nil, try(errors.New("EXEAT_URL is set and EXEAT_TOKEN isn't"), "exeat token add NAME, on the machine where Exeat runs")
		}
		return &client{http: &http.Client{}, base: strings.TrimSuffix(base, "/"), token: token, close: noClose}, nil
	}
	path := cfg.socketPath()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, errNoDaemon
		}
		return nil, fmt.Errorf("the daemon's socket: %w", err)
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return &client{
		http: &http.Client{Transport: transport}, base: "http://exeat",
		close: func() error { transport.CloseIdleConnections(); return nil },
	}, nil
}

func noClose() error { return nil }

// need turns errNoDaemon into words for a command that can't do without.
func need(ctx context.Context, cfg *config) (*client, error) {
	c, err := connect(ctx, cfg)
	if errors.Is(err, errNoDaemon) {
		return nil, try(fmt.Errorf("%w (%s)", err, cfg.Data), "exeat serve"+cfg.dataFlag())
	}
	return c, err
}

// apiError is an answer of the API that isn't a success (RFC 9457).
type apiError struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (e *apiError) Error() string {
	if e.Detail != "" {
		return strings.TrimSuffix(e.Detail, ".")
	}
	if e.Title != "" {
		return e.Title
	}
	return "the daemon answered " + http.StatusText(e.Status)
}

// call makes one request and decodes the answer into out, unless out is nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	return nil
}

// send returns the response of a request that succeeded; its body must be
// closed.
func (c *client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	if method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	problem := &apiError{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(problem); err != nil {
		problem = &apiError{}
	}
	problem.Status = resp.StatusCode
	return nil, problem
}

// each calls do for every item of a paged listing until limit items were seen
// (0: all of them).
func each[T any](ctx context.Context, c *client, path string, query url.Values, limit int, do func(T) error) error {
	for left := limit; ; {
		var page web.List[T]
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		last := page.Next == ""
		if limit > 0 && left <= len(page.Items) {
			page.Items, last = page.Items[:left], true
		}
		if err := doAll(page.Items, do); err != nil || last {
			return err
		}
		left -= len(page.Items)
		query.Set("cursor", page.Next)
	}
}

func doAll[T any](items []T, do func(T) error) error {
	for _, item := range items {
		if err := do(item); err != nil {
			return err
		}
	}
	return nil
}

// splitRef takes "name" or "owner/name" apart.
func splitRef(ref string) (owner, name string) {
	if owner, name, ok := strings.Cut(ref, "/"); ok {
		return owner, name
	}
	return "", ref
}

// refPath is the path and query of a server named as "name" or "owner/name".
func refPath(prefix, ref, suffix string) string {
	owner, name := splitRef(ref)
	path := prefix + "/" + url.PathEscape(name) + suffix
	if owner != "" {
		path += "?owner=" + url.QueryEscape(owner)
	}
	return path
}
