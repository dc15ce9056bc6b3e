//go:build unix

package launch_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/exeat/exeat/launch"
)

const proxyURL = "http://probe:token@127.0.0.1:7180"

func environment(base ...string) launch.Environment {
	return launch.NewEnvironment(launch.EnvironmentConfig{Proxy: proxyURL, Server: "probe", Preload: "/data/p.cjs", Base: base})
}

func lookup(env []string, key string) (string, int) {
	var found string
	var n int
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			found, n = v, n+1
		}
	}
	return found, n
}

func TestEnvironment(t *testing.T) {
	base := []string{
		"PATH=/bin", "NO_PROXY=*", "no_proxy=evil.test", "HTTPS_PROXY=http://other", "https_proxy=", "NODE_USE_ENV_PROXY=0",
		"npm_config_noproxy=evil.test", "NPM_CONFIG_HTTPS_PROXY=http://other", "npm_config_https-proxy=http://other", "npm_config_no_proxy=*",
		"GLOBAL_AGENT_NO_PROXY=*", "no_grpc_proxy=*", "REQUEST_METHOD=GET", "UV_NO_PROXY=*",
		"EXEAT_TOKEN=secret", "EXEAT_URL=http://x", "EXEAT_STORE_URL=postgres://u:p@h/d", "EXEAT_SERVER=outer", "NPM_CONFIG_CACHE=/c", "EMPTY=", "MULTI=a=b",
	}
	got := environment(base...).Apply(base)
	for key, want := range map[string]string{
		"HTTPS_PROXY": proxyURL, "https_proxy": proxyURL, "HTTP_PROXY": proxyURL, "http_proxy": proxyURL, "ALL_PROXY": proxyURL, "all_proxy": proxyURL,
		"NO_PROXY": "localhost,127.0.0.1,::1", "no_proxy": "localhost,127.0.0.1,::1", "NODE_USE_ENV_PROXY": "1",
		"npm_config_https_proxy": proxyURL, "npm_config_noproxy": "localhost,127.0.0.1,::1",
		"NODE_OPTIONS": "--require /data/p.cjs", "EXEAT_SERVER": "probe", "PATH": "/bin", "NPM_CONFIG_CACHE": "/c", "EMPTY": "", "MULTI": "a=b",
	} {
		if value, n := lookup(got, key); value != want || n != 1 {
			t.Errorf("%s is %q, %d times; want %q once", key, value, n, want)
		}
	}
	for _, key := range []string{
		"NPM_CONFIG_HTTPS_PROXY", "npm_config_https-proxy", "npm_config_no_proxy", "GLOBAL_AGENT_NO_PROXY", "no_grpc_proxy", "REQUEST_METHOD",
		"UV_NO_PROXY", "EXEAT_TOKEN", "EXEAT_URL", "EXEAT_STORE_URL",
	} {
		if value, n := lookup(got, key); n != 0 {
			t.Errorf("%s=%s is still there", key, value)
		}
	}
	if strings.Contains(strings.Join(got, "\n"), "--use-env-proxy") {
		t.Error("Node 20 refuses to start with --use-env-proxy")
	}
	if launch.Launched(base) != "outer" || launch.Launched(got) != "probe" || launch.Launched(nil) != "" {
		t.Error("nested runs are not recognised")
	}
}

func TestEnvironmentNodeOptions(t *testing.T) {
	for _, tt := range []struct{ preload, existing, want string }{
		{"", "--max-old-space-size=100", "--max-old-space-size=100"},
		{"/p.cjs", "", "--require /p.cjs"},
		{"/p.cjs", "--max-old-space-size=100", "--require /p.cjs --max-old-space-size=100"},
		{"/p.cjs", "--require /p.cjs --trace-warnings", "--require /p.cjs --trace-warnings"},
		{"/a b/p.cjs", "", `--require "/a b/p.cjs"`},
		{`/a "b" \c/p.cjs`, "", `--require "/a \"b\" \\c/p.cjs"`},
	} {
		base := []string{"NODE_OPTIONS=" + tt.existing}
		e := launch.NewEnvironment(launch.EnvironmentConfig{Proxy: proxyURL, Server: "x", Preload: tt.preload, Base: base})
		if got, _ := lookup(e.Apply(base), "NODE_OPTIONS"); got != tt.want {
			t.Errorf("%+v gave %q", tt, got)
		}
	}
}

// hostile are values and keys that a careless rendering would run.
var hostile = launch.Environment{
	Set: []launch.Variable{
		{"A", `'; touch pwned; echo '`}, {"B", "$(touch pwned)`touch pwned`$HOME"}, {"C", "two\nlines\n"}, {"D", `back\slash\'`},
		{"E", ""}, {"F", " spaces  "}, {"G", "\"*?[a]~!#&|<>(){}\t"}, {"H", "über \x01"}, {"X;touch pwned", "no"},
	},
	Unset: []string{"GONE", "Y;touch pwned", "", "1A", "npm_config_https-proxy"},
}

// shell evaluates what Render wrote in a real shell and returns what a child
// of it sees.
func shell(t *testing.T, path, lines string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, "-c", lines+"env -0; ls -A")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/bin:/usr/bin", "HOME=" + dir, "GONE=here"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, lines)
	}
	parts := strings.Split(string(out), "\x00")
	if strings.Contains(parts[len(parts)-1], "pwned") {
		t.Fatalf("a value was run:\n%s", lines)
	}
	seen := map[string]string{}
	for _, kv := range parts {
		k, v, _ := strings.Cut(kv, "=")
		seen[k] = v
	}
	return seen
}

func TestRenderInRealShells(t *testing.T) {
	for _, tt := range []struct{ syntax, program string }{
		{"sh", "sh"}, {"sh", "dash"}, {"sh", "bash"}, {"sh", "zsh"}, {"fish", "fish"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			path, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("%s is not installed", tt.program)
			}
			lines, err := launch.Render(tt.syntax, hostile)
			if err != nil {
				t.Fatal(err)
			}
			seen := shell(t, path, lines)
			for _, v := range hostile.Set[:8] {
				if got, ok := seen[v.Key]; !ok || got != v.Value {
					t.Errorf("%s is %q, want %q", v.Key, got, v.Value)
				}
			}
			if _, ok := seen["GONE"]; ok {
				t.Error("GONE was not unset")
			}
		})
	}
}

// There may be no fish to ask; this is its manual's rule for single quotes.
func TestRenderFish(t *testing.T) {
	got, err := launch.Render("fish", launch.Environment{Set: []launch.Variable{{"D", `a\b'c`}}, Unset: []string{"X"}})
	if err != nil || got != "set -e X\nset -gx D 'a\\\\b\\'c'\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRenderJSON(t *testing.T) {
	got, err := launch.Render("json", hostile)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(got), &m); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	for _, v := range hostile.Set {
		if m[v.Key] != v.Value {
			t.Errorf("%s is %q, want %q", v.Key, m[v.Key], v.Value)
		}
	}
	if strings.Contains(got, `\u0026`) {
		t.Error("HTML is escaped where there is none")
	}
	order := []int{strings.Index(got, `"A"`), strings.Index(got, `"B"`), strings.Index(got, `"H"`)}
	if !slices.IsSorted(order) {
		t.Error("the order is lost")
	}
}

func TestRenderUnknownShell(t *testing.T) {
	if _, err := launch.Render("csh", hostile); err == nil {
		t.Error("csh was rendered")
	}
}
