package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/launch/launchtest"
	"github.com/exeat/exeat/proxy/proxytest"
	"github.com/exeat/exeat/web"
)

// settled returns the flows of a server once n of them have ended.
func (s *served) settled(t *testing.T, name string, n int) []flow.Flow {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resp, err := s.client.send(ctx, http.MethodGet, "/events", nil)
	must(t, err)
	defer resp.Body.Close()
	enough := fmt.Errorf("enough")
	var flows []flow.Flow
	look := func(string, []byte) error {
		flows = s.flows(t, name)
		ended := 0
		for i := range flows {
			if flows[i].End != "" {
				ended++
			}
		}
		if ended >= n {
			return enough
		}
		return nil
	}
	if look("", nil) == nil {
		if err := readEvents(resp.Body, look); err != enough { //nolint:errorlint // made above
			t.Fatalf("%s: waited in vain for %d flows to end: %+v", name, n, flows)
		}
	}
	return flows
}

// TestNpmThroughTheGate launches npm, a real program with a real registry
// behind it, and holds its flow to what must be known of it.
func TestNpmThroughTheGate(t *testing.T) {
	host := registryHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "npm", "view", "is-number", "version", "--fetch-retries=0").CombinedOutput(); err != nil {
		t.Skipf("no registry answers without Exeat either: %v\n%s", err, out)
	}
	// A registry on a documentation or private network is refused, rightly,
	// unless it is named.
	s := startServe(t, t.TempDir(), "--network-allow-private", "203.0.113.0/24,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16")
	out, status := s.exeat(t, "run", "probe", "--", "npm", "view", "is-number", "version", "--fetch-retries=0", "--fetch-timeout=20000")
	if status != 0 {
		t.Fatalf("npm ended with status %d", status)
	}
	if !strings.HasPrefix(strings.TrimSpace(out), "7.") {
		t.Errorf("npm said %q", out)
	}
	for _, f := range s.settled(t, "probe", 1) {
		if f.Host != host || f.SNI != host || f.Grade != flow.GradeVerified || f.JA4 == "" || !f.IP.IsValid() || f.Verdict != flow.Allowed {
			t.Errorf("flow %+v", f)
		}
		if f.BytesUp < 500 || f.BytesDown < 1000 || f.End == "" {
			t.Errorf("bytes %d up, %d down, end %q", f.BytesUp, f.BytesDown, f.End)
		}
	}
	stdout, status := s.exeat(t, "flows", "--server", "probe", "--json")
	if status != 0 {
		t.Fatalf("exeat flows: %d", status)
	}
	for _, line := range decodeLines(t, stdout) {
		for _, key := range []string{"asn", "as_org", "country", "sni", "ja4"} {
			if _, ok := line[key]; !ok {
				t.Errorf("no key %q in %v", key, line)
			}
		}
	}
}

// registryHost returns the host of the registry that npm is set up with.
func registryHost(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "npm", "config", "get", "registry").Output()
	if err != nil {
		t.Skipf("npm doesn't tell its registry: %v", err)
	}
	u, err := url.Parse(strings.TrimSpace(string(out)))
	if err != nil || u.Hostname() == "" || u.Scheme != "https" {
		t.Skipf("npm's registry %q is not on https", out)
	}
	return u.Hostname()
}

// TestExactBytes holds the counts of a flow to what was really sent.
func TestExactBytes(t *testing.T) {
	ca := proxytest.NewCA(t)
	echo := proxytest.TLSEcho(t, ca, "api.bytes.example")
	s := startServe(t, t.TempDir(), "--dns-upstream", loopbackDNS(t), "--network-allow-private", "127.0.0.0/8")
	issued := s.add(t, "bytes", "learn")
	tunnel := proxytest.Connect(t, s.proxy, "api.bytes.example:"+echo.Port(), "bytes", issued.Token)
	counted := &meter{Conn: tunnel}
	secure := proxytest.TLS(ca, counted, "api.bytes.example")
	body := bytes.Repeat([]byte("exeat"), 40_000)
	go func() {
		_, _ = secure.Write(body) // the read below fails if this does
		_ = secure.CloseWrite()
	}()
	got, err := io.ReadAll(secure)
	must(t, err)
	if !bytes.Equal(got, body) {
		t.Fatalf("%d bytes came back of %d", len(got), len(body))
	}
	_ = tunnel.Close()
	f := s.settled(t, "bytes", 1)[0]
	if f.BytesUp != counted.up || f.BytesDown != counted.down {
		t.Errorf("counted %d up and %d down; the wire had %d and %d", f.BytesUp, f.BytesDown, counted.up, counted.down)
	}
}

