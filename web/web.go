// Package web is the face of the daemon: dashboard pages, the JSON API, live
// events and metrics. The same routes are served twice, behind two doors:
//
//	Handler        the TCP address. Every page and every call needs a session (a
//	               browser's cookie or an API token), on localhost too: any
//	               program and any web page can reach 127.0.0.1. Host, Origin and
//	               Sec-Fetch-Site are checked before anything else.
//	SocketHandler  the Unix socket of mode 0600. The file's owner is who may come,
//	               so there is no session; the actor is the peer's user id. A
//	               peer inside a launched server's process tree is turned away: a
//	               server must not approve itself.
//
// Pages are rendered on the server by html/template, pictures included (SVG);
// they work without JavaScript. One small module of ours asks for the page
// again when the event stream says that something happened, and puts what
// changed into place, so that there is one renderer and no second set of
// templates in the browser.
//
// What is shown comes from hostile hands: host names, tool names, SNI, notes.
// html/template escapes it; and what no template can see, control characters
// and those that reorder text, is replaced in every rendered page at one place
// (see render).
package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/exeat/exeat/identity"
)

// Config is what New needs.
type Config struct {
	Servers   Servers   // must not be nil
	Baselines Baselines // must not be nil
	Store     Store     // must not be nil
	Sessions  Sessions  // must not be nil
	Journal   Journal   // must not be nil
	Events    Events    // must not be nil
	// Listeners opens listeners without credentials. Nil: the routes answer
	// that there are none.
	Listeners Listeners
	// Risky names the class of a risky host, or "". Nil: no host is marked.
	Risky Classifier

	// ProxyURL is the address that clients find the proxy at, without
	// credentials: "http://127.0.0.1:7180". It must not be nil.
	ProxyURL *url.URL
	// PublicURL is the address that browsers find the dashboard at. With
	// scheme https the cookie is Secure. It must not be nil.
	PublicURL *url.URL
	// Hosts are further values of the Host header that are answered, with
	// their port: "localhost:7181", "[::1]:7181". That of PublicURL always is.
	Hosts []string

	// Inside reports whether a process lies inside a launched server's process
	// tree. Nil: none does.
	Inside func(pid int) bool
	// AnyInside reports whether any launched server is running. Nil: none is.
	AnyInside func() bool
	// SelfAccess is told of a peer that was turned away because it lies inside
	// a launched server's tree. Nil: nobody is.
	SelfAccess func(ctx context.Context, p Peer)
	// Launched is told that exeat run starts a server below the process pid.
	// Nil: nobody is.
	Launched func(id identity.ID, pid int)

	// LearnFor is the learning window of servers that are made here; 0: it has
	// no end.
	LearnFor time.Duration

	// Version is what this build calls itself.
	Version string
	// Listen names the addresses in use ("proxy", "web", "socket"), for
	// /api/v1/status. It may be nil.
	Listen map[string]string
	// Geo says which geographic data is in use; the zero value means none.
	Geo GeoInfo
	// Counters are further counts for /api/v1/status and /metrics: stable
	// words of [a-z_] and values that only grow. Nil: none.
	Counters func() map[string]int64
	// Collectors are added to /metrics. It may be nil.
	Collectors []prometheus.Collector

	// Heartbeat is how often an event stream says that it is alive, and looks
	// whether its session still stands. 0: 15 seconds.
	Heartbeat time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Logger takes what an operator should see. It must not be nil.
	Logger *slog.Logger
}

// GeoInfo says which geographic data is in use, from when it is, and whom it
// is owed to.
type GeoInfo struct {
	Source      string    // "bundled" or the file; empty: none
	Date        time.Time // when the data was made
	Attribution string    // what the data's licence asks to be shown
	// AttributionURL is the http(s) address that Attribution has to be a link
	// to. Empty: it is plain text.
	AttributionURL string
}

// Server serves the dashboard and the API. Its methods are safe for concurrent
// use.
type Server struct {
	cfg      Config
	now      func() time.Time
	log      *slog.Logger
	started  time.Time
	tmpl     map[string]*template.Template
	assets   map[string]asset
	gate     *gate
	metrics  *metrics
	handler  http.Handler
	socket   http.Handler
	hosts    map[string]bool
	streams  chan struct{} // one place for each event stream
	closing  context.Context
	closed   context.CancelFunc
	closeRun sync.Once
}

