package proxy

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

const (
	// maxHeads is how many request heads one connection may send before one of
	// them is let through: git and others ask first without a credential.
	maxHeads = 4
	// throttleDelay is how long the answer to a throttled credential takes.
	throttleDelay = time.Second
	// lingerTime and lingerBytes bound how long an answer that ends a
	// connection waits for the client to have read it.
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// clientConn is a connection of a client, up to where its bytes are carried.
type clientConn struct {
	p        *Proxy
	conn     net.Conn
	from     netip.Addr
	server   identity.ID // of a listener of its own; the zero ID: a credential is needed
	accepted time.Time
	buf      *buffer // where in comes from
	in       []byte  // bytes read and not consumed yet
	waiting  *list.Element
	counted  bool // its server's rate has been charged for it
}

// serve walks the connection through its request heads until one is let
// through, handed on, or refused. Whoever takes the connection over says so;
// otherwise it is closed here.
func (c *clientConn) serve() {
	defer c.p.work.Done()
	taken := false
	defer func() {
		if v := recover(); v != nil {
			c.p.panicked(v)
			taken = false
		}
		c.release()
		if !taken {
			c.p.lobby.leave(c)
			c.conn.Close()
		}
	}()
	c.buf = c.p.buffers.head()
	c.in = c.buf.b[:0]
	deadline := c.accepted.Add(c.p.limits.HeaderTimeout)
	for range maxHeads {
		c.conn.SetDeadline(deadline)
		size, isConnect, err := c.readHead()
		if err != nil {
			c.headFailed(err)
			return
		}
		if !isConnect {
			taken = c.p.plain.take(c)
			return
		}
		var again bool
		if again, taken = c.request(size); !again {
			return
		}
		deadline = time.Now().Add(c.p.limits.HeaderTimeout)
	}
}

// release gives the buffer back.
func (c *clientConn) release() {
	if c.buf != nil {
		c.p.buffers.putHead(c.buf)
		c.buf, c.in = nil, nil
	}
}

// readHead reads until in starts with a whole CONNECT head, and returns its
// length; or until it can't be one.
func (c *clientConn) readHead() (size int, isConnect bool, err error) {
	var scan headScan
	for {
		if !maybeConnect(c.in) {
			return 0, false, nil
		}
		if size, err = scan.end(c.in, c.p.limits.HeaderFields); err != nil {
			return 0, false, err
		}
		switch {
		case size > c.p.limits.HeaderBytes, size == 0 && len(c.in) >= c.p.limits.HeaderBytes:
			return 0, false, errHeadSize
		case size > 0:
			return size, true, nil
		}
		if err := c.fill(1); err != nil {
			return 0, false, err
		}
	}
}

// fill reads at least n more bytes into in, growing it as needed. The caller
// bounds n and how often it asks.
func (c *clientConn) fill(n int) error {
	for n > 0 {
		if len(c.in) == cap(c.in) {
			c.in = slices.Grow(c.in, len(c.in))
		}
		got, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+got]
		n -= got
		if n > 0 && err != nil {
			return err
		}
	}
	return nil
}

// headFailed answers a head that was not understood; a client that sent
// nothing, or went away, gets no answer.
func (c *clientConn) headFailed(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.p.count.headTimeouts.Add(1)
	case errors.Is(err, errHeadSize), errors.Is(err, errHeadFields):
		c.badRequest(431, err)
	case isHeadError(err):
		c.badRequest(400, err)
	}
}

func isHeadError(err error) bool {
	return slices.Contains([]error{errHeadLine, errHeadLineEnd, errHeadField, errHeadFold, errHeadAuth, errHeadHost, errHeadBody}, err)
}

func (c *clientConn) badRequest(status int, err error) {
	c.p.count.badRequests.Add(1)
	c.last(badRequest(status, err.Error()))
}