// meter counts what crosses a connection.
type meter struct {
	net.Conn
	up, down int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.up += int64(n)
	return n, err
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.down += int64(n)
	return n, err
}

// TestRealServersThroughTheGate runs MCP servers from npm through exeat run,
// as a client would, and finds where their tools went.
func TestRealServersThroughTheGate(t *testing.T) {
	node, version := launchtest.Node(t)
	dir := launchtest.Install(t, filepath.Join("..", "..", "launch", "testdata", "servers"))
	t.Logf("node %s", version)
	ca := launchtest.NewAuthority(t)
	origin := launchtest.TLSOrigin(t, ca, http.HandlerFunc(api), "gitlab.test")
	_, port, err := net.SplitHostPort(origin)
	must(t, err)
	s := startServe(t, t.TempDir(), "--dns-upstream", loopbackDNS(t), "--network-allow-private", "127.0.0.0/8")
	for _, c := range []struct {
		server, tool, answer string
		args                 map[string]any
		env                  []string
		host                 string // where its tool goes; empty: nowhere
		needs443             bool
	}{
		{server: "server-everything", tool: "echo", args: map[string]any{"message": "hello"}, answer: "hello"},
		{server: "server-memory", tool: "read_graph", args: map[string]any{}, answer: "entities",
			env: []string{"MEMORY_FILE_PATH=" + filepath.Join(t.TempDir(), "memory.json")}},
		// node-fetch, with the API's address in a variable.
		{server: "server-gitlab", tool: "search_repositories", args: map[string]any{"search": "x"}, answer: "found by us",
			env: []string{"GITLAB_PERSONAL_ACCESS_TOKEN=x", "GITLAB_API_URL=https://gitlab.test:" + port + "/api/v4"}, host: "gitlab.test"},
		// fetch, which Node 20 alone would not bring through; its API's address
		// is fixed, port 443 included.
		{server: "server-github", tool: "get_file_contents", args: map[string]any{"owner": "o", "repo": "r", "path": "README.md"}, answer: "from us",
			env: []string{"GITHUB_PERSONAL_ACCESS_TOKEN=x"}, host: "api.github.com", needs443: true},
	} {
		t.Run(c.server, func(t *testing.T) {
			if c.needs443 {
				originOn443(t, ca, "api.github.com")
			}
			bin := filepath.Join(dir, "node_modules", "@modelcontextprotocol", c.server, "dist", "index.js")
			cmd := exec.CommandContext(t.Context(), "exeat", "run", c.server, "--data", s.cfg.Data, "--", node, bin)
			cmd.Env = append(os.Environ(), append(c.env, "NODE_EXTRA_CA_CERTS="+ca.File, "EXEAT_CONFIG="+os.DevNull)...)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			must(t, err)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			session := launchtest.NewSession(in, out)
			if tools := session.Open(t); !slices.Contains(tools, c.tool) {
				t.Fatalf("%s is not among its tools %q", c.tool, tools)
			}
			text, err := session.CallTool(c.tool, c.args)
			if err != nil || !strings.Contains(text, c.answer) {
				t.Errorf("%s answered %q, %v; want %q", c.tool, text, err, c.answer)
			}
			must(t, in.Close())
			must(t, cmd.Wait())
			if c.host == "" {
				if flows := s.flows(t, c.server); len(flows) != 0 {
					t.Errorf("a server without network made %+v", flows)
				}
				return
			}
			f := s.settled(t, c.server, 1)[0]
			if f.Host != c.host || f.Grade != flow.GradeVerified || f.SNI != c.host || f.BytesUp == 0 || f.BytesDown == 0 {
				t.Errorf("flow %+v", f)
			}
		})
	}
}

// api answers as GitLab's and GitHub's APIs do, as far as the servers ask.
func api(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var v any = []any{map[string]any{
		"id": 7, "name": "found by us", "path_with_namespace": "a/b", "visibility": "public", "web_url": "https://x.test",
		"description": "d", "ssh_url_to_repo": "s", "http_url_to_repo": "h", "created_at": "2026-01-01", "last_activity_at": "2026-01-01", "default_branch": "main",
	}}
	if strings.HasPrefix(r.URL.Path, "/repos/") {
		v = map[string]any{
			"type": "file", "encoding": "base64", "size": 8, "name": "README.md", "path": "README.md", "content": "ZnJvbSB1cw==",
			"sha": "1", "url": "https://x.test", "git_url": "https://x.test", "html_url": "https://x.test", "download_url": "https://x.test",
			"_links": map[string]any{"self": "s", "git": "g", "html": "h"},
		}
	}
	_ = json.NewEncoder(w).Encode(v) // a client that left is the client's affair
}

