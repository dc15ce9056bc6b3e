package pkgspec

import "strings"

// unwrap takes off one program whose purpose is to start another, and reports
// whether there was one. A shell's -c is not taken apart: what it would run
// takes a shell to know.
func unwrap(argv []string) ([]string, bool) {
	args := argv[1:]
	switch program(argv[0]) {
	case "env":
		return unwrapEnv(args)
	case "cmd":
		return unwrapCmd(args)
	case "node":
		return unwrapNode(args)
	case "nice", "nohup", "exec", "command", "time":
		_, rest := options{values: set("-n --adjustment")}.split(args)
		return rest, true
	case "exeat", "op", "doppler", "infisical", "mise", "fnm", "dotenvx", "dotenv":
		// All of them take the command after "--".
		for i, arg := range args {
			if arg == "--" {
				return args[i+1:], true
			}
		}
	}
	return nil, false
}

// unwrapEnv takes off env(1) with its assignments.
func unwrapEnv(args []string) ([]string, bool) {
	given, rest := options{values: set("-u --unset -C --chdir -S --split-string")}.split(args)
	for len(rest) > 0 && strings.Contains(rest[0], "=") {
		rest = rest[1:]
	}
	if line := last(given, "-S", "--split-string"); line != "" {
		rest = append(strings.Fields(line), rest...)
	}
	return rest, true
}

// unwrapCmd takes off Windows' "cmd /c". Its options are single letters in
// either case, and /c or /k is the last.
func unwrapCmd(args []string) ([]string, bool) {
	for i, arg := range args {
		switch {
		case strings.EqualFold(arg, "/c"), strings.EqualFold(arg, "/k"):
			return args[i+1:], true
		case !strings.HasPrefix(arg, "/"):
			return nil, false
		}
	}
	return nil, false
}

// unwrapNode takes off a node that runs npm's own scripts, as installations
// under Windows do.
func unwrapNode(args []string) ([]string, bool) {
	_, rest := options{values: set("-r --require --import --loader")}.split(args)
	if len(rest) == 0 {
		return nil, false
	}
	switch name := program(rest[0]); name {
	case "npx-cli.js", "npm-cli.js":
		return append([]string{strings.TrimSuffix(name, "-cli.js")}, rest[1:]...), true
	}
	return nil, false
}
