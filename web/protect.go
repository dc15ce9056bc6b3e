package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
)

// policyCSP lets a page load our own style sheet and module and nothing else.
// No inline script or style is ever needed.
const policyCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// maxBody is how long a request's body may be, in bytes.
const maxBody = 256 << 10

// protect sets the headers that every answer carries.
func protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policyCSP)
		h.Set("X-Content-Type-Options", "nosniff")
		// Not no-referrer: that makes the Origin of our own forms "null", which an
		// address without https has nothing else to be judged by.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// checkHost answers only for the names that we go by. It is what stops DNS
// rebinding: a page of evil.example whose name was pointed at 127.0.0.1 is of
// our origin for the browser, but its Host still says evil.example.
func (s *Server) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hosts[strings.ToLower(r.Host)] {
			writeProblem(w, problem{Status: http.StatusMisdirectedRequest, Code: "wrong_host",
				Detail: "This address is not answered under that host name. Add it as web.public_url if it is meant to be."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isolate turns away what another origin's page asks for, unless it is a link
// being followed (Fetch Metadata). SameSite alone does not tell ports apart:
// to a browser, any program's page on localhost is the same site as ours.
func (s *Server) isolate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "same-origin", "none":
		default:
			link := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
				r.Header.Get("Sec-Fetch-Dest") == "document" && !isAPI(r)
			if !link {
				s.refuse(w, r, problem{Status: http.StatusForbidden, Code: "cross_origin",
					Detail: "This request came from another site's page and was not carried out."})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// bounded keeps a request's body small.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// recovering turns a panic of ours into an answer and a line in the log.
func (s *Server) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			s.log.Error("panic in a handler", "route", route(r), "panic", v, "stack", string(debug.Stack()))
			writeProblem(w, explain(fmt.Errorf("panic: %v", v)))
		}()
		next.ServeHTTP(w, r)
	})
}

// Peer is the process at the other end of the Unix socket (SO_PEERCRED).
type Peer struct {
	UID uint32
	PID int
}

type peerKey struct{}

// WithPeer returns a context that carries p. Use it in http.Server.ConnContext.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// needPeer lets a known peer in who isn't part of a launched server.
func (s *Server) needPeer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(Peer)
		if !ok {
			writeProblem(w, problem{Status: http.StatusForbidden, Code: "unknown_peer",
				Detail: "The system did not say which process is asking."})
			return
		}
		if s.cfg.Inside != nil && s.cfg.Inside(p.PID) {
			s.turnDown(w, r, p)
			return
		}
		who := visitor{actor: "cli:" + strconv.FormatUint(uint64(p.UID), 10), peer: &p}
		next.ServeHTTP(w, r.WithContext(withVisitor(r.Context(), who)))
	})
}

// turnDown refuses a launched server that came to decide about itself.
func (s *Server) turnDown(w http.ResponseWriter, r *http.Request, p Peer) {
	if s.cfg.SelfAccess != nil {
		s.cfg.SelfAccess(r.Context(), p)
	}
	s.refuse(w, r, problem{Status: http.StatusForbidden, Code: "self_access",
		Detail: "A program that runs as an MCP server can't speak to Exeat: it could approve itself. If you are a person, use the exeat command from a terminal."})
}

// notInside refuses what a launched server asks to be changed over TCP, with
// whatever secret: it may have read a token from the environment, or been sent
// the browser's cookie, which doesn't tell ports of localhost apart. Reading is
// not looked into: finding the process takes milliseconds.
func (s *Server) notInside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, in := s.comesFromInside(r); in {
			s.turnDown(w, r, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// comesFromInside reports whether a launched process holds the client's end of
// r's connection, and which. While servers are running, a connection from this
// machine that can't be traced to any process counts as theirs.
func (s *Server) comesFromInside(r *http.Request) (Peer, bool) {
	if s.cfg.Inside == nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return Peer{}, false
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if err != nil || !ok {
		return Peer{}, false
	}
	// The kernel's tables name no zones.
	bare := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	}
	client = bare(client)
	if !ofThisMachine(client.Addr()) {
		return Peer{}, false
	}
	pid, known, err := holder(client, bare(local.AddrPort()), s.cfg.Inside)
	if err != nil {
		s.log.Warn("can't tell which process is asking", "err", err)
	}
	if pid != 0 {
		return Peer{PID: pid}, true
	}
	// Who closes the connection before anybody can look has a reason.
	return Peer{}, !known && s.cfg.AnyInside != nil && s.cfg.AnyInside()
}

// ofThisMachine reports whether a client at a may be on this machine. All of
// its addresses count, whichever the connection leads to: a program can reach
// 127.0.0.1 from the address of a network card.
func ofThisMachine(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true // what can't be told is looked into
	}
	return slices.ContainsFunc(own, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// isAPI reports whether r wants JSON back rather than a page.
func isAPI(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics" ||
		r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
}

// route returns the pattern that r was routed by, never its path: a path may
// hold a name, and labels and logs stay bounded.
func route(r *http.Request) string {
	if c := chi.RouteContext(r.Context()); c != nil {
		if p := c.RoutePattern(); p != "" {
			return p
		}
	}
	return "none"
}
