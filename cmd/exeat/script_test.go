package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", "")
			return nil
		},
	})
}

// run executes a command line inside this process.
func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Setenv("EXEAT_CONFIG", os.DevNull)
	var out, errs bytes.Buffer
	status = execute(context.WithoutCancel(t.Context()), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestExitStatus(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"help", []string{"--help"}, exitOK},
		{"no command", nil, exitOK},
		{"unknown command", []string{"nope"}, exitUsage},
		{"unknown flag", []string{"flows", "--nope"}, exitUsage},
		{"too few arguments", []string{"server", "show"}, exitUsage},
		{"bad name", []string{"--data", none, "server", "mode", "x", "sometimes"}, exitUsage},
		{"bad format", []string{"--data", none, "flows", "--format", "xml"}, exitUsage},
		{"no daemon", []string{"--data", none, "server", "revoke", "x"}, exitFailed},
		{"no store", []string{"--data", none, "flows"}, exitFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, _, stderr := run(t, c.args...); got != c.want {
				t.Errorf("exit status %d, want %d\n%s", got, c.want, stderr)
			}
		})
	}
}

// TestReferenceIsCurrent holds docs/cli.md to the commands as they are.
func TestReferenceIsCurrent(t *testing.T) {
	t.Setenv("HOME", "/home/you")
	t.Setenv("XDG_DATA_HOME", "")
	var want bytes.Buffer
	must(t, writeReference(&want, newRoot()))
	path := filepath.Join("..", "..", "docs", "cli.md")
	if os.Getenv("UPDATE") != "" {
		must(t, os.WriteFile(path, want.Bytes(), 0o644))
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/cli.md is out of date: UPDATE=1 go test ./cmd/exeat -run TestReferenceIsCurrent")
	}
}

// TestStableKeys holds the JSON listings to the keys that others build on.
func TestStableKeys(t *testing.T) {
	data := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "exeat", "demo", "--exit", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, c := range []struct {
		args []string
		keys string
	}{
		{[]string{"flows", "--json"}, "id server owner opened closed method host port ip sni alpn ja4 ech grade phase tool asn as_org country " +
			"bytes_up bytes_down verdict reason mode end"},
		{[]string{"alerts", "--json"}, "id kind severity server host port first last count status title explanation next flows"},
		{[]string{"server", "list", "--json"}, "name owner mode status coverage package version command first_seen last_seen flows open_alerts"},
		{[]string{"baseline", "show", "notes", "--json"}, "host port state phases networks usual_up first_seen last_seen flows decided_by decided_at note"},
	} {
		status, out, stderr := run(t, append(c.args, "--data", data)...)
		if status != exitOK {
			t.Fatalf("%v: %d\n%s", c.args, status, stderr)
		}
		lines := decodeLines(t, out)
		if len(lines) == 0 {
			t.Errorf("%v printed nothing", c.args)
		}
		for _, line := range lines {
			for key := range strings.FieldsSeq(c.keys) {
				if _, ok := line[key]; !ok {
					t.Errorf("%v: no key %q in %v", c.args, key, line)
				}
			}
		}
	}
}

func TestCleanForATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain.example":       "plain.example",
		"\x1b[2Jgone":         `\u001b[2Jgone`,
		"abc\u202edcba":       `abc\u202edcba`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"two\nlines":          `two\nlines`,
		"bell\a and tab\tend": `bell\u0007 and tab\tend`,
	} {
		if got := line(in); got != want {
			t.Errorf("line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	must(t, os.WriteFile(file, []byte("learn: {window: 3d}\nproxy: {listen: 127.0.0.1:1}\nlimits: {tunnels_per_server: 7}\n"), 0o600))
	env := map[string]string{"EXEAT_PROXY_LISTEN": "127.0.0.1:2", "EXEAT_WEB_LISTEN": "127.0.0.1:3", "EXEAT_NETWORK_ALLOW_PRIVATE": "10.0.0.0/8, 192.168.1.1"}
	cmd := (&app{}).serveCommand()
	must(t, cmd.ParseFlags([]string{"--web-listen", "127.0.0.1:4"}))
	cfg, err := loadConfig(file, func(k string) string { return env[k] }, cmd.Flags())
	must(t, err)
	if cfg.Learn.Window.String() != "3d" || cfg.Proxy.Listen != "127.0.0.1:2" || cfg.Web.Listen != "127.0.0.1:4" || cfg.Limits.TunnelsPerServer != 7 {
		t.Errorf("got %+v", cfg)
	}
	prefixes, err := cfg.allowPrivate()
	must(t, err)
	var got []string
	for _, p := range prefixes {
		got = append(got, p.String())
	}
	if !slices.Equal(got, []string{"10.0.0.0/8", "192.168.1.1/32"}) {
		t.Errorf("allow_private %v", got)
	}
}
