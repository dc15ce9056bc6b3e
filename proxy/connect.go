package proxy

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/exeat/exeat/clienthello"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/policy"
)

const (
	// serverFirstAfter is how long a client may be silent before we also listen
	// to the upstream, on ports where it may be the server's turn to speak. It
	// decides nothing: it only saves the listening where the client speaks.
	serverFirstAfter = 50 * time.Millisecond
	portHTTPS        = 443
	// What of a hello is kept with the flow.
	maxSNI  = 253
	maxALPN = 16
)

// errUpstreamLeft means that the upstream closed before anybody spoke.
var errUpstreamLeft = errors.New("the upstream closed the connection")

// tunnel walks a CONNECT from the name to where its bytes are carried, and
// reports whether the connection now belongs to those who carry them.
func (c *clientConn) tunnel(s *session) (taken bool) {
	defer func() {
		if v := recover(); v != nil {
			c.p.panicked(v)
			s.abort(flow.EndError)
			s.finish(nil)
			taken = false
		}
	}()
	addrs, r := s.find()
	if r == nil {
		r = s.dial(addrs)
	}
	if r != nil {
		s.finish(r)
		if s.abortedAs() == "" {
			c.last(s.answer(r))
		}
		return false
	}
	words, r := c.confirm(s)
	if r != nil || s.lastEnd() != "" {
		s.upstream.Close()
		s.finish(r)
		if r != nil && words.tls {
			c.last(tlsAlert(r.reason))
		}
		return false
	}
	c.carry(s, words)
	return true
}

// firstWords are what the two sides said before anything was passed on.
type firstWords struct {
	hello    clienthello.Hello
	tls      bool   // the client began to speak TLS
	upstream []byte // what the upstream said meanwhile
}

// confirm answers 200 and decides about what the client then shows. Nothing
// has been sent upstream when it returns.
func (c *clientConn) confirm(s *session) (firstWords, *refusal) {
	words, err := c.listen(s)
	c.conn.SetDeadline(time.Time{})
	if r := s.heard(err); r != nil || s.lastEnd() != "" {
		return words, r
	}
	s.flow.Grade = policy.GradeOf(s.dest(), words.hello, words.tls)
	s.flow.SNI = words.hello.ServerName[:min(len(words.hello.ServerName), maxSNI)]
	s.flow.ALPN = words.hello.ALPN[:min(len(words.hello.ALPN), maxALPN)]
	s.flow.JA4, s.flow.ECH = words.hello.JA4, words.hello.ECH
	return words, s.heed(s.judge(s.flow.IP, s.flow.Grade))
}

// heard says what an error of listen means for the flow: a refusal, or an end
// that it notes.
func (s *session) heard(err error) *refusal {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.p.count.helloTimeout.Add(1)
		return failed(0, flow.ReasonHelloTimeout, "nobody spoke")
	case errors.Is(err, clienthello.ErrMalformed), errors.Is(err, clienthello.ErrTooLarge):
		s.p.count.helloErrors.Add(1)
		return &refusal{reason: flow.ReasonBadHello, verdict: flow.Refused}
	case errors.Is(err, errUpstreamLeft):
		s.ended(flow.EndServer)
	case errors.Is(err, io.EOF):
		s.ended(flow.EndClient)
	default:
		s.ended(flow.EndError)
	}
	return nil
}

// listen answers 200 and reads until it is clear what the client speaks.
func (c *clientConn) listen(s *session) (firstWords, error) {
	var w firstWords
	deadline := time.Now().Add(c.p.limits.HelloTimeout)
	c.conn.SetDeadline(deadline)
	if _, err := c.conn.Write(c.p.established); err != nil {
		return w, err
	}
	for {
		var err error
		w.hello, err = clienthello.Parse(c.in)
		switch {
		case err == nil:
			w.tls = true
			return w, nil
		case errors.Is(err, clienthello.ErrNotTLS):
			return w, nil
		case !errors.Is(err, clienthello.ErrIncomplete):
			w.tls = true
			return w, err
		}
		if len(c.in) == 0 && s.flow.Port != portHTTPS {
			w.upstream, err = c.eitherSpeaks(s, deadline)
		} else {
			err = c.fill(max(1, clienthello.Needed(c.in)-len(c.in)))
		}
		if err != nil {
			return w, err
		}
		if len(c.in) == 0 { // and yet no error: the upstream spoke first
			return w, nil
		}
	}
}

// eitherSpeaks waits until the client or the upstream says something. What the
// upstream said is returned, what the client said is in c.in.
func (c *clientConn) eitherSpeaks(s *session, deadline time.Time) ([]byte, error) {
	head := time.Now().Add(serverFirstAfter)
	if head.Before(deadline) {
		c.conn.SetReadDeadline(head)
	}
	err := c.fill(1)
	c.conn.SetReadDeadline(deadline)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	said := make([]byte, 1024)
	heard := make(chan error, 1)
	go func() {
		n, err := s.upstream.Read(said)
		said = said[:n]
		c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the other read
		heard <- err
	}()
	err = c.fill(1)
	s.upstream.SetReadDeadline(time.Unix(1, 0))
	upstreamErr := <-heard
	s.upstream.SetReadDeadline(time.Time{})
	c.conn.SetReadDeadline(deadline)
	switch {
	case len(c.in) > 0, len(said) > 0:
		return said, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(upstreamErr, os.ErrDeadlineExceeded):
		return nil, errUpstreamLeft
	}
	return nil, err
}

// carry passes on what was said so far and starts the two directions, each in a
// goroutine of its own: the stack of this one has grown by now.
func (c *clientConn) carry(s *session, words firstWords) {
	s.cancel()
	s.ctx = nil
	s.start()
	s.p.count.tunnels.Add(1)
	_, err := pass(s.upstream, c.in, &s.up)
	if err == nil && len(words.upstream) > 0 {
		_, err = pass(c.conn, words.upstream, &s.down)
	}
	if err != nil {
		s.abort(flow.EndError)
	}
	s.relay()
}
