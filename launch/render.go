package launch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Render writes e for a shell: "sh" (any POSIX shell) and "fish" get commands
// to evaluate, "json" gets one object of what is set, for the "env" of a
// client's configuration; JSON can't say what to unset. Any value is quoted so
// that it arrives as it is.
func Render(shell string, e Environment) (string, error) {
	switch shell {
	case "sh":
		return renderLines(e, "export %s=%s\n", "unset %s\n", quoteSh), nil
	case "fish":
		return renderLines(e, "set -gx %s %s\n", "set -e %s\n", quoteFish), nil
	case "json":
		return renderJSON(e)
	}
	return "", fmt.Errorf("%q is not a shell that is known: use sh, fish or json", shell)
}

func renderLines(e Environment, set, unset string, quote func(string) string) string {
	var b strings.Builder
	for _, key := range e.Unset {
		if shellName(key) {
			fmt.Fprintf(&b, unset, key)
		}
	}
	for _, v := range e.Set {
		if shellName(v.Key) {
			fmt.Fprintf(&b, set, v.Key, quote(v.Value))
		}
	}
	return b.String()
}

// shellName reports whether a shell can name the variable. What it can't name
// it can't be told to unset either, and must never be told as text: the names
// of inherited variables are not ours.
func shellName(key string) bool {
	for i, r := range []byte(key) {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return key != ""
}

// quoteSh relies on nothing being special between single quotes (POSIX, Shell
// Command Language, 2.2.2).
func quoteSh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteFish escapes the two characters that are special between fish's single
// quotes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func renderJSON(e Environment) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteString("{")
	for i, v := range e.Set {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  ")
		if err := encode(&b, enc, v.Key); err != nil {
			return "", err
		}
		b.WriteString(": ")
		if err := encode(&b, enc, v.Value); err != nil {
			return "", err
		}
	}
	b.WriteString("\n}\n")
	return b.String(), nil
}

// encode writes s without the newline that an Encoder adds.
func encode(b *bytes.Buffer, enc *json.Encoder, s string) error {
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	b.Truncate(b.Len() - 1)
	return nil
}
