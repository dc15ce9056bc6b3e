package pkgspec

import (
	"regexp"
	"strings"
)

// uvOptions are the options of uv and uvx that take a value.
func uvOptions() options {
	return options{clustered: true, values: set(`--from --with -w --with-editable --with-requirements -p --python --index
		--default-index -i --index-url --extra-index-url -f --find-links --cache-dir --directory --project
		--config-file --env-file -c --constraints --constraint -b --build-constraints --overrides --override
		--refresh-package --reinstall-package -P --upgrade-package --prerelease --resolution --fork-strategy
		--exclude-newer --exclude-newer-package --link-mode --index-strategy --keyring-provider -C
		--config-setting --config-settings-package --no-build-package --no-binary-package
		--no-build-isolation-package --no-sources-package --color --allow-insecure-host --trusted-host
		--python-platform --torch-backend --python-preference --python-fetch`)}
}

// uvx reads what follows uvx: the package is the command unless --from says
// otherwise.
func uvx(args []string) (Spec, bool) {
	given, rest := uvOptions().split(args)
	if from := last(given, "--from"); from != "" {
		return pySpec(from)
	}
	if len(rest) == 0 {
		return Spec{}, false
	}
	return pySpec(rest[0])
}

// uv reads "uv tool run"; "uv run" runs what is in the project.
func uv(args []string) (Spec, bool) {
	_, rest := uvOptions().split(args)
	if len(rest) == 0 || rest[0] != "tool" {
		return Spec{}, false
	}
	_, rest = uvOptions().split(rest[1:])
	if len(rest) == 0 || rest[0] != "run" {
		return Spec{}, false
	}
	return uvx(rest[1:])
}

// pipx reads "pipx run".
func pipx(args []string) (Spec, bool) {
	o := options{values: set("--spec --python --pip-args -i --index-url --fetch-missing-python --backend --with")}
	_, rest := o.split(args)
	if len(rest) == 0 || rest[0] != "run" {
		return Spec{}, false
	}
	given, rest := o.split(rest[1:])
	if spec := last(given, "--spec"); spec != "" {
		return pySpec(spec)
	}
	if len(rest) == 0 {
		return Spec{}, false
	}
	return pySpec(rest[0])
}

var (
	// pyRequirement is a requirement by name (PEP 508), or uv's name@version.
	pyRequirement = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:@\s*([A-Za-z0-9.*+!_-]+)|((?:===|[=~<>!]=|[<>])[^;]*))?\s*(?:;.*)?$`)
	pyExact       = regexp.MustCompile(`^(?:\d+!)?\d+(?:\.\d+)*(?:[A-Za-z0-9._+-]*)$`)
	pySeparators  = regexp.MustCompile(`[-_.]+`)
)

// pySpec reads a requirement. One that names a URL is not from PyPI.
func pySpec(s string) (Spec, bool) {
	m := pyRequirement.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil || isPythonFile(m[1]) {
		return Spec{}, false
	}
	spec := Spec{Ecosystem: PyPI, Name: strings.ToLower(pySeparators.ReplaceAllString(m[1], "-"))}
	switch {
	case m[2] != "":
		spec.Version = m[2]
		spec.Pinned = pyExact.MatchString(m[2])
	case m[3] != "":
		spec.Version, spec.Pinned = pyVersion(strings.TrimSpace(m[3]))
	}
	return spec, true
}

// pyVersion returns a version specifier as a version when it is exact, or as
// it is.
func pyVersion(s string) (version string, pinned bool) {
	exact, ok := strings.CutPrefix(s, "===")
	if !ok {
		exact, ok = strings.CutPrefix(s, "==")
	}
	exact = strings.TrimSpace(exact)
	if ok && pyExact.MatchString(exact) {
		return exact, true
	}
	return s, false
}

func isPythonFile(name string) bool {
	return strings.HasSuffix(name, ".py") || strings.HasSuffix(name, ".whl")
}
