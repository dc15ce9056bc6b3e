package pkgspec

import (
	"regexp"
	"strings"
)

var (
	goPath    = regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[A-Za-z0-9._~-]+)*$`)
	goVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+incompatible)?$`)
	goQuery   = regexp.MustCompile(`^[0-9A-Za-z.+<>=_/-]+$`)
)

// goRun reads "go run path@version". Without a version the package is one of
// the module in the current directory.
func goRun(args []string) (Spec, bool) {
	if len(args) == 0 || args[0] != "run" {
		return Spec{}, false
	}
	o := options{values: set(`-p -C -exec -asmflags -buildmode -compiler -gccgoflags -gcflags -installsuffix -ldflags
		-mod -modfile -overlay -pgo -pkgdir -tags -toolexec -covermode -coverpkg`)}
	_, rest := o.split(args[1:])
	if len(rest) == 0 {
		return Spec{}, false
	}
	path, version, ok := strings.Cut(rest[0], "@")
	if !ok || !goPath.MatchString(path) || !goQuery.MatchString(version) {
		return Spec{}, false
	}
	return Spec{Ecosystem: Go, Name: path, Version: version, Pinned: goVersion.MatchString(version)}, true
}

// denoRun reads "deno run npm:…", "jsr:…" and "https://…".
func denoRun(args []string) (Spec, bool) {
	o := options{values: set(`-c --config --import-map --lock -L --log-level --cert --location --seed --ext
		--preload --import --node-modules-dir --conditions --port --host`)}
	_, rest := o.split(args)
	if len(rest) > 0 && (rest[0] == "run" || rest[0] == "x" || rest[0] == "serve") {
		_, rest = o.split(rest[1:])
	}
	if len(rest) == 0 {
		return Spec{}, false
	}
	scheme, name, ok := strings.Cut(rest[0], ":")
	if !ok {
		return Spec{}, false
	}
	switch scheme {
	case "npm":
		return npmSpec(withoutSubpath(name))
	case "jsr":
		return jsrSpec(withoutSubpath(name))
	case "https", "http":
		return denoURL(name)
	}
	return Spec{}, false
}

// withoutSubpath cuts what follows a package: npm:@scope/name@1/bin runs bin.
func withoutSubpath(s string) string {
	s = strings.TrimPrefix(s, "/")
	skip := 0
	if strings.HasPrefix(s, "@") {
		skip = strings.IndexByte(s, '/') + 1
	}
	if i := strings.IndexByte(s[skip:], '/'); i >= 0 {
		return s[:skip+i]
	}
	return s
}

func jsrSpec(s string) (Spec, bool) {
	spec, ok := npmSpec(s)
	if !ok || !strings.HasPrefix(spec.Name, "@") {
		return Spec{}, false
	}
	spec.Ecosystem = JSR
	return spec, true
}

var denoPath = regexp.MustCompile(`^//([a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?(?:/[A-Za-z0-9._~@-]+)*/?)$`)

// denoURL reads a module's URL. By custom a version follows the module's name
// after "@": //deno.land/x/name@1.2.3/mod.ts.
func denoURL(rest string) (Spec, bool) {
	rest, _, _ = strings.Cut(rest, "?")
	m := denoPath.FindStringSubmatch(rest)
	if m == nil {
		return Spec{}, false
	}
	name, after, ok := strings.Cut(m[1], "@")
	if !ok {
		return Spec{Ecosystem: Deno, Name: strings.TrimSuffix(name, "/")}, true
	}
	if strings.HasSuffix(name, "/") {
		return Spec{Ecosystem: Deno, Name: strings.TrimSuffix(m[1], "/")}, true
	}
	version, _, _ := strings.Cut(after, "/")
	return Spec{Ecosystem: Deno, Name: name, Version: version, Pinned: semver.MatchString(version)}, true
}

var nugetName = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_])?$`)

// dnx reads what follows dnx: the package, and its version after "@" or in an
// option that may stand on either side.
func dnx(args []string) (Spec, bool) {
	o := options{values: set("--version --source --add-source --configfile --framework -v --verbosity --arch -a")}
	given, rest := o.split(args)
	if len(rest) == 0 {
		return Spec{}, false
	}
	name, version, ok := strings.Cut(rest[0], "@")
	if !ok {
		more, _ := o.split(rest[1:])
		version = last(append(given, more...), "--version")
	}
	if !nugetName.MatchString(name) || strings.ContainsAny(version, "/\\ ") {
		return Spec{}, false
	}
	return Spec{Ecosystem: NuGet, Name: name, Version: version, Pinned: semver.MatchString(version)}, true
}

// dotnet reads "dotnet tool exec".
func dotnet(args []string) (Spec, bool) {
	if len(args) < 2 || args[0] != "tool" || (args[1] != "exec" && args[1] != "execute") {
		return Spec{}, false
	}
	return dnx(args[2:])
}
