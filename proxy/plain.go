package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/exeat/exeat/flow"
)

const (
	// plainIdle is how long a connection of a client may be idle between two
	// plain requests, and a pooled one to an upstream between two uses.
	plainIdle = 60 * time.Second
	// maxAnswerHead bounds the head of an upstream's answer.
	maxAnswerHead = 256 << 10
)

// plain serves requests in absolute form, http:// and https://: everything
// that isn't a CONNECT. The parsing and framing of HTTP is net/http's, on both
// sides, so that no request is passed on as it was written.
type plain struct {
	p       *Proxy
	server  *http.Server
	reverse *httputil.ReverseProxy
	conns   handover
}

func newPlain(p *Proxy) *plain {
	d := &plain{p: p, conns: handover{conns: make(chan net.Conn), done: make(chan struct{})}}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	d.server = &http.Server{
		Handler:                      http.HandlerFunc(d.serve),
		Protocols:                    &protocols,
		ReadHeaderTimeout:            p.limits.HeaderTimeout,
		IdleTimeout:                  plainIdle,
		MaxHeaderBytes:               p.limits.HeaderBytes,
		ConnState:                    d.connState,
		DisableGeneralOptionsHandler: true,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ErrorLog: slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelDebug),
	}
	d.reverse = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      roundTripper{p},
		ModifyResponse: d.answered,
		ErrorHandler:   d.failed,
		BufferPool:     &p.buffers,
		ErrorLog:       d.server.ErrorLog,
	}
	return d
}

type (
	connKey    struct{} // of the *plainConn in a request's context
	sessionKey struct{} // of its *exchange
)

// start serves the connections that take hands over, until stop.
func (d *plain) start() {
	d.p.work.Go(func() { _ = d.server.Serve(&d.conns) }) // ends when conns does
}

// stop closes every connection that is left.
func (d *plain) stop() {
	d.conns.end()
	_ = d.server.Close() // there is nothing else it could fail to close
}

// take hands a connection over with the bytes that were read from it, and
// reports whether it was taken.
func (d *plain) take(c *clientConn) bool {
	pc := &plainConn{Conn: c.conn, client: c, early: append([]byte(nil), c.in...), headBy: c.accepted.Add(d.p.limits.HeaderTimeout)}
	return d.conns.give(pc)
}

// connState sends a connection that waits for its next request back to the
// lobby, so that idle ones can't fill the proxy up.
func (d *plain) connState(c net.Conn, state http.ConnState) {
	client := c.(*plainConn).client
	switch state {
	case http.StateNew:
		d.p.work.Add(1)
	case http.StateIdle:
		if out := d.p.lobby.enter(client); out != nil {
			d.p.evict(out)
		}
	case http.StateClosed, http.StateHijacked:
		d.p.lobby.leave(client)
		d.p.work.Done()
	}
}

// plainConn is a client's connection with the bytes that were read from it
// before net/http had it.
type plainConn struct {
	net.Conn
	client *clientConn
	early  []byte

	mu     sync.Mutex
	headBy time.Time // until when the first head must be there; zero after it
}

func (c *plainConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// CloseWrite passes a half-close on.
func (c *plainConn) CloseWrite() error { return closeWrite(c.Conn) }

// SetReadDeadline is held to headBy, so that the first head has no more time
// here than a CONNECT has.
func (c *plainConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.headBy.IsZero() && (t.IsZero() || t.After(c.headBy)) {
		t = c.headBy
	}
	return c.Conn.SetReadDeadline(t)
}

// headDone ends the hold.
func (c *plainConn) headDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.headBy.IsZero() {
		c.headBy = time.Time{}
		c.Conn.SetDeadline(time.Time{})
	}
}

// handover is a listener whose connections are given to it.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) end() { h.once.Do(func() { close(h.done) }) }

func (h *handover) Close() error {
	h.end()
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }

