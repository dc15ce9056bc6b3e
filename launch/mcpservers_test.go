//go:build unix

package launch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exeat/exeat/launch"
	"github.com/exeat/exeat/launch/launchtest"
)

// apis answers as GitHub's and GitLab's APIs do, as far as the servers ask.
func apis(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Proxy-Authorization") != "" {
				t.Error("the proxy's credential reached the origin")
			}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
	}
	mux.HandleFunc("GET /repos/o/r/contents/README.md", reply(map[string]any{
		"type": "file", "encoding": "base64", "size": 8, "name": "README.md", "path": "README.md", "content": "ZnJvbSB1cw==",
		"sha": "1", "url": "https://x.test", "git_url": "https://x.test", "html_url": "https://x.test", "download_url": "https://x.test",
		"_links": map[string]any{"self": "s", "git": "g", "html": "h"},
	}))
	mux.HandleFunc("GET /api/v4/projects", reply([]any{map[string]any{
		"id": 7, "name": "found by us", "path_with_namespace": "a/b", "visibility": "public", "web_url": "https://x.test",
		"description": "d", "ssh_url_to_repo": "s", "http_url_to_repo": "h", "created_at": "2026-01-01", "last_activity_at": "2026-01-01", "default_branch": "main",
	}}))
	return mux
}

// TestRealServers starts MCP servers from npm as exeat run does, speaks to them
// over their stdio, and sees in the proxy where their tools went.
func TestRealServers(t *testing.T) {
	node, version := launchtest.Node(t)
	t.Logf("node %s", version)
	dir := launchtest.Install(t, filepath.Join("testdata", "servers"))
	for _, tt := range []struct {
		server string
		env    []string
		tool   string // one that it must offer, and that is called
		args   map[string]any
		answer string // must be part of the result
		visits []string
	}{
		{server: "server-everything", tool: "echo", args: map[string]any{"message": "over 'stdio' \u00fc\u0000"}, answer: "over 'stdio' \u00fc"},
		{server: "server-memory", tool: "read_graph", args: map[string]any{}, answer: "entities",
			env: []string{"MEMORY_FILE_PATH=" + filepath.Join(t.TempDir(), "memory.json")}},
		// fetch, which Node 20 alone would not bring through.
		{server: "server-github", env: []string{"GITHUB_PERSONAL_ACCESS_TOKEN=x"}, tool: "get_file_contents",
			args: map[string]any{"owner": "o", "repo": "r", "path": "README.md"}, answer: "from us", visits: []string{"CONNECT api.github.com:443"}},
		// node-fetch 3, with the API's address in a variable.
		{server: "server-gitlab", env: []string{"GITLAB_PERSONAL_ACCESS_TOKEN=x", "GITLAB_API_URL=https://gitlab.test/api/v4"}, tool: "search_repositories",
			args: map[string]any{"search": "x"}, answer: "found by us", visits: []string{"CONNECT gitlab.test:443"}},
	} {
		t.Run(tt.server, func(t *testing.T) {
			t.Parallel()
			ca := launchtest.NewAuthority(t)
			origin := launchtest.TLSOrigin(t, ca, apis(t), "api.github.com", "gitlab.test")
			proxy := launchtest.NewProxy(t, launchtest.ProxyConfig{Routes: map[string]string{"api.github.com:443": origin, "gitlab.test:443": origin}})
			base := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NODE_EXTRA_CA_CERTS=" + ca.File}, tt.env...)
			bin := filepath.Join(dir, "node_modules", "@modelcontextprotocol", tt.server, "dist", "index.js")
			session, ended := serve(t, proxy, base, node, bin)
			if tools := session.Open(t); !slices.Contains(tools, tt.tool) {
				t.Fatalf("%s is not among its tools %q", tt.tool, tools)
			}
			text, err := session.CallTool(tt.tool, tt.args)
			if err != nil || !strings.Contains(text, tt.answer) {
				t.Errorf("%s answered %q, %v; want %q", tt.tool, text, err, tt.answer)
			}
			var visits []string
			for _, v := range proxy.Visits() {
				visits = append(visits, v.Method+" "+v.Target)
			}
			if !slices.Equal(visits, tt.visits) || len(proxy.Denied()) != 0 {
				t.Errorf("the proxy saw %q and refused %q, want %q", visits, proxy.Denied(), tt.visits)
			}
			if err := ended(); err != nil {
				t.Error(err)
			}
		})
	}
}

// serve runs a command as the server "probe" and returns a session with it, and
// a function that ends its input and waits for it to end in peace.
func serve(t *testing.T, proxy *launchtest.Proxy, base []string, command ...string) (*launchtest.Session, func() error) {
	t.Helper()
	preload, err := launch.WritePreload(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	env := launch.NewEnvironment(launch.EnvironmentConfig{Proxy: proxy.URL, Server: "probe", Preload: preload, Base: base}).Apply(base)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		r, err := launch.Run(ctx, launch.Config{
			Command: command, Env: env, Stdin: inR, Stdout: outW, Stderr: errW,
			Started: func(launch.Process) { inR.Close(); outW.Close(); errW.Close() },
		})
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("the server ended with status %d", r.Code)
		}
		done <- err
	}()
	said := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(errR)
		said <- string(b)
	}()
	return launchtest.NewSession(inW, outR), func() error {
		inW.Close()
		err := <-done
		if text := <-said; strings.Contains(text, "preload") {
			t.Errorf("the preload complained: %s", text)
		}
		return err
	}
}
