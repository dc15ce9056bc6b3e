package pkgspec

import "strings"

// options describes how a launcher reads its options.
type options struct {
	// values are the options that take a value as the next argument. When
	// flags is set it is the other way round: every option takes one but those
	// in flags.
	values, flags map[string]bool
	// clustered says that single letters can be written together ("-it"), and
	// that a letter's value may follow it at once ("-eA=b").
	clustered bool
}

// option is one option as it was given.
type option struct{ name, value string }

// split reads options up to the first argument that is none, and returns them
// with what follows. "--" ends them.
func (o options) split(args []string) (given []option, rest []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return given, args[i+1:]
		}
		if len(arg) < 2 || arg[0] != '-' {
			return given, args[i:]
		}
		name, value, attached := o.parse(arg)
		if !attached && o.takesValue(name) && i+1 < len(args) {
			i++
			value = args[i]
		}
		given = append(given, option{name, value})
	}
	return given, nil
}

// parse splits one argument into an option and the value that is attached.
func (o options) parse(arg string) (name, value string, attached bool) {
	if name, value, ok := strings.Cut(arg, "="); ok && (strings.HasPrefix(arg, "--") || !o.clustered) {
		return name, value, true
	}
	if !o.clustered || strings.HasPrefix(arg, "--") || len(arg) == 2 {
		return arg, "", false
	}
	for i := 1; i < len(arg); i++ {
		if letter := "-" + arg[i:i+1]; o.takesValue(letter) {
			return letter, arg[i+1:], i+1 < len(arg)
		}
	}
	return arg, "", true
}

func (o options) takesValue(name string) bool {
	if o.flags != nil {
		return !o.flags[name]
	}
	return o.values[name]
}

// last returns the value of the last option of one of the names.
func last(given []option, names ...string) string {
	for i := len(given) - 1; i >= 0; i-- {
		for _, name := range names {
			if given[i].name == name {
				return given[i].value
			}
		}
	}
	return ""
}

// first returns the value of the first option of one of the names.
func first(given []option, names ...string) string {
	for _, o := range given {
		for _, name := range names {
			if o.name == name {
				return o.value
			}
		}
	}
	return ""
}

// set makes a set of the words in s.
func set(s string) map[string]bool {
	m := map[string]bool{}
	for _, word := range strings.Fields(s) {
		m[word] = true
	}
	return m
}
