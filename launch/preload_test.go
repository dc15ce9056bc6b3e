//go:build unix

package launch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/launch"
	"github.com/exeat/exeat/launch/launchtest"
)

// stage is a proxy with origins behind it and the environment that leads there.
type stage struct {
	proxy *launchtest.Proxy
	env   []string
	// held gets a value when the proxy holds a connection.
	held chan struct{}
}

const refusalText = "exeat: new_destination probe asked for refused.test:443, which is not in its baseline"

func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageWith(t, launchtest.NewAuthority(t), launchtest.ProxyConfig{})
}

func newStageWith(t *testing.T, ca *launchtest.Authority, config launchtest.ProxyConfig) *stage {
	t.Helper()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := r.Header.Get("Proxy-Authorization"); h != "" {
			t.Errorf("the credential reached the origin with %s %s", r.Method, r.URL)
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %s%s %d", r.Method, r.Host, r.RequestURI, n)
	})
	s := &stage{held: make(chan struct{}, 8)}
	secure := launchtest.TLSOrigin(t, ca, echo, "origin.test", "other.test", "192.0.2.7")
	config.Routes = map[string]string{
		"origin.test:443": secure, "other.test:443": secure, "origin.test:8443": secure, "192.0.2.7:443": secure,
		"plain.test:80": launchtest.Origin(t, echo), "held.test:443": secure,
	}
	config.Refuse = map[string]string{"refused.test:443": refusalText}
	config.Hold = map[string]chan struct{}{"held.test:443": make(chan struct{})}
	config.Held = func() { s.held <- struct{}{} }
	s.proxy = launchtest.NewProxy(t, config)
	preload, err := launch.WritePreload(filepath.Join(t.TempDir(), "da ta"))
	if err != nil {
		t.Fatal(err)
	}
	base := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NODE_EXTRA_CA_CERTS=" + ca.File, "NO_PROXY=*"}
	s.env = launch.NewEnvironment(launch.EnvironmentConfig{Proxy: s.proxy.URL, Server: "probe", Preload: preload, Base: base}).Apply(base)
	return s
}

// script is a program for Node. It has say, which writes a line, and held,
// which calls back when the proxy holds a connection.
type script struct {
	name   string
	esm    bool
	source string
	want   string // all that is on standard output
	visits []string
}

const prelude = `
	const say = (...a) => process.stdout.write(a.join(' ') + '\n');
	const held = then => process.stdin.once('data', () => { process.stdin.destroy(); then(); });
`

