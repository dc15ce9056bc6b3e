// Package launchtest holds what tests of launched servers need: packages from
// npm, a client that speaks MCP over stdio, TLS origins on loopback, and a
// proxy that writes down who came through it.
package launchtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The bounds of asking npm whether it is there, and of an installation.
const (
	npmAnswers  = 30 * time.Second
	npmInstalls = 5 * time.Minute
)

// Install installs the packages that the package.json in fixture names, with
// npm, and returns the folder that holds their node_modules. The folder is in
// the user's cache, named by the hash of the fixture, and is used again by
// later runs. The test is skipped when npm isn't there or no registry answers.
func Install(t testing.TB, fixture string) string {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(fixture, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache folder to install packages in: %v", err)
	}
	sum := sha256.Sum256(manifest)
	dir := filepath.Join(cache, "exeat-test", "npm-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	requireRegistry(t)
	install(t, dir, manifest)
	return dir
}

func requireRegistry(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), npmAnswers)
	defer cancel()
	out, err := npm(ctx, t.TempDir(), "view", "is-number", "version").CombinedOutput()
	if err != nil {
		t.Skipf("no registry answers: npm view: %v: %.200s", err, out)
	}
}

// install works in a folder of its own and renames it at the end, so that what
// is there is whole, also when several tests install at once.
func install(t testing.TB, dir string, manifest []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".installing-*")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.WriteFile(filepath.Join(work, "package.json"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), npmInstalls)
	defer cancel()
	out, err := npm(ctx, work, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock").CombinedOutput()
	if err != nil {
		t.Fatalf("npm install: %v\n%.2000s", err, out)
	}
	if err := os.Rename(work, dir); err != nil {
		if _, serr := os.Stat(dir); serr != nil {
			t.Fatal(err)
		}
	}
}

func npm(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_UPDATE_NOTIFIER=1")
	cmd.WaitDelay = time.Second
	return cmd
}

// Node returns the path of node and its version as "v20.1.2", and skips the
// test when there is none.
func Node(t testing.TB) (path, version string) {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if err != nil {
		t.Fatalf("node --version: %v", err)
	}
	return path, strings.TrimSpace(string(out))
}
