package pkgspec

import (
	"regexp"
	"strings"
)

// npmOptions are the options of npm and its likes that take a value.
func npmOptions() options {
	return options{values: set(`-p --package -c --call -w --workspace -C --dir --prefix --registry --cache --userconfig
		--globalconfig --loglevel --tag --node-options --script-shell --shell --scope --cwd --filter -F
		--https-proxy --proxy --noproxy --before --allow-build --config`)}
}

// npmRunner reads what follows npx, bunx and pnpx.
func npmRunner(args []string) (Spec, bool) {
	given, rest := npmOptions().split(args)
	if pkg := first(given, "-p", "--package"); pkg != "" {
		return npmSpec(pkg)
	}
	if len(rest) == 0 || last(given, "-c", "--call") != "" {
		return Spec{}, false
	}
	return npmSpec(rest[0])
}

// npmManager reads what follows npm, pnpm, yarn and bun: options, the word
// that makes it a runner, and options again.
func npmManager(manager string, args []string) (Spec, bool) {
	given, rest := npmOptions().split(args)
	if len(rest) == 0 {
		return Spec{}, false
	}
	if !runs(manager, rest[0]) {
		return Spec{}, false
	}
	if pkg := first(given, "-p", "--package"); pkg != "" {
		return npmSpec(pkg)
	}
	return npmRunner(rest[1:])
}

// runs reports whether a manager's sub-command fetches a package and runs it.
// The exec of the others runs what is installed.
func runs(manager, sub string) bool {
	switch manager {
	case "npm":
		return sub == "exec" || sub == "x"
	case "bun":
		return sub == "x"
	}
	return sub == "dlx"
}

var (
	npmName = regexp.MustCompile(`^(@[A-Za-z0-9~-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*$`)
	semver  = regexp.MustCompile(`^[v=]?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// maxNPMName is npm's own limit.
const maxNPMName = 214

// npmSpec reads a package as npm writes it: name, name@version, name@range,
// name@tag, alias@npm:name@version. What comes from elsewhere (git, a file, a
// tarball's URL) is not on npm, whatever it calls itself.
func npmSpec(s string) (Spec, bool) {
	name, version := cutVersion(s)
	if target, ok := strings.CutPrefix(version, "npm:"); ok {
		name, version = cutVersion(target)
	}
	if len(name) > maxNPMName || !npmName.MatchString(name) || strings.ContainsAny(version, ":/\\") {
		return Spec{}, false
	}
	return Spec{Ecosystem: NPM, Name: name, Version: version, Pinned: semver.MatchString(version)}, true
}

// cutVersion cuts at the "@" that doesn't begin a scope.
func cutVersion(s string) (name, version string) {
	if i := strings.LastIndex(s, "@npm:"); i > 0 {
		return s[:i], s[i+1:]
	}
	if i := strings.LastIndexByte(s, '@'); i > 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}
