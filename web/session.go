package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/exeat/exeat/store"
)

const (
	sessionLife = 30 * 24 * time.Hour // after the last day on which it was used
	linkLife    = 10 * time.Minute
	maxLinks    = 32 // sign-in links waiting to be used
	tokenPrefix = "exeat_"
	touchEvery  = time.Minute
	renewEvery  = 24 * time.Hour
)

// Failures of one address: ten at once, then one in six seconds. The right
// secret is let through whatever came before it.
const (
	failBurst   = 10
	failEvery   = 6 * time.Second
	failSources = 1024
)

// visitor is who makes a request.
type visitor struct {
	actor   string // for the audit trail
	session store.Session
	peer    *Peer // set on the Unix socket
}

type visitorKey struct{}

func withVisitor(ctx context.Context, v visitor) context.Context {
	return context.WithValue(ctx, visitorKey{}, v)
}

func visitorOf(r *http.Request) visitor {
	v, _ := r.Context().Value(visitorKey{}).(visitor)
	return v
}

func actor(r *http.Request) string { return visitorOf(r).actor }

// gate knows who may come in: sign-in links (in memory, they live for minutes)
// and sessions (in the store, by the SHA-256 of their secret).
type gate struct {
	sessions Sessions
	now      func() time.Time
	secure   bool

	mu       sync.Mutex
	links    map[[32]byte]time.Time // by hash of the token; value: expiry
	failures map[string]*rate.Limiter
}

func newGate(sessions Sessions, now func() time.Time, secure bool) *gate {
	return &gate{sessions: sessions, now: now, secure: secure,
		links: map[[32]byte]time.Time{}, failures: map[string]*rate.Limiter{}}
}

func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashOf(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// newLink makes a token that opens one browser session.
func (g *gate) newLink() (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	for h, expires := range g.links {
		if !now.Before(expires) {
			delete(g.links, h)
		}
	}
	if len(g.links) >= maxLinks {
		return "", problem{Status: http.StatusTooManyRequests, Code: "too_many_links",
			Detail: "Too many sign-in links wait to be used. They expire within ten minutes."}
	}
	token := newSecret()
	g.links[hashOf(token)] = now.Add(linkLife)
	return token, nil
}

// takeLink uses a token up and reports whether it was good.
func (g *gate) takeLink(token string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := hashOf(token)
	expires, ok := g.links[h]
	delete(g.links, h)
	return ok && g.now().Before(expires)
}

// open makes a session and returns it with its secret.
func (g *gate) open(ctx context.Context, kind store.SessionKind, label string, life time.Duration) (store.Session, string, error) {
	secret := newSecret()
	if kind == store.SessionToken {
		secret = tokenPrefix + secret
	}
	now := g.now().UTC()
	id, err := uuid.NewV7()
	if err != nil {
		return store.Session{}, "", fmt.Errorf("web: session id: %w", err)
	}
	s := store.Session{ID: id, Hash: hashOf(secret), Kind: kind, Label: label,
		Created: now, Seen: now, Expires: now.Add(life)}
	if err := g.sessions.PutSession(ctx, s); err != nil {
		return store.Session{}, "", fmt.Errorf("web: keep the session: %w", err)
	}
	return s, secret, nil
}

// errNoSession says that a request shows no secret, or not a good one.
var errNoSession = errors.New("no session")

// find returns the session that secret opens, and whether it was prolonged.
func (g *gate) find(ctx context.Context, secret string, kind store.SessionKind) (s store.Session, renewed bool, err error) {
	s, err = g.sessions.SessionByHash(ctx, hashOf(secret))
	now := g.now()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Session{}, false, errNoSession
	case err != nil:
		return store.Session{}, false, err
	case s.Kind != kind || !now.Before(s.Expires):
		return store.Session{}, false, errNoSession
	}
	if kind == store.SessionBrowser && s.Expires.Sub(now) < sessionLife-renewEvery {
		s.Expires, s.Seen = now.UTC().Add(sessionLife), now.UTC()
		renewed = g.sessions.PutSession(ctx, s) == nil
	} else if now.Sub(s.Seen) >= touchEvery {
		// Last use is a convenience: a store that can't be written must not
		// lock people out.
		_ = g.sessions.TouchSession(ctx, s.ID, now.UTC().Truncate(time.Minute))
	}
	return s, renewed, nil
}

