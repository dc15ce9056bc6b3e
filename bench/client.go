package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// patience bounds every single operation of a client.
const patience = 10 * time.Second

// target is a proxy with what its clients need to load it.
type target struct {
	proxy string      // host:port
	auth  string      // a header field with its line end, or nothing
	hello []byte      // a whole ClientHello record for originHost
	tls   *tls.Config // of the clients inside the tunnels
	ports struct{ raw, tls, http string }
}

// newTarget makes the target for a proxy in front of origin.
func newTarget(origin endpoints) (target, error) {
	var t target
	cert, err := x509.ParseCertificate(origin.Root)
	if err != nil {
		return t, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	t.tls = &tls.Config{ServerName: originHost, RootCAs: roots}
	if t.hello, err = clientHello(); err != nil {
		return t, err
	}
	for _, p := range []struct {
		to   *string
		addr string
	}{{&t.ports.raw, origin.Raw}, {&t.ports.tls, origin.TLS}, {&t.ports.http, origin.HTTP}} {
		if _, *p.to, err = net.SplitHostPort(p.addr); err != nil {
			return t, err
		}
	}
	return t, nil
}

// at returns t for the proxy at addr.
func (t target) at(addr string) target {
	t.proxy = addr
	return t
}

// as returns t with the user name and password of a proxy URL.
func (t target) as(user *url.Userinfo) target {
	t.auth = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.String())) + "\r\n"
	return t
}

// clientHello returns the first flight of a real TLS client.
func clientHello() ([]byte, error) {
	var conn recorder
	err := tls.Client(&conn, &tls.Config{ServerName: originHost}).HandshakeContext(context.Background())
	sent := conn.sent.Bytes()
	if len(sent) < 5 || len(sent) != 5+int(binary.BigEndian.Uint16(sent[3:])) {
		return nil, fmt.Errorf("crypto/tls sent no ClientHello in one record: %w", err)
	}
	return sent, nil
}

// recorder is a connection that keeps what is written and answers nothing.
type recorder struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.sent.Write(p) }
func (r *recorder) Read([]byte) (int, error)    { return 0, io.EOF }

// connect opens a tunnel to a port of the origin.
func (t target) connect(ctx context.Context, port string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	c, err := d.DialContext(ctx, "tcp", t.proxy)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	host := originHost + ":" + port
	if _, err = io.WriteString(c, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\n"+t.auth+"\r\n"); err == nil {
		err = readOK(c)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readOK reads the answer to a CONNECT.
func readOK(c net.Conn) error {
	var head [4096]byte
	n, err := readHead(c, head[:])
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(head[:n]), "\r\n")
	if _, status, _ := strings.Cut(line, " "); !strings.HasPrefix(status, "200") {
		return errors.New("the proxy says " + line)
	}
	return nil
}

// open opens a tunnel to the raw origin, shows a ClientHello and gives the
// origin its command.
func (t target) open(ctx context.Context, command byte) (net.Conn, error) {
	c, err := t.connect(ctx, t.ports.raw)
	if err != nil {
		return nil, err
	}
	first := make([]byte, 0, len(t.hello)+1)
	if _, err := c.Write(append(append(first, t.hello...), command)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openIdle opens a tunnel that is known to carry bytes, and then nothing.
func (t target) openIdle(ctx context.Context) (net.Conn, error) {
	c, err := t.open(ctx, cmdPing)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openTLS opens a tunnel with a TLS session in it that is known to work.
func (t target) openTLS(ctx context.Context) (net.Conn, error) {
	c, err := t.connect(ctx, t.ports.tls)
	if err != nil {
		return nil, err
	}
	inner := tls.Client(c, t.tls)
	b := []byte{cmdPing}
	if _, err = inner.Write(b); err == nil {
		_, err = io.ReadFull(inner, b)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return inner, nil
}