// originOn443 serves api on loopback's port 443, where this user may.
func originOn443(t *testing.T, ca *launchtest.Authority, name string) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:443")
	if err != nil {
		t.Skipf("port 443 of loopback is not to be had: %v", err)
	}
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(api), ReadHeaderTimeout: patience}}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, name)}}
	server.StartTLS()
	t.Cleanup(server.Close)
}

// TestDecisionsHoldAtOnce: an approval lets the next connection through, a
// rejection stops it, a revocation cuts the tunnel that is open.
func TestDecisionsHoldAtOnce(t *testing.T) {
	echo := proxytest.Echo(t)
	s := startServe(t, t.TempDir(), "--dns-upstream", loopbackDNS(t), "--network-allow-private", "127.0.0.0/8")
	issued := s.add(t, "calendar", "block")
	target := "api.calendar.example:" + echo.Port()
	head := proxytest.Head(target, "calendar", issued.Token)
	status := func() int { _, a := proxytest.Send(t, s.proxy, head); return a.Status }
	if got := status(); got != http.StatusForbidden {
		t.Fatalf("before approval: %d", got)
	}
	for range 20 {
		s.approve(t, "calendar", target)
		if got := status(); got != http.StatusOK {
			t.Fatalf("after approval: %d", got)
		}
		s.call(t, http.MethodPost, "/baselines/calendar/reject", web.DecideRequest{Targets: []string{target}}, nil)
		if got := status(); got != http.StatusForbidden {
			t.Fatalf("after rejection: %d", got)
		}
	}
	s.approve(t, "calendar", target)
	tunnel := proxytest.Connect(t, s.proxy, target, "calendar", issued.Token)
	_, err := tunnel.Write(proxytest.Hello(t, "api.calendar.example"))
	must(t, err)
	_, err = io.ReadFull(tunnel, make([]byte, 1))
	must(t, err)
	begun := time.Now()
	s.call(t, http.MethodPost, "/servers/calendar/revoke", struct{}{}, nil)
	if _, err := io.Copy(io.Discard, tunnel); err == nil || time.Since(begun) < patience {
		t.Logf("the open tunnel ended %v after the revocation", time.Since(begun))
	}
	if got := status(); got != http.StatusForbidden {
		t.Errorf("after revocation: %d", got)
	}
	if f := s.settled(t, "calendar", 1); !slices.ContainsFunc(f, func(f flow.Flow) bool { return f.End == flow.EndRevoked }) {
		t.Errorf("no flow ended as revoked: %+v", f)
	}
}

// TestRotationEndsTunnels: what was opened with the old credential ends with
// its overlap, and the new one goes on.
func TestRotationEndsTunnels(t *testing.T) {
	echo := proxytest.Echo(t)
	s := startServe(t, t.TempDir(), "--dns-upstream", loopbackDNS(t), "--network-allow-private", "127.0.0.0/8")
	issued := s.add(t, "calendar", "learn")
	target := "api.calendar.example:" + echo.Port()
	tunnel := proxytest.Connect(t, s.proxy, target, "calendar", issued.Token)
	_, err := tunnel.Write(proxytest.Hello(t, "api.calendar.example"))
	must(t, err)
	_, err = io.ReadFull(tunnel, make([]byte, 1))
	must(t, err)
	overlap := int64(1)
	var fresh web.Issued
	s.call(t, http.MethodPost, "/servers/calendar/rotate", web.RotateRequest{Overlap: &overlap}, &fresh)
	_, _ = io.Copy(io.Discard, tunnel) // until it is cut
	if f := s.settled(t, "calendar", 1); f[0].End != flow.EndRevoked {
		t.Errorf("the tunnel of the old credential ended as %q", f[0].End)
	}
	if _, a := proxytest.Send(t, s.proxy, proxytest.Head(target, "calendar", issued.Token)); a.Status != http.StatusProxyAuthRequired {
		t.Errorf("the old credential after the overlap: %s", a.Phrase)
	}
	proxytest.Connect(t, s.proxy, target, "calendar", fresh.Token)
}