// failed counts a wrong secret and reports whether its source is to be slowed
// down.
func (g *gate) failed(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.failures[host]
	if !ok {
		if len(g.failures) >= failSources {
			clear(g.failures) // a crowd of sources: start again rather than grow
		}
		l = rate.NewLimiter(rate.Every(failEvery), failBurst)
		g.failures[host] = l
	}
	return !l.AllowN(g.now(), 1)
}

// cookieName carries the __Host- prefix where the browser honours it, which is
// only over https.
func (g *gate) cookieName() string {
	if g.secure {
		return "__Host-exeat_session"
	}
	return "exeat_session"
}

func (g *gate) cookie(value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: g.cookieName(), Value: value, Path: "/", HttpOnly: true,
		Secure: g.secure, SameSite: http.SameSiteStrictMode, MaxAge: int(life / time.Second)}
	if life <= 0 {
		c.MaxAge = -1
	}
	return c
}

// identify returns who makes r, from its token or its cookie.
func (g *gate) identify(w http.ResponseWriter, r *http.Request) (visitor, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(token, tokenPrefix) {
			return visitor{}, errNoSession
		}
		s, _, err := g.find(r.Context(), token, store.SessionToken)
		return visitor{actor: "token:" + short(s.ID), session: s}, err
	}
	c, err := r.Cookie(g.cookieName())
	if err != nil || c.Value == "" {
		return visitor{}, errNoSession
	}
	s, renewed, err := g.find(r.Context(), c.Value, store.SessionBrowser)
	if renewed {
		http.SetCookie(w, g.cookie(c.Value, sessionLife))
	}
	return visitor{actor: "web:" + short(s.ID), session: s}, err
}

// short is the tail of a UUID: its head is a time and the same for neighbours.
func short(id uuid.UUID) string {
	s := id.String()
	return s[len(s)-12:]
}

// needSession lets in who is signed in.
func (s *Server) needSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := s.gate.identify(w, r)
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(withVisitor(r.Context(), v)))
		case !errors.Is(err, errNoSession):
			s.log.Error("session can't be read", "err", err)
			s.refuse(w, r, explain(err))
		default:
			s.turnAway(w, r)
		}
	})
}

// turnAway answers a request without a session: 401 for programs, the way to
// the sign-in page for people.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request) {
	shown := r.Header.Get("Authorization") != ""
	if _, err := r.Cookie(s.gate.cookieName()); err == nil {
		shown = true
	}
	if shown && s.gate.failed(r) {
		s.refuse(w, r, tooManyFailures(w))
		return
	}
	if isAPI(r) || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="exeat"`)
		s.refuse(w, r, problem{Status: http.StatusUnauthorized, Code: "no_session",
			Detail: "This needs a session: sign in, or send an API token as Authorization: Bearer exeat_…"})
		return
	}
	if !shown && r.Header.Get("Sec-Fetch-Site") != "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" &&
		r.Header.Get("Sec-Fetch-Site") != "none" {
		// A link from another site (a chat message, say): the browser kept our
		// SameSite=Strict cookie back. From a page of ours it will send it.
		s.bounce(w, r)
		return
	}
	http.Redirect(w, r, "/signin?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
}

func tooManyFailures(w http.ResponseWriter) problem {
	w.Header().Set("Retry-After", "6")
	return problem{Status: http.StatusTooManyRequests, Code: "throttled",
		Detail: "Too many failed attempts from this address. Wait a few seconds."}
}

// localPath returns next if it is a path on this site, else "/". What a
// browser would read as another host ("//evil", "/\evil") is refused.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") || strings.HasPrefix(u.Path, "/signin") {
		return "/"
	}
	return next
}