// request takes one CONNECT of which the head is the first size bytes of in.
// again: another head may follow. taken: the connection is somebody else's now.
func (c *clientConn) request(size int) (again, taken bool) {
	h, err := parseHead(c.in[:size])
	if err != nil {
		c.badRequest(400, err)
		return false, false
	}
	cuts := c.p.cuts.Load()
	grant, standing := c.identify(h.auth, h.proven)
	switch standing {
	case standingMissing:
		return c.askForCredential(size, h.keep), false
	case standingWrong, standingThrottled:
		c.wrongCredential(standing)
		return false, false
	}
	dest, err := flow.ParseDestination(string(h.target))
	if err != nil {
		c.badRequest(400, err)
		return false, false
	}
	c.p.lobby.leave(c)
	s := c.p.begin(&grant, flow.MethodConnect, dest, c.conn)
	s.revoked = standing == standingRevoked
	if r := c.enter(s); r != nil {
		c.last(s.answer(r))
		return false, false
	}
	if c.p.cuts.Load() != cuts && !s.revoked {
		// Something was revoked while this credential was being looked at.
		if _, now := c.identify(h.auth, h.proven); now != standingRight {
			s.abort(flow.EndRevoked)
		}
	}
	c.consume(size) // which ends h
	return false, c.tunnel(s)
}

// identify says who the client is: by its credential, or by the listener that
// it came to.
func (c *clientConn) identify(auth []byte, shown bool) (identity.Grant, standing) {
	if c.server != uuid.Nil {
		return c.p.local(c.server)
	}
	return c.p.authenticate(auth, shown, c.from)
}

// enter charges the server for the connection, once, and takes a place for s.
func (c *clientConn) enter(s *session) *refusal {
	if !c.counted {
		if !s.acct.rate(c.p.limits.ConnectsPerSec, s.flow.Opened) {
			c.p.count.limitRate.Add(1)
			return s.overLimit("it opens connections too fast")
		}
		c.counted = true
	}
	return s.enter()
}

// consume drops the first n bytes of in.
func (c *clientConn) consume(n int) { c.in = c.in[:copy(c.in, c.in[n:])] }

const (
	challenge     = "Proxy-Authenticate: Basic realm=\"exeat\"\r\nX-Exeat-Reason: auth_failed\r\n"
	missingSecret = "Exeat needs to know which MCP server is asking: the proxy URL holds its name and its token.\n" +
		"Get the URL with: exeat env NAME\n"
	wrongSecret = "Exeat does not know that server, or its token is wrong.\n" +
		"Get a new proxy URL with: exeat server rotate NAME\n"
)

// askForCredential answers a request without one, and reports whether another
// may follow on the same connection.
func (c *clientConn) askForCredential(size int, keep bool) bool {
	if !keep {
		c.last(answer(407, "credentials needed", challenge, missingSecret))
		return false
	}
	c.consume(size)
	_, err := io.WriteString(c.conn, "HTTP/1.1 407 exeat: credentials needed\r\n"+challenge+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: "+strconv.Itoa(len(missingSecret))+"\r\n\r\n"+missingSecret)
	return err == nil
}

// wrongCredential answers one that proves nothing. Guessing is slow: once an
// address is throttled its answer takes a while.
func (c *clientConn) wrongCredential(st standing) {
	if st == standingThrottled {
		select {
		case <-time.After(throttleDelay):
		case <-c.p.done:
		}
	}
	c.last(answer(407, "wrong credentials", challenge, wrongSecret))
}

// last writes the last bytes that the client gets and waits, within bounds,
// until it has closed its side: a connection that is closed with unread bytes
// in it is reset, and a reset can overtake the answer.
func (c *clientConn) last(b []byte) { linger(c.conn, b) }

func linger(conn net.Conn, b []byte) {
	conn.SetDeadline(time.Now().Add(lingerTime))
	if _, err := conn.Write(b); err != nil {
		return
	}
	if closeWrite(conn) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, lingerBytes))
}

// closeWrite passes an end of file on. Both TCP and TLS connections can.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
