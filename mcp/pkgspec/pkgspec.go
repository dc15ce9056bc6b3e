// Package pkgspec reads from the command that launches an MCP server which
// package it runs: "npx -y @scope/name@1.2.3" is version 1.2.3 of @scope/name
// on npm. It knows the launchers' own options only as far as it must, to tell
// an option's value from the package.
//
// It is pure and bounded, and reads what anybody may have written into a
// client's configuration.
package pkgspec

import (
	"slices"
	"strings"
)

// The ecosystems: where a package's name has its meaning.
const (
	NPM    = "npm"    // npx, npm exec, pnpm dlx, yarn dlx, bunx, deno npm:
	PyPI   = "pypi"   // uvx, uv tool run, pipx run
	Docker = "docker" // docker, podman and nerdctl run: an image
	Go     = "go"     // go run: the package's import path
	Deno   = "deno"   // deno run with a URL
	JSR    = "jsr"    // deno run jsr:
	NuGet  = "nuget"  // dnx, dotnet tool exec
)

// Spec is the package that a command runs.
type Spec struct {
	// Ecosystem is one of the constants.
	Ecosystem string
	// Name is the name as its ecosystem writes it: "@scope/name" for npm, the
	// normalised name for PyPI (PEP 503), the repository of an image with its
	// registry where one is given.
	Name string
	// Version is what the command asks for: a version, a range, a tag or an
	// image's digest. Empty when it asks for none, which means the newest.
	Version string
	// Pinned says that the command runs the same thing each time, as far as the
	// ecosystem keeps that promise: an exact version, or an image's digest. A
	// tag can be moved and is never pinned.
	Pinned bool
}

// Bounds of what is looked at; longer commands are not understood.
const (
	maxArgs   = 1024
	maxLength = 4096
	maxNested = 8
)

// Parse returns the package that a command runs, and false when it doesn't
// name one: a program that is installed already, a script, a shell line. A
// name that no ecosystem would accept is no package either.
func Parse(argv []string) (Spec, bool) {
	if len(argv) > maxArgs || slices.ContainsFunc(argv, func(a string) bool { return len(a) > maxLength }) {
		return Spec{}, false
	}
	for range maxNested {
		if len(argv) == 0 {
			return Spec{}, false
		}
		inner, wrapped := unwrap(argv)
		if !wrapped {
			return launcher(argv)
		}
		argv = inner
	}
	return Spec{}, false
}

// launcher hands over to the parser of the launcher that argv begins with.
func launcher(argv []string) (Spec, bool) {
	args := argv[1:]
	switch name := program(argv[0]); name {
	case "npx", "pnpx", "bunx":
		return npmRunner(args)
	case "npm", "pnpm", "yarn", "bun":
		return npmManager(name, args)
	case "uvx":
		return uvx(args)
	case "uv":
		return uv(args)
	case "pipx":
		return pipx(args)
	case "docker", "podman", "nerdctl":
		return container(args)
	case "go":
		return goRun(args)
	case "deno":
		return denoRun(args)
	case "dnx":
		return dnx(args)
	case "dotnet":
		return dotnet(args)
	}
	return Spec{}, false
}

// program returns the name of a program without its folder, in the way of
// either system, and without the suffixes that Windows adds.
func program(path string) string {
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	for _, suffix := range []string{".exe", ".cmd", ".bat", ".ps1"} {
		if n := len(name) - len(suffix); n > 0 && strings.EqualFold(name[n:], suffix) {
			return strings.ToLower(name[:n])
		}
	}
	return name
}