// serve takes one request: who, where, may it; and then its bytes.
func (d *plain) serve(w http.ResponseWriter, r *http.Request) {
	d.p.work.Add(1) // the handler outlives a connection that is hijacked
	defer d.p.work.Done()
	defer d.survive()
	conn := r.Context().Value(connKey{}).(*plainConn)
	conn.headDone()
	method, dest, err := target(r, d.p.limits.HeaderFields)
	if err != nil {
		d.p.count.badRequests.Add(1)
		d.last(w, conn, badRequest(statusOf(err), err.Error()))
		return
	}
	c := conn.client
	cuts := d.p.cuts.Load()
	auth, shown := []byte(r.Header.Get("Proxy-Authorization")), len(r.Header["Proxy-Authorization"]) > 0
	grant, standing := c.identify(auth, shown)
	switch standing {
	case standingMissing:
		d.askForCredential(w)
		return
	case standingWrong, standingThrottled:
		d.hijacked(w, conn, func() { c.wrongCredential(standing) })
		return
	}
	d.p.lobby.leave(c)
	s := d.p.begin(&grant, method, dest, conn.Conn)
	s.revoked = standing == standingRevoked
	if refused := c.enter(s); refused != nil {
		d.last(w, conn, s.answer(refused))
		return
	}
	if d.p.cuts.Load() != cuts && !s.revoked {
		if _, now := c.identify(auth, shown); now != standingRight {
			s.abort(flow.EndRevoked)
		}
	}
	d.exchange(w, r, conn, s)
}

// exchange walks one request through, whatever happens, to its one report.
func (d *plain) exchange(w http.ResponseWriter, r *http.Request, conn *plainConn, s *session) {
	x := &exchange{Context: s.ctx, client: r.Context(), session: s, conn: conn}
	defer func() {
		if v := recover(); v != nil {
			s.ended(flow.EndError)
			defer panic(v)
		}
		s.finish(x.refusal)
	}()
	s.grade = gradeOfPlain(s.dest())
	addrs, refused := s.find()
	if refused != nil {
		d.refuse(w, x, refused)
		return
	}
	x.route = &route{scheme: string(s.flow.Method), dest: s.dest(), addrs: addrs}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &countedReader{r.Body, &s.up}
	}
	defer context.AfterFunc(r.Context(), s.cancel)()
	d.reverse.ServeHTTP(w, r.WithContext(x.trace()))
	s.ended(flow.EndServer)
}

// survive counts a panic, which net/http then makes the end of its connection.
func (d *plain) survive() {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler { //nolint:errorlint // it is a value, and net/http compares it so too
		d.p.panicked(v)
	}
	panic(http.ErrAbortHandler)
}

// describePlain notes what is known of a request that we carry ourselves, TLS
// included where there is any, once its connection stands.
func (s *session) describePlain() {
	s.flow.Grade = s.grade
	if s.flow.Method != flow.MethodHTTPS {
		return
	}
	s.flow.ALPN = []string{"http/1.1"}
	if s.grade == flow.GradeVerified {
		s.flow.SNI = s.flow.Host
	}
}

// gradeOfPlain is the grade of a request that the proxy itself carries.
func gradeOfPlain(d flow.Destination) flow.Grade {
	if _, literal := d.Addr(); literal {
		return flow.GradeIPLiteral
	}
	return flow.GradeVerified
}

// refuse answers a request that nothing came of. The flow is reported first:
// the client may take its time to read.
func (d *plain) refuse(w http.ResponseWriter, x *exchange, r *refusal) {
	x.refusal = r
	x.session.finish(r)
	if x.session.abortedAs() == "" {
		d.last(w, x.conn, x.session.answer(r))
	}
}

// askForCredential answers a request without one; the connection stays.
func (d *plain) askForCredential(w http.ResponseWriter) {
	w.Header().Set("Proxy-Authenticate", `Basic realm="exeat"`)
	w.Header().Set("X-Exeat-Reason", string(flow.ReasonAuthFailed))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusProxyAuthRequired)
	_, _ = io.WriteString(w, missingSecret)
}

// last writes an answer of our own, which ends the connection. It takes the
// connection back from net/http, which can't write a reason of ours into the
// status line.
func (d *plain) last(w http.ResponseWriter, conn *plainConn, b []byte) {
	d.hijacked(w, conn, func() { linger(conn.Conn, b) })
}

func (d *plain) hijacked(w http.ResponseWriter, conn *plainConn, do func()) {
	if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: all there is left is to end it
	}
	defer conn.Close()
	do()
}

// countedReader counts the bytes of a body.
type countedReader struct {
	io.ReadCloser
	n interface{ Add(int64) int64 }
}

func (r *countedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.n.Add(int64(n))
	return n, err
}

// countedStream counts both directions of a connection that was upgraded.
type countedStream struct {
	io.ReadWriteCloser
	s *session
}

func (c *countedStream) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	c.s.down.Add(int64(n))
	return n, err
}

func (c *countedStream) Write(b []byte) (int, error) {
	return pass(c.ReadWriteCloser, b, &c.s.up)
}

// CloseWrite passes a half-close on.
func (c *countedStream) CloseWrite() error {
	if half, ok := c.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
