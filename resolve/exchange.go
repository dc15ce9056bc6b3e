package resolve

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the EDNS buffer size that is announced: what passes unfragmented
	// nearly everywhere (DNS Flag Day 2020).
	udpSize = 1232
	// udpBuffer is what is read: some servers send more than was asked for.
	udpBuffer = 4096
)

// exchanger sends queries to upstreams and reads their replies.
type exchanger struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	stat *counters
}

// ask puts one question to u. Each transport that is tried, UDP and then TCP,
// gets patience. The error is ErrTimeout when u was silent, errUnreachable
// when it can't be reached, ErrChain, or ErrServer for a failing server.
func (x *exchanger) ask(ctx context.Context, u *upstream, name string, qtype uint16, patience time.Duration) (reply, error) {
	rep, err := x.exchange(ctx, u, name, qtype, true, patience)
	if errors.Is(err, errNoEDNS) {
		return x.exchange(ctx, u, name, qtype, false, patience) // RFC 6891, section 7
	}
	return rep, err
}

func (x *exchanger) exchange(ctx context.Context, u *upstream, name string, qtype uint16, edns bool, patience time.Duration) (reply, error) {
	q := question{id: dns.Id(), name: name, qtype: qtype}
	msg, err := pack(q, edns)
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrServer, err)
	}
	if u.tls != nil {
		return x.overTLS(ctx, u, q, msg, 2*patience) // it also has a handshake to wait for
	}
	rep, err := x.overUDP(ctx, u, q, msg, patience)
	if errors.Is(err, errTruncated) {
		return x.overTCP(ctx, u, q, msg, patience)
	}
	return rep, err
}

// pack makes the query message for q.
func pack(q question, edns bool) ([]byte, error) {
	var m dns.Msg
	m.SetQuestion(q.name+".", q.qtype)
	m.Id = q.id
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m.Pack()
}

// overUDP asks from a fresh socket, and so from a random port, connected so
// that the kernel drops what comes from elsewhere. What is no reply to q is
// passed over: whoever sends forgeries must not end the wait for the truth.
func (x *exchanger) overUDP(ctx context.Context, u *upstream, q question, msg []byte, patience time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := x.dial(ctx, "udp", u.addr)
	if err != nil {
		return reply{}, networkError(err)
	}
	defer conn.Close()
	defer interruptible(ctx, conn)()
	x.stat.queries.Add(1)
	if _, err := conn.Write(msg); err != nil {
		return reply{}, networkError(err)
	}
	buf := make([]byte, udpBuffer)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, networkError(err)
		}
		rep, err := parseReply(buf[:n], q)
		if !errors.Is(err, errForeign) {
			return rep, err
		}
		x.stat.ignored.Add(1)
	}
}

func (x *exchanger) overTCP(ctx context.Context, u *upstream, q question, msg []byte, patience time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := x.dial(ctx, "tcp", u.addr)
	if err != nil {
		return reply{}, networkError(err)
	}
	defer conn.Close()
	return x.overStream(ctx, conn, q, msg)
}

// overTLS asks over a kept connection if there is one (RFC 7858, section 3.4).
// The server may have closed that meanwhile, so its failure is no verdict.
func (x *exchanger) overTLS(ctx context.Context, u *upstream, q question, msg []byte, patience time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if conn := u.idle.take(); conn != nil {
		rep, err := x.overKept(ctx, u, conn, q, msg)
		if !errors.Is(err, errUnreachable) {
			return rep, err
		}
	}
	raw, err := x.dial(ctx, "tcp", u.addr)
	if err != nil {
		return reply{}, networkError(err)
	}
	conn := tls.Client(raw, u.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return reply{}, networkError(err)
	}
	return x.overKept(ctx, u, conn, q, msg)
}

// overKept asks over conn and keeps it for the next query if all went well.
func (x *exchanger) overKept(ctx context.Context, u *upstream, conn net.Conn, q question, msg []byte) (reply, error) {
	rep, err := x.overStream(ctx, conn, q, msg)
	if err != nil || ctx.Err() != nil {
		conn.Close()
		return rep, err
	}
	u.idle.put(conn)
	return rep, nil
}

// overStream asks over a stream, where messages carry their length in front
// (RFC 1035, section 4.2.2). Nobody else can write there, so a reply to
// something else is a fault of the server.
func (x *exchanger) overStream(ctx context.Context, conn net.Conn, q question, msg []byte) (reply, error) {
	defer interruptible(ctx, conn)()
	x.stat.queries.Add(1)
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	if _, err := conn.Write(append(framed, msg...)); err != nil {
		return reply{}, networkError(err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return reply{}, networkError(err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return reply{}, networkError(err)
	}
	rep, err := parseReply(buf, q)
	if errors.Is(err, errForeign) || errors.Is(err, errTruncated) {
		x.stat.ignored.Add(1)
		return reply{}, fmt.Errorf("%w: %w", ErrServer, err)
	}
	return rep, err
}

// interruptible makes the end of ctx end what waits on conn. The function
// returned must be called when the waiting is over.
func interruptible(ctx context.Context, conn net.Conn) (release func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// errUnreachable is a kind of ErrServer: no reply, and not for want of time.
var errUnreachable = fmt.Errorf("%w: it can't be reached", ErrServer)

// networkError sorts what dialling, reading and writing return.
func networkError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", errUnreachable, err)
}
