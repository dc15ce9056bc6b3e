package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Reach says how much of a runtime's traffic comes through the proxy by the
// variables that NewEnvironment sets.
type Reach string

// The degrees of Reach, best first.
const (
	// ReachAll: its usual HTTP clients come through.
	ReachAll Reach = "all"
	// ReachPreload: Node's clients come through because of the preload, and
	// would not without it.
	ReachPreload Reach = "preload"
	// ReachPart: some of its usual clients go direct.
	ReachPart Reach = "part"
	// ReachNone: it ignores the variables, or can't send the credential.
	ReachNone Reach = "none"
	// ReachUnknown: it could not be asked for its version.
	ReachUnknown Reach = "unknown"
)

// Runtime is a program that runs servers, as it was found on this machine.
type Runtime struct {
	Name    string
	Path    string // empty when it isn't on PATH
	Version string // "20.20.2"; empty when it could not be told
	Reach   Reach
	// Note says in a sentence what comes through and what doesn't.
	Note string
	// Err is why the version could not be told; nil otherwise.
	Err error
}

// probeLimit bounds asking one runtime for its version: npx takes a second on
// a slow machine, and a broken shim may never answer.
const probeLimit = 5 * time.Second

// maxBanner bounds what is read of an answer.
const maxBanner = 4096

type probe struct {
	name string
	args []string
	// judge says what is known of the version.
	judge func(version string) (Reach, string)
}

// Runtimes looks for the usual runtimes on PATH and really asks each for its
// version, all at once and for no longer than five seconds. What they are said
// to do was measured, not remembered (facts of the ecosystem, part B), by
// version where that matters.
func Runtimes(ctx context.Context) []Runtime {
	probes := probes()
	out := make([]Runtime, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { out[i] = p.run(ctx) })
	}
	wg.Wait()
	return out
}

func probes() []probe {
	always := func(r Reach, note string) func(string) (Reach, string) {
		return func(string) (Reach, string) { return r, note }
	}
	return []probe{
		{"node", []string{"--version"}, judgeNode},
		{"npx", []string{"--version"}, always(ReachAll, "npm's own downloads come through; what it starts is judged as node")},
		{"bun", []string{"--version"}, always(ReachPart, "fetch comes through; node:https and WebSocket go direct")},
		{"deno", []string{"--version"}, always(ReachPart, "fetch and WebSocket come through, though the name is looked up locally first; node:https goes direct")},
		{"python3", []string{"--version"}, always(ReachPart, "urllib, requests and httpx come through; aiohttp only with trust_env=True")},
		{"uvx", []string{"--version"}, always(ReachAll, "uv's own downloads come through; what it starts is judged as python3")},
		{"java", []string{"-version"}, always(ReachNone, "Java takes no proxy from the environment, and sends no credential to one by default")},
		{"go", []string{"version"}, always(ReachAll, "net/http comes through")},
		{"curl", []string{"--version"}, always(ReachAll, "comes through")},
	}
}

func (p probe) run(ctx context.Context) Runtime {
	r := Runtime{Name: p.name, Reach: ReachUnknown}
	path, err := exec.LookPath(p.name)
	if err != nil {
		r.Note = "not on PATH"
		return r
	}
	r.Path = path
	if r.Version, r.Err = version(ctx, path, p.args); r.Err != nil {
		r.Note = "it did not tell its version"
		return r
	}
	r.Reach, r.Note = p.judge(r.Version)
	return r
}

var versionForm = regexp.MustCompile(`\d+\.\d+[0-9A-Za-z.+_-]*`)

// version asks a program for its version. It works in the folder for temporary
// files, so that no project's settings count, and without the variables by
// which a runtime could be made to load, or fetch, something else.
func version(ctx context.Context, path string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(without(os.Environ(), "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"), "GOTOOLCHAIN=local", "NO_UPDATE_NOTIFIER=1")
	cmd.WaitDelay = time.Second
	var out limited
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return "", fmt.Errorf("%s %s: %w", path, strings.Join(args, " "), err)
	}
	found := versionForm.FindString(out.String())
	if found == "" {
		return "", fmt.Errorf("%s %s: no version in its answer", path, strings.Join(args, " "))
	}
	return strings.TrimRight(found, ".-_"), nil
}

func without(env []string, keys ...string) []string {
	return Environment{Unset: keys}.Apply(env)
}

// limited keeps the beginning of what is written to it. Standard output and
// error of one command are written by one goroutine when they are equal.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxBanner - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// judgeNode tells the versions that come through by themselves from those that
// need the preload.
func judgeNode(version string) (Reach, string) {
	const left = "; http2, raw sockets and explicit undici dispatchers go direct"
	switch major, minor := majorMinor(version); {
	case major == 0:
		return ReachUnknown, "its version is not as expected"
	case major < 18:
		return ReachPreload, "http and https come through by the preload; it has no fetch" + left
	case major > 24, major == 24 && minor >= 5, major == 22 && minor >= 21:
		return ReachAll, "fetch comes through by NODE_USE_ENV_PROXY, http and https by the preload" + left
	}
	return ReachPreload, "http, https and fetch come through by the preload" + left
}

func majorMinor(version string) (major, minor int) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0
	}
	minor, err = strconv.Atoi(parts[1])
	if err != nil {
		return 0, 0
	}
	return major, minor
}
