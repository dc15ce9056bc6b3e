package proxy_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// run runs a real client, or skips the test where it isn't installed.
func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_TERMINAL_PROMPT=0"}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// realScene has an https origin at api.test, approved, and the files and
// variables that real clients need.
func realScene(t *testing.T) (s *scene, site *site, env []string) {
	s = newScene(t, identity.ModeBlock, nil)
	cert := s.CA.Issue(t, "api.test")
	site = newSite(t, &cert, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello from "+r.URL.Path) })
	s.Approve(t, s.server, "api.test:"+site.port)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.CA.Cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://calendar:%s@%s", s.token, s.addr)
	return s, site, []string{
		"https_proxy=" + url, "HTTPS_PROXY=" + url, "http_proxy=" + url,
		"CURL_CA_BUNDLE=" + ca, "SSL_CERT_FILE=" + ca, "NODE_EXTRA_CA_CERTS=" + ca, "GIT_SSL_CAINFO=" + ca,
	}
}

func TestCurl(t *testing.T) {
	s, site, env := realScene(t)
	out, err := run(t, env, "curl", "-sS", "https://api.test:"+site.port+"/x")
	if err != nil || out != "hello from /x" {
		t.Fatalf("%v\n%s", err, out)
	}
	f := s.Journal.WaitClosed(t, 1)[0]
	if f.Grade != flow.GradeVerified || f.SNI != "api.test" || f.JA4 == "" {
		t.Errorf("grade %s, SNI %q, JA4 %q", f.Grade, f.SNI, f.JA4)
	}
	out, err = run(t, env, "curl", "-sSv", "https://evil.test/")
	if err == nil || !strings.Contains(out, "403 exeat: new_destination evil.test:443") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = run(t, env, "curl", "-sS", "--proxy1.0", s.addr, "--proxy-user", "calendar:"+s.token, "https://api.test:"+site.port+"/old")
	if err != nil || out != "hello from /old" {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = run(t, env, "curl", "-sS", "http://evil.test/")
	if err != nil || !strings.Contains(out, "The MCP server calendar asked for evil.test:80") {
		t.Errorf("%v\n%s", err, out)
	}
	// Asked for the credential first, as with --proxy-anyauth.
	out, err = run(t, env, "curl", "-sS", "--proxy-anyauth", "https://api.test:"+site.port+"/any")
	if err != nil || out != "hello from /any" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNode: a CONNECT as Node's own http module makes it, and TLS inside.
func TestNode(t *testing.T) {
	s, site, env := realScene(t)
	script := `
const http = require('http'), tls = require('tls');
const proxy = new URL(process.env.HTTPS_PROXY);
const ask = target => new Promise((done, fail) => {
  const req = http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target,
    headers: {'Proxy-Authorization': 'Basic ' + Buffer.from(proxy.username + ':' + proxy.password).toString('base64')}});
  req.on('connect', (res, socket) => {
    if (res.statusCode !== 200) { socket.destroy(); return done(res.statusCode + ' ' + res.statusMessage); }
    const t = tls.connect({socket, servername: target.split(':')[0]}, () => t.write('GET /n HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
    let all = ''; t.on('data', d => all += d); t.on('end', () => done(all)); t.on('error', fail);
  });
  req.on('error', fail);
  req.end();
});
(async () => { console.log(await ask('api.test:' + process.argv[1])); console.log(await ask('evil.test:443')); })();
`
	out, err := run(t, env, "node", "-e", script, site.port)
	if err != nil || !strings.Contains(out, "hello from /n") || !strings.Contains(out, "403 exeat: new_destination evil.test:443") {
		t.Fatalf("%v\n%s", err, out)
	}
	if f := s.Journal.WaitClosed(t, 1)[0]; f.Grade != flow.GradeVerified {
		t.Errorf("grade %s", f.Grade)
	}
}

// TestGit asks first without a credential and then again on the same
// connection.
func TestGit(t *testing.T) {
	s, site, env := realScene(t)
	// The origin is no git server; what counts is that git came so far.
	out, _ := run(t, env, "git", "ls-remote", "https://api.test:"+site.port+"/repo.git")
	if f := s.Journal.WaitClosed(t, 1)[0]; f.Verdict != flow.Allowed || f.Grade != flow.GradeVerified {
		t.Errorf("%s, grade %s\n%s", f.Verdict, f.Grade, out)
	}
	if got := <-site.seen; got.URL.Path != "/repo.git/info/refs" {
		t.Errorf("the origin saw %s", got.URL)
	}
}
