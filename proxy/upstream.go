package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/exeat/exeat/flow"
)

// exchange is one plain request on its way, and the context of it: that ends
// with its session, and has what net/http put into its client's.
type exchange struct {
	context.Context // the session's
	client          context.Context
	session         *session
	conn            *plainConn
	route           *route
	refusal         *refusal // why nothing came of it
}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if key == (sessionKey{}) {
		return x
	}
	if v := x.Context.Value(key); v != nil {
		return v
	}
	return x.client.Value(key)
}

// route is where a request may go. It is never written to after it was made: a
// connection that is dialled for one request may serve another, of the same
// server and to the same destination.
type route struct {
	scheme string
	dest   flow.Destination
	addrs  []netip.Addr
}

// roundTripper sends each request through the pool of its own server, so that
// no two servers ever share a connection.
type roundTripper struct{ p *Proxy }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := r.Context().Value(sessionKey{}).(*exchange)
	return x.session.acct.transport(t.p.newTransport).RoundTrip(r)
}

// newTransport returns the pool of one server. Its connections go where the
// route of a request says, and nowhere else.
func (p *Proxy) newTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            p.dialRoute,
		DialTLSContext:         p.dialRouteTLS,
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    64,
		MaxIdleConns:           128,
		IdleConnTimeout:        plainIdle,
		MaxResponseHeaderBytes: maxAnswerHead,
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
	}
}

func (p *Proxy) dialRoute(ctx context.Context, _, _ string) (net.Conn, error) {
	x := ctx.Value(sessionKey{}).(*exchange)
	return p.dialAny(ctx, x.route.addrs, x.route.dest.Port)
}

// errTLS marks what went wrong in our own handshake with an upstream.
var errTLS = errors.New("the TLS handshake failed")

// dialRouteTLS does the TLS that a client left to us, with full verification.
func (p *Proxy) dialRouteTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	x := ctx.Value(sessionKey{}).(*exchange)
	raw, err := p.dialRoute(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.limits.DialTimeout)
	defer cancel()
	conn := tls.Client(raw, &tls.Config{
		ServerName: x.route.dest.Host,
		RootCAs:    p.cfg.RootCAs,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	return conn, nil
}

// trace looks at the connection that the pool chose before a byte of the
// request is written to it.
func (x *exchange) trace() context.Context {
	return httptrace.WithClientTrace(x, &httptrace.ClientTrace{GotConn: x.gotConn})
}

// gotConn decides about the address of the connection: a pooled one was
// checked when it was dialled, and what may be reached can have changed since.
// One that may not be used any more is closed, so that nothing can be sent on
// it; the pool then takes another.
func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	s := x.session
	addr, ok := remoteAddr(info.Conn)
	if ok && s.judge(addr, s.grade).Verdict != flow.Allowed {
		info.Conn.Close()
		return
	}
	if s.isOpen() {
		return // a second try, after the pool's connection turned out to be dead
	}
	if ok {
		s.flow.IP = addr
	}
	s.describePlain()
	s.p.count.requests.Add(1)
	s.startBriefly()
}

// rewrite makes the request that goes out: to the destination that was decided
// about, whatever the Host field said, and without what was meant for us.
// net/http has removed the hop-by-hop fields.
func rewrite(pr *httputil.ProxyRequest) {
	x := pr.In.Context().Value(sessionKey{}).(*exchange)
	out, in := pr.Out, pr.In
	host := authority(x.route)
	out.URL = &url.URL{
		Scheme: x.route.scheme, Host: host,
		Path: in.URL.Path, RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery,
	}
	out.Host = host
	for name := range out.Header {
		if strings.HasPrefix(name, "Proxy-") {
			delete(out.Header, name)
		}
	}
}

// authority is the destination as it stands in a URL and in a Host field: with
// the port only where it isn't the scheme's own.
func authority(r *route) string {
	standard := map[string]uint16{"http": 80, "https": 443}[r.scheme]
	host := r.dest.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if r.dest.Port == standard {
		return host
	}
	return host + ":" + strconv.Itoa(int(r.dest.Port))
}

// answered counts the bytes of the answer as they are passed on.
func (d *plain) answered(res *http.Response) error {
	s := res.Request.Context().Value(sessionKey{}).(*exchange).session
	if res.StatusCode == http.StatusProxyAuthRequired {
		// Only we may ask for the credential of the proxy.
		return errors.New("the upstream asked for a proxy credential")
	}
	if stream, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &countedStream{stream, s}
		return nil
	}
	res.Body = &countedReader{res.Body, &s.down}
	return nil
}

// failed says why no answer came.
func (d *plain) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := r.Context().Value(sessionKey{}).(*exchange)
	s := x.session
	switch {
	case s.abortedAs() != "":
		panic(http.ErrAbortHandler)
	case r.Context().Err() != nil:
		s.ended(flow.EndClient)
		panic(http.ErrAbortHandler)
	}
	d.refuse(w, x, s.plainFailed(err))
}

func (s *session) plainFailed(err error) *refusal {
	var unknown *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return failed(http.StatusBadGateway, flow.ReasonTLSFailed, "its certificate could not be verified")
	case errors.Is(err, errTLS):
		return failed(http.StatusBadGateway, flow.ReasonTLSFailed, "the TLS handshake with it failed")
	case s.isOpen():
		return failed(http.StatusBadGateway, flow.ReasonDialFailed, "it gave no proper answer")
	}
	return s.dialFailed(err)
}
