// Command suffixgen writes data/above_suffixes.txt of package baseline: the names that
// lie above a suffix of the Public Suffix List without being one, such as
// amazonaws.com (above s3.amazonaws.com). golang.org/x/net/publicsuffix answers
// whether a name is a suffix and can't be asked what lies below one, but its
// module carries every rule of the list in the table of its own test. That
// table is read here, so that both always speak of the same list.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

func main() {
	out := flag.String("o", "data/above_suffixes.txt", "the file to write; - for standard output")
	flag.Parse()
	if err := run(context.Background(), *out); err != nil {
		panic(err) // it runs at a developer's desk only
	}
}

func run(ctx context.Context, out string) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		return fmt.Errorf("find golang.org/x/net: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(dir)), "publicsuffix")
	rules, err := literals(filepath.Join(source, "table_test.go"), "rules")
	if err != nil {
		return err
	}
	version, err := literals(filepath.Join(source, "table.go"), "version")
	if err != nil {
		return err
	}
	src := generate(version[0], parents(rules))
	if out == "-" {
		_, err = os.Stdout.Write(src)
		return err
	}
	return os.WriteFile(out, src, 0o644) //nolint:gosec // a data file
}

// literals returns the strings in the declaration of a variable or constant.
func literals(path, name string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, decl := range file.Decls {
		ast.Inspect(decl, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if spec.Names[0].Name == name {
				found = append(found, stringsIn(spec)...)
			}
			return false
		})
	}
	if len(found) == 0 {
		return nil, errors.New("no strings in " + name + " of " + filepath.Base(path))
	}
	return found, nil
}

func stringsIn(spec *ast.ValueSpec) []string {
	var found []string
	ast.Inspect(spec, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

// parents returns the names of two labels and more that are above a rule and
// no suffix themselves, sorted. In a rule "*.x", every child of x is a suffix.
func parents(rules []string) []string {
	above := make(map[string]bool)
	for _, rule := range rules {
		name := strings.TrimPrefix(rule, "!")
		for {
			_, parent, ok := strings.Cut(name, ".")
			if !ok {
				break
			}
			name = parent
			suffix, _ := publicsuffix.PublicSuffix(name)
			if strings.Contains(name, ".") && suffix != name {
				above[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(above))
}

func generate(version string, names []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Names above a public suffix that are none themselves, one a line. Made by
# suffixgen (go generate ./baseline); don't edit.
#
# Derived from the Public Suffix List, https://publicsuffix.org/list/:
# %s.
#
# This Source Code Form is subject to the terms of the Mozilla Public License,
# v. 2.0. If a copy of the MPL was not distributed with this file, You can
# obtain one at https://mozilla.org/MPL/2.0/.
%s
`, version, strings.Join(names, "\n"))
	return b.Bytes()
}
