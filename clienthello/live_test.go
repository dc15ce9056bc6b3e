package clienthello_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/clienthello"
)

// update keeps the hellos that were captured live in testdata, where the
// mutation tests and the fuzz targets start from them.
var update = flag.Bool("update", false, "write the captured hellos to testdata")

var ja4Form = regexp.MustCompile(`^t(1[0-3]|s3)[di]\d{4}[0-9A-Za-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$`)

// TestGoHello: the fingerprint that other tools give for crypto/tls of Go 1.26.
func TestGoHello(t *testing.T) {
	for name, want := range map[string]clienthello.Hello{
		"h2":   {ServerName: "api.example.com", ALPN: []string{"h2", "http/1.1"}, JA4: "t13d1312h2_f57a46bbacb6_ab7e3b40a677"},
		"bare": {ServerName: "api.example.com", JA4: "t13d131100_f57a46bbacb6_ab7e3b40a677"},
	} {
		in := goHello(t, &tls.Config{ServerName: want.ServerName, NextProtos: want.ALPN})
		got, err := clienthello.Parse(in)
		if err != nil || !equal(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
		checkPrefixes(t, in)
	}
	got, err := clienthello.Parse(goHello(t, &tls.Config{ServerName: "192.0.2.1", InsecureSkipVerify: true}))
	if err != nil || got.ServerName != "" || !strings.HasPrefix(got.JA4, "t13i") {
		t.Errorf("to an address: got %+v, %v", got, err)
	}
}

// TestLiveClients starts real programs against a listener on loopback and
// reads what they send.
func TestLiveClients(t *testing.T) {
	clients := []struct {
		name    string
		args    []string // URL stands for the address
		version string   // exact fingerprint only for this version
		ja4     string
		alpn    []string
	}{
		{"node", []string{"-e", `fetch("URL").catch(() => {})`}, "v20.", "t13d5911h1_a33745022dd6_1f22a2ca17c4", []string{"http/1.1"}},
		{"curl", []string{"-sk", "--noproxy", "*", "URL"}, "curl 7.88.1 ", "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6", []string{"h2", "http/1.1"}},
		{"python3", []string{"-c", `import urllib.request as u; u.build_opener(u.ProxyHandler({})).open("URL")`}, "", "", nil},
		{"wget", []string{"-q", "--no-proxy", "--tries=1", "-O", "-", "URL"}, "", "", nil},
	}
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			path, err := exec.LookPath(client.name)
			if err != nil {
				t.Skipf("%s is not installed", client.name)
			}
			in := liveHello(t, path, client.args)
			got, err := clienthello.Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			checkPrefixes(t, in)
			if got.ServerName != "localhost" || !ja4Form.MatchString(got.JA4) {
				t.Errorf("got %+v", got)
			}
			if client.alpn != nil && !slices.Equal(got.ALPN, client.alpn) {
				t.Errorf("ALPN %q, want %q", got.ALPN, client.alpn)
			}
			if version := versionOf(t, path); client.version != "" && strings.HasPrefix(version, client.version) && got.JA4 != client.ja4 {
				t.Errorf("JA4 of %s is %s, want %s", strings.TrimSpace(version), got.JA4, client.ja4)
			}
			keep(t, client.name, in)
		})
	}
}

// TestChromium: a new connection has other GREASE everywhere, and the same
// fingerprint. It starts a browser, which takes a few seconds.
func TestChromium(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	if testing.Short() {
		t.Skip("starts a browser")
	}
	var hellos []clienthello.Hello
	for range 2 {
		// Not t.TempDir: processes of the killed browser may still write to it
		// for a moment, and then it can't be removed.
		profile, err := os.MkdirTemp("", "exeat-chromium")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(profile) })
		in := liveHello(t, path, []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--disable-dev-shm-usage", "--no-first-run",
			"--disable-background-networking", "--user-data-dir=" + profile, "--dump-dom", "URL",
		})
		got, err := clienthello.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		hellos = append(hellos, got)
		keep(t, "chromium", in)
	}
	if hellos[0].JA4 != hellos[1].JA4 || !ja4Form.MatchString(hellos[0].JA4) {
		t.Errorf("fingerprints %s and %s", hellos[0].JA4, hellos[1].JA4)
	}
	if !hellos[0].ECH || hellos[0].ServerName != "localhost" {
		t.Errorf("got %+v", hellos[0])
	}
}

// TestKeptHellos reads hellos that were captured once from real programs, with
// the fingerprints that an independent implementation gave for them.
func TestKeptHellos(t *testing.T) {
	want := map[string]clienthello.Hello{
		"node":     {JA4: "t13d5911h1_a33745022dd6_1f22a2ca17c4"},
		"curl":     {JA4: "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"},
		"chromium": {JA4: "t13d1517h2_8daaf6152771_cb7bf5808d99", ECH: true},
	}
	for name, want := range want {
		in, err := os.ReadFile(filepath.Join("testdata", name+".hello"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := clienthello.Parse(in)
		if err != nil || got.ServerName != "localhost" || got.JA4 != want.JA4 || got.ECH != want.ECH {
			t.Errorf("%s: got %+v, %v; want %s", name, got, err, want.JA4)
		}
	}
}

// liveHello runs a program until it connected, and returns its hello, read as
// the package comment says.
func liveHello(t *testing.T, path string, args []string) []byte {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	replaced := make([]string, len(args))
	for i, arg := range args {
		replaced[i] = strings.ReplaceAll(arg, "URL", "https://localhost:"+port+"/")
	}
	cmd := exec.CommandContext(ctx, path, replaced...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed, or it complains that nobody answered
	}()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("%s did not connect: %v", path, err)
	}
	defer conn.Close()
	return readHello(t, conn)
}

func readHello(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, n := make([]byte, clienthello.MaxSize), 0
	for {
		_, err := clienthello.Parse(buf[:n])
		if !errors.Is(err, clienthello.ErrIncomplete) {
			return buf[:n]
		}
		m, err := io.ReadAtLeast(conn, buf[n:], clienthello.Needed(buf[:n])-n)
		n += m
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

func versionOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func keep(t *testing.T, name string, in []byte) {
	t.Helper()
	if !*update {
		return
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".hello"), in, 0o644); err != nil {
		t.Fatal(err)
	}
}
