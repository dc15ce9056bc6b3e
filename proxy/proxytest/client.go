package proxytest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func portOf(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

// Basic is the value of Proxy-Authorization for a name and a token.
func Basic(name, token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+token))
}

// Dial connects to a proxy. The connection is closed when the test ends and
// fails rather than wait longer than a test may.
func Dial(tb testing.TB, addr string) *net.TCPConn {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	return conn.(*net.TCPConn)
}

// Head is a CONNECT head with a credential.
func Head(target, name, token string) string {
	return fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: %s\r\n\r\n", target, target, Basic(name, token))
}

// Answer is what a proxy said.
type Answer struct {
	Status int
	Phrase string // the reason phrase of the status line
	Reason string // X-Exeat-Reason
	Header http.Header
	Body   string
}

// Send writes raw to a new connection and returns it with the answer.
func Send(tb testing.TB, addr, raw string) (*net.TCPConn, Answer) {
	tb.Helper()
	conn := Dial(tb, addr)
	if _, err := io.WriteString(conn, raw); err != nil {
		tb.Fatal(err)
	}
	return conn, ReadAnswer(tb, conn)
}

// ReadAnswer reads one answer. It takes no byte after a 200's head.
func ReadAnswer(tb testing.TB, conn net.Conn) Answer {
	tb.Helper()
	res, err := http.ReadResponse(bufio.NewReaderSize(oneByte{conn}, 16), &http.Request{Method: "GET"})
	if err != nil {
		tb.Fatalf("read the answer: %v", err)
	}
	a := Answer{Status: res.StatusCode, Phrase: res.Status, Reason: res.Header.Get("X-Exeat-Reason"), Header: res.Header}
	if res.StatusCode != http.StatusOK {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			tb.Fatalf("read the answer's body: %v", err)
		}
		a.Body = string(body)
	}
	return a
}

// oneByte reads byte by byte, so that a buffer above it takes nothing too much.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }

// Connect opens a tunnel and returns it, or fails the test if it is refused.
func Connect(tb testing.TB, addr, target, name, token string) *net.TCPConn {
	tb.Helper()
	conn, a := Send(tb, addr, Head(target, name, token))
	if a.Status != http.StatusOK {
		tb.Fatalf("CONNECT %s: %s\n%s", target, a.Phrase, a.Body)
	}
	return conn
}

// TLS speaks TLS over conn to a server of that name.
func TLS(ca *CA, conn net.Conn, name string) *tls.Conn {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	return tls.Client(conn, &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"http/1.1"}})
}

// Hello returns a ClientHello as crypto/tls sends it.
func Hello(tb testing.TB, name string) []byte {
	tb.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}).Handshake() //nolint:gosec // nothing is verified: only the hello is wanted
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(server, header); err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		tb.Fatal(err)
	}
	return append(header, body...)
}