// maxStreams bounds the event streams that are open at once.
const maxStreams = 128

// New returns a Server, or an error that names what is missing in cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, now: cfg.Now, log: cfg.Logger, streams: make(chan struct{}, maxStreams)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.cfg.Heartbeat <= 0 {
		s.cfg.Heartbeat = heartbeat
	}
	s.started = s.now()
	s.closing, s.closed = context.WithCancel(context.Background())
	s.hosts = map[string]bool{cfg.PublicURL.Host: true}
	for _, h := range cfg.Hosts {
		s.hosts[h] = true
	}
	s.gate = newGate(cfg.Sessions, s.now, cfg.PublicURL.Scheme == "https")
	s.metrics = newMetrics(s)
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.tmpl, err = s.loadTemplates(); err != nil {
		return nil, err
	}
	s.handler = s.tcpHandler()
	s.socket = s.socketHandler()
	return s, nil
}

func (c *Config) check() error {
	missing := func(name string) error { return fmt.Errorf("web: Config.%s must not be nil", name) }
	switch {
	case c.Servers == nil:
		return missing("Servers")
	case c.Baselines == nil:
		return missing("Baselines")
	case c.Store == nil:
		return missing("Store")
	case c.Sessions == nil:
		return missing("Sessions")
	case c.Journal == nil:
		return missing("Journal")
	case c.Events == nil:
		return missing("Events")
	case c.ProxyURL == nil:
		return missing("ProxyURL")
	case c.PublicURL == nil:
		return missing("PublicURL")
	case c.Logger == nil:
		return missing("Logger")
	}
	if c.PublicURL.Host == "" || (c.PublicURL.Scheme != "http" && c.PublicURL.Scheme != "https") {
		return errors.New("web: Config.PublicURL must be http(s)://HOST[:PORT]")
	}
	return nil
}

// Handler serves the TCP address. Everything but signing in, health and the
// style sheet needs a session.
func (s *Server) Handler() http.Handler { return s.handler }

// SocketHandler serves the Unix socket. Its requests must carry a Peer in
// their context (see WithPeer); one without is refused.
func (s *Server) SocketHandler() http.Handler { return s.socket }

// Close ends all event streams, which would otherwise hold up a graceful
// shutdown. Give it to http.Server.RegisterOnShutdown.
func (s *Server) Close() { s.closeRun.Do(s.closed) }

// SignInLink returns a link that signs one browser in, once, within the next
// ten minutes.
func (s *Server) SignInLink() (string, error) {
	token, err := s.gate.newLink()
	if err != nil {
		return "", err
	}
	u := s.cfg.PublicURL.JoinPath("signin")
	u.RawQuery = url.Values{"t": {token}}.Encode()
	return u.String(), nil
}

// The time limits of both addresses. Event streams set their own.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	answerTimeout = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

// HTTPServer returns a server for the TCP address with its time limits set.
func (s *Server) HTTPServer() *http.Server { return s.httpServer(s.handler) }

// SocketServer returns a server for the Unix socket with its time limits set.
// Its ConnContext is for the caller to set: it must add the Peer.
func (s *Server) SocketServer() *http.Server { return s.httpServer(s.socket) }

func (s *Server) httpServer(h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(s.Close)
	return srv
}

// tcpHandler puts the routes behind the door of the TCP address. The order
// matters: what is cheap and protects most comes first.
func (s *Server) tcpHandler() http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, problem{Status: http.StatusForbidden, Code: "cross_origin",
			Detail: "This request came from another site's page and was not carried out."})
	}))
	r := chi.NewRouter()
	r.Use(s.recovering, s.counted, protect, s.checkHost, s.isolate, cross.Handler, bounded)
	s.routes(r, s.notInside, s.needSession)
	return r
}

// socketHandler puts the same routes behind the door of the Unix socket.
func (s *Server) socketHandler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.recovering, s.counted, protect, s.needPeer, bounded)
	open := func(next http.Handler) http.Handler { return next }
	s.routes(r, open, open)
	return r
}
