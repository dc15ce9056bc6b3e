//go:build unix

package launch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/launch"
)

func find(t *testing.T, all []launch.Runtime, name string) launch.Runtime {
	t.Helper()
	for _, r := range all {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("%s is not among the runtimes", name)
	return launch.Runtime{}
}

func TestRuntimesAsksWhatIsThere(t *testing.T) {
	all := launch.Runtimes(t.Context())
	r := find(t, all, "go")
	if r.Err != nil || r.Path == "" || r.Reach != launch.ReachAll {
		t.Fatalf("go: %+v", r)
	}
	if want := strings.TrimPrefix(runtime.Version(), "go"); !strings.HasPrefix(want, r.Version[:4]) {
		t.Errorf("go is %q, the tests were built by %q", r.Version, want)
	}
	for _, r := range all {
		if r.Path != "" && r.Err == nil && (r.Version == "" || r.Note == "") {
			t.Errorf("%+v", r)
		}
	}
}

func TestRuntimesJudges(t *testing.T) {
	for _, tt := range []struct {
		name, banner string
		want         launch.Reach
	}{
		{"node", "v16.20.0", launch.ReachPreload},
		{"node", "v20.20.2", launch.ReachPreload},
		{"node", "v22.20.9", launch.ReachPreload},
		{"node", "v22.21.0", launch.ReachAll},
		{"node", "v23.11.0", launch.ReachPreload},
		{"node", "v24.4.1", launch.ReachPreload},
		{"node", "v24.5.0", launch.ReachAll},
		{"node", "v26.0.0-nightly", launch.ReachAll},
		{"deno", "deno 2.9.6 (stable, release, x86_64-unknown-linux-gnu)", launch.ReachPart},
		{"java", `openjdk version "17.0.1" 2021-10-19`, launch.ReachNone},
		{"python3", "Python 3.11.2", launch.ReachPart},
		{"uvx", "no number", launch.ReachUnknown},
	} {
		t.Run(tt.name+" "+tt.banner, func(t *testing.T) {
			bin := t.TempDir()
			program(t, filepath.Join(bin, tt.name), "printf '%s\\n' '"+tt.banner+"'")
			t.Setenv("PATH", bin+":/bin:/usr/bin")
			if r := find(t, launch.Runtimes(t.Context()), tt.name); r.Reach != tt.want {
				t.Errorf("%+v, want %s", r, tt.want)
			}
		})
	}
}

func TestRuntimesIsBounded(t *testing.T) {
	bin := t.TempDir()
	program(t, filepath.Join(bin, "bun"), "/bin/sleep 60")
	program(t, filepath.Join(bin, "deno"), "exit 3")
	t.Setenv("PATH", bin)
	// The sleeping grandchild holds the pipe, so killing the shell isn't enough.
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	all := launch.Runtimes(ctx)
	if r := find(t, all, "bun"); !errors.Is(r.Err, context.DeadlineExceeded) || r.Reach != launch.ReachUnknown {
		t.Errorf("%+v", r)
	}
	if r := find(t, all, "deno"); r.Err == nil || r.Reach != launch.ReachUnknown {
		t.Errorf("%+v", r)
	}
	if r := find(t, all, "node"); r.Path != "" || r.Note != "not on PATH" {
		t.Errorf("%+v", r)
	}
}

func program(t *testing.T, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
