package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/exeat/exeat/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAuthority(t *testing.T, c certs.Config) *certs.Authority {
	t.Helper()
	a, err := certs.NewAuthority(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *certs.Authority, hosts ...string) tls.Certificate {
	t.Helper()
	cert, err := a.Issue(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// handshake runs a real handshake over loopback TCP and returns what each side
// made of it. A server's refusal of a client certificate shows in TLS 1.3 only
// when the client reads, so each side sends a byte as well.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		done <- greet(tls.Server(conn, server))
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	clientErr = greet(tls.Client(conn, client))
	return <-done, clientErr
}

func greet(conn *tls.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestIssuedCertificatesHold(t *testing.T) {
	a, other := newAuthority(t, certs.Config{}), newAuthority(t, certs.Config{Name: "Somebody else"})
	server := &tls.Config{Certificates: []tls.Certificate{issue(t, a, "API.example.com.", "*.wild.example", "127.0.0.1", "::1")}}
	tests := []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"its name", &tls.Config{RootCAs: a.Pool(), ServerName: "api.example.com"}, true},
		{"its name, TLS 1.2", &tls.Config{RootCAs: a.Pool(), ServerName: "api.example.com", MaxVersion: tls.VersionTLS12}, true},
		{"under the wildcard", &tls.Config{RootCAs: a.Pool(), ServerName: "x.wild.example"}, true},
		{"its IPv4 address", &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1"}, true},
		{"its IPv6 address", &tls.Config{RootCAs: a.Pool(), ServerName: "::1"}, true},
		{"another name", &tls.Config{RootCAs: a.Pool(), ServerName: "example.com"}, false},
		{"the wildcard's parent", &tls.Config{RootCAs: a.Pool(), ServerName: "wild.example"}, false},
		{"another authority", &tls.Config{RootCAs: other.Pool(), ServerName: "api.example.com"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			serverErr, clientErr := handshake(t, server, test.client)
			if ok := clientErr == nil && serverErr == nil; ok != test.ok {
				t.Errorf("server: %v, client: %v", serverErr, clientErr)
			}
			var invalid *tls.CertificateVerificationError
			if !test.ok && !errors.As(clientErr, &invalid) {
				t.Errorf("refused for another reason: %v", clientErr)
			}
		})
	}
}

func TestIssueRefusesWhatIsNoHost(t *testing.T) {
	a := newAuthority(t, certs.Config{})
	for _, hosts := range [][]string{{}, {""}, {"*"}, {"*.*.example"}, {"a b"}, {"*.127.0.0.1"}, {"ok.example", "evil\x00.example"}, {"fe80::1%eth0"}} {
		if _, err := a.Issue(hosts...); err == nil {
			t.Errorf("issued for %q", hosts)
		}
	}
}

func TestLifetime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	a := newAuthority(t, certs.Config{Lifetime: 24 * time.Hour, Now: func() time.Time { return now }})
	leaf := issue(t, a, "x.example").Leaf
	for at, ok := range map[time.Time]bool{
		now:                        true,
		now.Add(-59 * time.Minute): true,
		now.Add(-61 * time.Minute): false,
		now.Add(23 * time.Hour):    true,
		now.Add(25 * time.Hour):    false,
	} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "x.example", CurrentTime: at})
		if (err == nil) != ok {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

// TestAuthoritySignsNoAuthorities: a leaf that leaks can't sign for others, and
// PEM never carries the key.
func TestAuthoritySignsNoAuthorities(t *testing.T) {
	a := newAuthority(t, certs.Config{Name: "Exeat demo"})
	block, rest := pem.Decode(a.PEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Fatalf("PEM is %q", a.PEM())
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.Subject.CommonName != "Exeat demo" {
		t.Errorf("CA %v, path %d, named %s", ca.IsCA, ca.MaxPathLen, ca.Subject)
	}
	one, two := issue(t, a, "x.example").Leaf, issue(t, a, "x.example").Leaf
	if one.IsCA || one.SerialNumber.Cmp(two.SerialNumber) == 0 || one.SerialNumber.BitLen() < 64 {
		t.Errorf("CA %v, serial numbers %v and %v", one.IsCA, one.SerialNumber, two.SerialNumber)
	}
}

// TestNodeAndCurlAcceptIt asks the real programs that the demo and other tests
// start.
func TestNodeAndCurlAcceptIt(t *testing.T) {
	a := newAuthority(t, certs.Config{})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{issue(t, a, "localhost")}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "https://localhost:" + port + "/"
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"node": {"-e", `fetch("` + url + `").then(r => r.text()).then(t => process.stdout.write(t))`},
		"curl": {"-sS", "--noproxy", "*", "--cacert", file, url},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("%s is not installed", name)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, args...)
			cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+file)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "hello" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// files writes a certificate and its key as an operator would have them.
func files(t *testing.T, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadServer(t *testing.T) {
	a := newAuthority(t, certs.Config{})
	clients := newAuthority(t, certs.Config{Name: "Clients"})
	certFile, keyFile := files(t, issue(t, a, "proxy.example"))
	caFile := write(t, t.TempDir(), "clients.pem", clients.PEM())
	member, err := clients.IssueClient("laptop")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := a.IssueClient("laptop")
	if err != nil {
		t.Fatal(err)
	}
	base := tls.Config{RootCAs: a.Pool(), ServerName: "proxy.example"}
	show := func(certificates ...tls.Certificate) *tls.Config {
		c := base.Clone()
		c.Certificates = certificates
		return c
	}
	old := base.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	h2 := base.Clone()
	h2.NextProtos = []string{"h2"}

	tests := []struct {
		name     string
		clientCA string
		client   *tls.Config
		ok       bool
	}{
		{"no client certificate wanted", "", show(), true},
		{"TLS 1.1", "", old, false},
		{"only HTTP/2", "", h2, false},
		{"a client of the authority", caFile, show(member), true},
		{"a client without certificate", caFile, show(), false},
		{"a client of another authority", caFile, show(stranger), false},
		{"a server certificate as client", caFile, show(issue(t, clients, "x.example")), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config, err := certs.LoadServer(certFile, keyFile, test.clientCA)
			if err != nil {
				t.Fatal(err)
			}
			serverErr, clientErr := handshake(t, config, test.client)
			if ok := serverErr == nil && clientErr == nil; ok != test.ok {
				t.Errorf("server: %v, client: %v", serverErr, clientErr)
			}
		})
	}
}

func TestLoadServerSaysWhatIsWrong(t *testing.T) {
	a := newAuthority(t, certs.Config{})
	certFile, keyFile := files(t, issue(t, a, "proxy.example"))
	_, otherKey := files(t, issue(t, a, "proxy.example"))
	noise := write(t, t.TempDir(), "noise", []byte("not PEM"))
	tests := []struct{ name, cert, key, ca, want string }{
		{"no key", certFile, "", "", "both"},
		{"no certificate", "", keyFile, "", "both"},
		{"another's key", certFile, otherKey, "", "does not match"},
		{"a missing file", certFile + "x", keyFile, "", certFile + "x"},
		{"no PEM", noise, keyFile, "", noise},
		{"no client authorities", certFile, keyFile, noise, "no certificate"},
		{"a missing client authority", certFile, keyFile, noise + "x", noise + "x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := certs.LoadServer(test.cert, test.key, test.ca)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something about %q", err, test.want)
			}
		})
	}
}