func (s *stage) run(t *testing.T, node, dir string, sc script) {
	t.Helper()
	args := []string{"-e", prelude + sc.source}
	if sc.esm {
		args = append([]string{"--input-type=module"}, args...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, s.env, time.Second
	var stdout, stderr bytes.Buffer
	stdin, w := pipe(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	ended := make(chan error, 1)
	go func() { ended <- cmd.Run() }()
	for running := true; running; {
		select {
		case <-s.held:
			if _, err := w.WriteString("held\n"); err != nil {
				t.Error(err)
			}
		case err := <-ended:
			running = false
			if err != nil {
				t.Errorf("node: %v\n%s", err, stderr.String())
			}
		}
	}
	if got := strings.TrimSuffix(stdout.String(), "\n"); got != sc.want {
		t.Errorf("standard output:\n got %s\nwant %s\n%s", got, sc.want, stderr.String())
	}
	var visits []string
	for _, v := range s.proxy.Visits() {
		visits = append(visits, v.Method+" "+v.Target)
	}
	slices.Sort(visits)
	if !slices.Equal(visits, sc.visits) {
		t.Errorf("the proxy saw %q, want %q", visits, sc.visits)
	}
	if denied := s.proxy.Denied(); len(denied) != 0 {
		t.Errorf("without the credential: %q", denied)
	}
}

const toOrigin = "CONNECT origin.test:443"

// scripts need nothing but Node.
func scripts() []script {
	return slices.Concat(agentScripts(), failureScripts(), clearScripts(), fetchScripts(), placeScripts())
}

func agentScripts() []script {
	return []script{
		{name: "https.get", source: `
			require('https').get('https://origin.test/a', r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "https by address", source: `
			require('https').get('https://192.0.2.7/a', r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET 192.0.2.7/a 0", visits: []string{"CONNECT 192.0.2.7:443"}},
		{name: "https, another port, and a body", source: `
			const r = require('https').request({ host: 'origin.test', port: 8443, path: '/p?q=1', method: 'POST' }, r => { r.setEncoding('utf8'); r.on('data', say); });
			r.write(Buffer.alloc(3000000)); r.end(Buffer.alloc(1));`,
			want: "POST origin.test:8443/p?q=1 3000001", visits: []string{"CONNECT origin.test:8443"}},
		{name: "a certificate for another name", source: `
			require('https').get('https://origin.test/', { servername: 'wrong.test' }).on('error', e => say(e.code));`,
			want: "ERR_TLS_CERT_ALTNAME_INVALID", visits: []string{toOrigin}},
		{name: "custom Agent", source: `
			const https = require('https');
			https.get('https://origin.test/', { agent: new https.Agent({ maxSockets: 1 }) }, r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/ 0", visits: []string{toOrigin}},
		{name: "no Agent", source: `
			require('https').get('https://origin.test/', { agent: false }, r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/ 0", visits: []string{toOrigin}},
		{name: "an Agent whose author relies on the socket returned", source: `
			const https = require('https');
			class Mine extends https.Agent {
				createConnection(options, done) { const s = super.createConnection(options, done); s.on('lookup', () => {}); s.setNoDelay(true); return s; }
			}
			https.get('https://origin.test/', { agent: new Mine() }, r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/ 0", visits: []string{toOrigin}},
		{name: "keepAlive uses one tunnel again", source: `
			const https = require('https');
			const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
			const get = path => new Promise((done, failed) => https.get('https://origin.test' + path, { agent }, r => {
				let s = ''; r.setEncoding('utf8'); r.on('data', d => s += d); r.on('end', () => done(s)); }).on('error', failed));
			(async () => { for (const p of ['/1', '/2', '/3']) say(await get(p)); })();`,
			want: "GET origin.test/1 0\nGET origin.test/2 0\nGET origin.test/3 0", visits: []string{toOrigin}},
		{name: "parallel", source: `
			const https = require('https');
			const get = path => new Promise((done, failed) => https.get('https://origin.test' + path, { agent: false }, r => {
				let s = ''; r.setEncoding('utf8'); r.on('data', d => s += d); r.on('end', () => done(s)); }).on('error', failed));
			Promise.all([1, 2, 3, 4].map(n => get('/' + n))).then(all => say(all.join()));`,
			want:   "GET origin.test/1 0,GET origin.test/2 0,GET origin.test/3 0,GET origin.test/4 0",
			visits: []string{toOrigin, toOrigin, toOrigin, toOrigin}},
		{name: "ALPN is the server's choice", source: `
			require('https').get('https://origin.test/', { ALPNProtocols: ['http/1.1'] }, r => { say(r.socket.alpnProtocol, r.socket.servername, r.socket.authorized); r.resume(); });`,
			want: "http/1.1 origin.test true", visits: []string{toOrigin}},
	}
}

func failureScripts() []script {
	return []script{
		{name: "refused", source: `
			require('https').get('https://refused.test/').on('error', e => say(e.code, e.statusCode, e.reason, e.message));`,
			want:   "ERR_EXEAT_REFUSED 403 new_destination " + refusalText + " (refused.test:443)",
			visits: []string{"CONNECT refused.test:443"}},
		{name: "an unknown name", source: `
			require('https').get('https://nowhere.test/').on('error', e => say(e.code, e.statusCode, e.message));`,
			want:   "ERR_EXEAT_PROXY 502 exeat: Bad Gateway (nowhere.test:443)",
			visits: []string{"CONNECT nowhere.test:443"}},
		{name: "a time limit while the proxy holds", source: `
			const r = require('https').get('https://held.test/', { timeout: 1500 });
			r.on('timeout', () => { say('timeout'); r.destroy(new Error('mine')); });
			r.on('error', e => say(e.message));`,
			want: "timeout\nmine", visits: []string{"CONNECT held.test:443"}},
		{name: "a time limit set later", source: `
			const r = require('https').get('https://held.test/');
			r.setTimeout(1500, () => r.destroy(new Error('mine')));
			r.on('error', e => say(e.message));`,
			want: "mine", visits: []string{"CONNECT held.test:443"}},
		{name: "an abort while the proxy holds", source: `
			const c = new AbortController();
			require('https').get('https://held.test/', { signal: c.signal }).on('error', e => say(e.name));
			held(() => c.abort());`,
			want: "AbortError", visits: []string{"CONNECT held.test:443"}},
	}
}

func clearScripts() []script {
	return []script{
		{name: "http.get", source: `
			require('http').get('http://plain.test/a?b', r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET plain.test/a?b 0", visits: []string{"GET http://plain.test/a?b"}},
		{name: "http with a body before the socket", source: `
			const r = require('http').request('http://plain.test/p', { method: 'POST', headers: { 'X-A': '1' } }, r => { r.setEncoding('utf8'); r.on('data', say); });
			r.write('one'); r.write('two'); r.end();`,
			want: "POST plain.test/p 6", visits: []string{"POST http://plain.test/p"}},
		{name: "http with raw headers", source: `
			const r = require('http').request('http://plain.test/p', { method: 'PUT', headers: ['Host', 'plain.test', 'Content-Length', '3'] }, r => { r.setEncoding('utf8'); r.on('data', say); });
			r.end('abc');`,
			want: "PUT plain.test/p 3", visits: []string{"PUT http://plain.test/p"}},
		{name: "http with headers flushed", source: `
			const r = require('http').request('http://plain.test/p', { method: 'POST' }, r => { r.setEncoding('utf8'); r.on('data', say); });
			r.flushHeaders(); r.end('abcd');`,
			want: "POST plain.test/p 4", visits: []string{"POST http://plain.test/p"}},
		{name: "http keepAlive", source: `
			const http = require('http');
			const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
			const get = path => new Promise((done, failed) => http.get('http://plain.test' + path, { agent }, r => {
				let s = r.req.reusedSocket + ' '; r.setEncoding('utf8'); r.on('data', d => s += d); r.on('end', () => done(s)); }).on('error', failed));
			(async () => { for (const p of ['/1', '/2']) say(await get(p)); })();`,
			want: "false GET plain.test/1 0\ntrue GET plain.test/2 0", visits: []string{"GET http://plain.test/1", "GET http://plain.test/2"}},
	}
}

func fetchScripts() []script {
	return []script{
		{name: "fetch", source: `fetch('https://origin.test/a').then(r => r.text()).then(say);`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "fetch with a body", source: `fetch('https://origin.test/a', { method: 'POST', body: new Uint8Array(2000000) }).then(r => r.text()).then(say);`,
			want: "POST origin.test/a 2000000", visits: []string{toOrigin}},
		{name: "fetch refused", source: `
			fetch('https://refused.test/').catch(e => { for (let x = e; x; x = x.cause) if (/403|new_destination/.test(x.message)) return say('refused'); say(e); });`,
			want: "refused", visits: []string{"CONNECT refused.test:443"}},
		{name: "fetch aborted", source: `
			const c = new AbortController();
			held(() => c.abort());
			fetch('https://held.test/', { signal: c.signal }).catch(e => { say(e.name); process.exit(0); });`,
			want: "AbortError", visits: []string{"CONNECT held.test:443"}},
	}
}

func placeScripts() []script {
	return []script{
		{name: "loopback stays direct", source: `
			const http = require('http');
			const server = http.createServer((q, s) => s.end('direct ' + q.url)).listen(0, '127.0.0.1', async () => {
				const at = 'http://localhost:' + server.address().port;
				say(await (await fetch(at + '/fetch')).text());
				http.get({ host: '127.0.0.1', port: server.address().port, path: '/get' }, r => { r.setEncoding('utf8'); r.on('data', say); r.on('end', () => { server.closeAllConnections(); server.close(); }); });
			});`,
			want: "direct /fetch\ndirect /get"},
		{name: "a Unix socket stays direct", source: `
			const http = require('http'), path = require('path').join(require('fs').mkdtempSync(require('os').tmpdir() + '/x'), 's');
			const server = http.createServer((q, s) => s.end('direct ' + q.url)).listen(path, () => {
				http.get({ socketPath: path, path: '/u' }, r => { r.setEncoding('utf8'); r.on('data', say); r.on('end', () => { server.close(); }); });
			});`,
			want: "direct /u"},
		{name: "ESM", esm: true, source: `
			import https, { get } from 'node:https';
			say(await (await fetch('https://origin.test/fetch')).text());
			get('https://other.test/get', { agent: new https.Agent() }, r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/fetch 0\nGET other.test/get 0", visits: []string{toOrigin, "CONNECT other.test:443"}},
		{name: "worker thread", source: `
			const { Worker } = require('worker_threads');
			new Worker("const { parentPort: p } = require('worker_threads'); fetch('https://origin.test/w').then(r => r.text()).then(s => require('https').get('https://other.test/w', r => { r.setEncoding('utf8'); r.on('data', d => p.postMessage(s + ', ' + d)); }))", { eval: true }).on('message', say);`,
			want: "GET origin.test/w 0, GET other.test/w 0", visits: []string{toOrigin, "CONNECT other.test:443"}},
		{name: "child process", source: `
			const out = require('child_process').execFileSync(process.execPath, ['-e', "fetch('https://origin.test/c').then(r => r.text()).then(console.log)"]);
			say(String(out).trim());`,
			want: "GET origin.test/c 0", visits: []string{toOrigin}},
		{name: "loaded twice", source: `
			const file = /--require (?:"(.*?)"|(\S+))/.exec(process.env.NODE_OPTIONS);
			delete require.cache[file[1] || file[2]];
			require(file[1] || file[2]);
			require('https').get('https://origin.test/a', r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
	}
}

func TestPreload(t *testing.T) {
	node, version := launchtest.Node(t)
	t.Logf("node %s", version)
	for _, sc := range scripts() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			newStage(t).run(t, node, t.TempDir(), sc)
		})
	}
}

// A team's proxy may be reached over TLS.
func TestPreloadProxyOverTLS(t *testing.T) {
	node, _ := launchtest.Node(t)
	ca := launchtest.NewAuthority(t)
	newStageWith(t, ca, launchtest.ProxyConfig{Authority: ca}).run(t, node, t.TempDir(), script{
		source: `
			require('https').get('https://origin.test/a', r => { r.setEncoding('utf8'); r.on('data', say); r.on('end', async () => {
				say(await (await fetch('https://other.test/b')).text());
				require('http').get('http://plain.test/c', r => { r.setEncoding('utf8'); r.on('data', say); });
			}); });`,
		want:   "GET origin.test/a 0\nGET other.test/b 0\nGET plain.test/c 0",
		visits: []string{toOrigin, "CONNECT other.test:443", "GET http://plain.test/c"},
	})
}

// fetch over http:// on a Node where the preload does it: absolute form, since
// a tunnel to port 80 would look like something that is not TLS.
func TestPreloadFetchInClear(t *testing.T) {
	node, version := launchtest.Node(t)
	if !strings.HasPrefix(version, "v20.") {
		t.Skipf("node %s does it itself, by CONNECT or absolute form", version)
	}
	newStage(t).run(t, node, t.TempDir(), script{
		source: `fetch('http://plain.test/a?b', { method: 'POST', body: 'abc', headers: { 'X-A': '1' } }).then(r => r.text()).then(say).then(() => fetch('http://plain.test/c')).then(r => r.text()).then(say);`,
		want:   "POST plain.test/a?b 3\nGET plain.test/c 0",
		visits: []string{"GET http://plain.test/c", "POST http://plain.test/a?b"},
	})
}

// Whatever is wrong, the server runs, and standard output is its own.
func TestPreloadNeverStopsAServer(t *testing.T) {
	node, _ := launchtest.Node(t)
	preload, err := launch.WritePreload(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, proxy, complaint string }{
		{"no proxy", "", ""},
		{"not a URL", "HTTPS_PROXY=::::", "exeat: preload: "},
		{"a scheme that is not known", "HTTPS_PROXY=socks5://127.0.0.1:1", "exeat: preload: "},
		{"nobody there", "HTTPS_PROXY=http://a:b@127.0.0.1:1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), node, "-e", "console.log('served')")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_OPTIONS=--require " + preload, tt.proxy}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || string(out) != "served\n" {
				t.Errorf("%q, %v", out, err)
			}
			if got := stderr.String(); !strings.HasPrefix(got, tt.complaint) || strings.Count(got, "\n") > 1 || (tt.complaint == "") != (got == "") {
				t.Errorf("it said %q", got)
			}
		})
	}
}

func TestWritePreload(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	path, err := launch.WritePreload(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("preload.cjs")
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		again, err := launch.WritePreload(dir)
		if err != nil || again != path {
			t.Fatalf("%s, %v; want %s", again, err, path)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the content is another: %v", err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("left over: %v, %v", entries, err)
		}
	}
	check()
	if err := os.WriteFile(path, []byte("process.exit(1)"), 0o600); err != nil {
		t.Fatal(err)
	}
	check()
	elsewhere := filepath.Join(t.TempDir(), "x")
	if err := errors.Join(os.WriteFile(elsewhere, want, 0o600), os.Remove(path), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	check()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
}

func TestPreloadPackages(t *testing.T) {
	node, _ := launchtest.Node(t)
	dir := launchtest.Install(t, filepath.Join("testdata", "clients"))
	for _, sc := range []script{
		{name: "axios", source: `require('axios').get('https://origin.test/a').then(r => say(r.data));`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "axios post", source: `require('axios').post('https://origin.test/a', Buffer.alloc(100000)).then(r => say(r.data));`,
			want: "POST origin.test/a 100000", visits: []string{toOrigin}},
		{name: "axios refused", source: `require('axios').get('https://refused.test/a').catch(e => say(/new_destination|403/.test(e.message + e.response?.statusText)));`,
			want: "true", visits: []string{"CONNECT refused.test:443"}},
		// Before 1.16 axios hands https URLs to the proxy in absolute form; the
		// preload must keep out of it.
		{name: "axios 1.6", source: `require('axios-1.6').get('https://origin.test/a').catch(e => say('asked', e.response.status));`,
			want: "asked 502", visits: []string{"GET https://origin.test/a"}},
		{name: "axios 1.6 told not to use a proxy", source: `require('axios-1.6').get('https://origin.test/a', { proxy: false }).then(r => say(r.data));`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "axios time limit", source: `require('axios-1.6').get('https://held.test/a', { proxy: false, timeout: 1500 }).catch(e => say(e.code));`,
			want: "ECONNABORTED", visits: []string{"CONNECT held.test:443"}},
		{name: "node-fetch 3", esm: true, source: `
			import fetch from 'node-fetch';
			say(await (await fetch('https://origin.test/a', { method: 'POST', body: 'abc' })).text());`,
			want: "POST origin.test/a 3", visits: []string{toOrigin}},
		{name: "node-fetch 2", source: `require('node-fetch-2')('https://origin.test/a').then(r => r.text()).then(say);`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "node-fetch refused", source: `require('node-fetch-2')('https://refused.test/a').catch(e => say(e.code, /new_destination/.test(e.message)));`,
			want: "ERR_EXEAT_REFUSED true", visits: []string{"CONNECT refused.test:443"}},
		{name: "got", esm: true, source: `
			import got from 'got';
			say(await got('https://origin.test/a').text());
			try { await got('https://held.test/', { timeout: { request: 1500 }, retry: { limit: 0 } }); } catch (e) { say(e.code); }`,
			want: "GET origin.test/a 0\nETIMEDOUT", visits: []string{"CONNECT held.test:443", toOrigin}},
		{name: "undici", source: `
			const { fetch, request } = require('undici');
			fetch('https://origin.test/f').then(r => r.text()).then(say).then(() => request('https://other.test/r')).then(r => r.body.text()).then(say);`,
			want: "GET origin.test/f 0\nGET other.test/r 0", visits: []string{toOrigin, "CONNECT other.test:443"}},
		{name: "agentkeepalive", source: `
			const { HttpsAgent } = require('agentkeepalive');
			require('https').get('https://origin.test/a', { agent: new HttpsAgent({ timeout: 5000, freeSocketTimeout: 200 }) }, r => { r.setEncoding('utf8'); r.on('data', say); });`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
		{name: "ssrf-req-filter", source: `
			require('https').get('https://origin.test/a', { agent: require('ssrf-req-filter')('https://origin.test/a') }, r => { r.setEncoding('utf8'); r.on('data', say); }).on('error', e => say(e));`,
			want: "GET origin.test/a 0", visits: []string{toOrigin}},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			newStage(t).run(t, node, dir, sc)
		})
	}
}

// TestPreloadOtherNodes runs the scripts under other Nodes: older ones, where
// the preload does it all, and newer ones, where it leaves fetch to Node. They
// are large, so it takes EXEAT_TEST_NODES=1 to fetch them.
func TestPreloadOtherNodes(t *testing.T) {
	if os.Getenv("EXEAT_TEST_NODES") == "" {
		t.Skip("EXEAT_TEST_NODES is not set")
	}
	if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		t.Skip("the Nodes in testdata/nodes are for linux/amd64")
	}
	dir := filepath.Join(launchtest.Install(t, filepath.Join("testdata", "nodes")), "node_modules")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		node := filepath.Join(dir, entry.Name(), "bin", "node")
		if _, err := os.Stat(node); err != nil {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			for _, sc := range scripts() {
				t.Run(sc.name, func(t *testing.T) {
					t.Parallel()
					newStage(t).run(t, node, t.TempDir(), sc)
				})
			}
		})
	}
}

// npm reads settings of its own before HTTPS_PROXY: a user's .npmrc must not
// lead round the proxy.
func TestNPMComesThrough(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	ca := launchtest.NewAuthority(t)
	packument := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"name":"tiny","dist-tags":{"latest":"1.2.3"},"versions":{"1.2.3":{"name":"tiny","version":"1.2.3","dist":{"tarball":"https://packages.test/t.tgz"}}}}`)
	})
	proxy := launchtest.NewProxy(t, launchtest.ProxyConfig{Routes: map[string]string{"packages.test:443": launchtest.TLSOrigin(t, ca, packument, "packages.test")}})
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".npmrc"), []byte("https-proxy=http://127.0.0.1:1/\nnoproxy=packages.test\nregistry=https://packages.test/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	preload, err := launch.WritePreload(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "NODE_EXTRA_CA_CERTS=" + ca.File, "npm_config_update_notifier=false", "npm_config_fetch_retries=0",
		"npm_config_cafile=" + ca.File, "npm_config_globalconfig=" + filepath.Join(home, "none")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "view", "tiny", "version")
	cmd.Dir, cmd.WaitDelay = home, time.Second
	cmd.Env = launch.NewEnvironment(launch.EnvironmentConfig{Proxy: proxy.URL, Server: "probe", Preload: preload, Base: base}).Apply(base)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "1.2.3" {
		t.Errorf("npm view answered %q, %v\n%s", out, err, stderr.String())
	}
	if v := proxy.Visits(); len(v) == 0 || v[0].Target != "packages.test:443" || v[0].Method != http.MethodConnect || len(proxy.Denied()) != 0 {
		t.Errorf("the proxy saw %v and refused %q", v, proxy.Denied())
	}
}