// TestServerCantApproveItself: a launched server that speaks to the command
// line's socket is turned away, and that is an alert.
func TestServerCantApproveItself(t *testing.T) {
	s := startServe(t, t.TempDir())
	exeat, err := exec.LookPath("exeat")
	must(t, err)
	_, status := s.exeat(t, "run", "sly", "--", "sh", "-c", exeat+" baseline approve sly evil.example --data "+s.cfg.Data+"; exit $?")
	if status == 0 {
		t.Error("a launched server approved a destination for itself")
	}
	var b web.BaselineJSON
	s.call(t, http.MethodGet, "/baselines/sly", nil, &b)
	if b.Approved != 0 {
		t.Errorf("its baseline has %d approved entries", b.Approved)
	}
	var kinds []detect.Kind
	must(t, each(t.Context(), s.client, "/alerts", url.Values{"server": {"sly"}}, 0, func(a detect.Alert) error {
		kinds = append(kinds, a.Kind)
		return nil
	}))
	if !slices.Equal(kinds, []detect.Kind{detect.SelfAccess}) {
		t.Errorf("alerts %v", kinds)
	}
}

// TestServerCantApproveItselfAfterARestart: the daemon that a server was
// launched by is not the one that it then speaks to.
func TestServerCantApproveItselfAfterARestart(t *testing.T) {
	data := t.TempDir()
	s := startServe(t, data)
	exeat, err := exec.LookPath("exeat")
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "exeat", "run", "sly", "--data", data, "--", "sh", "-c",
		"echo up; read go; "+exeat+" baseline approve sly evil.example --data "+data+"; echo status $?")
	cmd.Env = append(os.Environ(), "EXEAT_CONFIG="+os.DevNull)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, len("up\n")))
	must(t, err)
	s.stop(t)
	s = startServe(t, data)
	_, err = io.WriteString(in, "go\n")
	must(t, err)
	said, err := io.ReadAll(out)
	must(t, err)
	must(t, cmd.Wait())
	if string(said) != "status 1\n" {
		t.Errorf("it said %q", said)
	}
	var b web.BaselineJSON
	s.call(t, http.MethodGet, "/baselines/sly", nil, &b)
	if b.Approved != 0 {
		t.Errorf("its baseline has %d approved entries", b.Approved)
	}
}

// TestStdioIsUntouched runs bytes of every kind through a launched command.
func TestStdioIsUntouched(t *testing.T) {
	s := startServe(t, t.TempDir())
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	cmd := exec.CommandContext(t.Context(), "exeat", "run", "cat", "--data", s.cfg.Data, "--", "cat")
	cmd.Env = append(os.Environ(), "EXEAT_CONFIG="+os.DevNull)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	must(t, err)
	if !bytes.Equal(out, data) {
		t.Errorf("%d bytes came out of %d, or other ones", len(out), len(data))
	}
}

// TestOwnListenerNeedsNoCredentials: exeat server listen gives a port that is
// the server's identity, and is there again after a restart.
func TestOwnListenerNeedsNoCredentials(t *testing.T) {
	echo := proxytest.Echo(t)
	data, dns := t.TempDir(), loopbackDNS(t)
	s := startServe(t, data, "--dns-upstream", dns, "--network-allow-private", "127.0.0.0/8")
	s.add(t, "browser", "learn")
	out, status := s.exeat(t, "server", "listen", "browser")
	if status != 0 {
		t.Fatalf("server listen: %d", status)
	}
	own := strings.TrimPrefix(strings.TrimSpace(out), "http://")
	target := "site.example:" + echo.Port()
	ask := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	if _, a := proxytest.Send(t, own, ask); a.Status != http.StatusOK {
		t.Fatalf("%s: %s", a.Phrase, a.Body)
	}
	if _, a := proxytest.Send(t, s.proxy, ask); a.Status != http.StatusProxyAuthRequired {
		t.Errorf("the common port took no credentials: %s", a.Phrase)
	}
	// It is one of our own ports: not to be reached through the proxy.
	if _, a := proxytest.Send(t, own, strings.ReplaceAll(ask, target, own)); a.Reason != string(flow.ReasonSelfAccess) {
		t.Errorf("its own port through the proxy: %s %s", a.Phrase, a.Reason)
	}
	s.stop(t) // with a tunnel open
	s = startServe(t, data, "--dns-upstream", dns, "--network-allow-private", "127.0.0.0/8")
	if f := s.flows(t, "browser"); !slices.ContainsFunc(f, func(f flow.Flow) bool { return f.End == flow.EndShutdown }) {
		t.Errorf("no flow ended by the shutdown: %+v", f)
	}
	if _, a := proxytest.Send(t, own, ask); a.Status != http.StatusOK {
		t.Errorf("after a restart: %s: %s", a.Phrase, a.Body)
	}
}
