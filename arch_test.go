// Package exeat_test holds the plan of the house as a test: every room has its
// doc comment, and imports point down only.
package exeat_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/exeat/exeat"

// plan is the house as it stands, the roof first. A room may import rooms of
// the rows below its own, and none of its own row. Rooms in parentheses are
// tools or test helpers of the room before them: besides it, only the roof and
// tests may import them.
const plan = `
	cmd/exeat        bench
	cmd/exeat/story
	web
	store (store/storetest)   notify
	proxy (proxy/proxytest)   record   launch (launch/launchtest)
	seal             mcp/clients       mcp/tap     mcp/pkgspec
	detect
	policy
	baseline (baseline/internal/suffixgen)
	clienthello      resolve  certs    geo (geo/geobuild)
	geo/table
	flow
	identity
`

// ban is a library or package that only some rooms may import.
type ban struct {
	path   string   // an import path; everything below it is meant as well
	only   []string // the rooms that may
	why    string
	inTest bool // tests may, wherever they are
}

var bans = []ban{
	{"github.com/spf13/cobra", []string{"cmd/exeat"}, "flags are the command's; a room takes a Config", false},
	{"github.com/mattn/go-sqlite3", []string{"store"}, "one room speaks SQL, and pragmas belong into its DSN", true},
	{"database/sql", []string{"store"}, "one room speaks SQL; others have an interface beside their consumer", true},
	{"github.com/jackc/pgx", []string{"store"}, "one room speaks SQL", false},
	{"github.com/pressly/goose", []string{"store"}, "migrations are the store's", false},
	{"github.com/elazarl/goproxy", []string{"bench"}, "its traps (DESIGN, section 9) stay out of the product: it is measured against, not used", false},
	{"github.com/miekg/dns", []string{"resolve", "cmd/exeat/story", "bench"}, "one room reads DNS; the demo and the benchmarks play a DNS server", true},
	{"github.com/go-chi/chi", []string{"web"}, "pages and the API are one room's", false},
	{"github.com/go-analyze/charts", []string{"web"}, "pictures are the dashboard's", false},
	{"html/template", []string{"web"}, "pages are one room's", false},
	{"text/template", nil, "it escapes nothing", false},
	{"github.com/oschwald/geoip2-golang", []string{"geo"}, "others ask geo for a Place", true},
	{"github.com/oschwald/maxminddb-golang", []string{"geo"}, "others ask geo for a Place", true},
	{"github.com/goccy/go-yaml", []string{"cmd/exeat", "baseline", "mcp/clients"}, "YAML is read at the edge: configuration, a baseline as code, a client's file", true},
	{"github.com/chromedp/chromedp", nil, "a browser is started by tests only", true},
	{"net/http/pprof", nil, "its handlers register themselves on every default mux", false},
	{"math/rand", nil, "use math/rand/v2, or crypto/rand for whatever must not be guessed", false},
	{"unsafe", []string{"launch", "seal"}, "only system calls need it", false},
	{"log", []string{"bench"}, "use log/slog, and slog.NewLogLogger where a *log.Logger is wanted", true},
}

// pkg is what the rules look at: one directory of Go files.
type pkg struct {
	dir     string              // "proxy"; "." is the top
	docs    map[string]string   // package comment by file, test files left out
	imports map[string][]string // import path: the files that have it
	code    bool                // there is a file that is not a test
}

func TestHouse(t *testing.T) {
	pkgs, err := packages(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 {
		t.Fatalf("only %d packages were found", len(pkgs))
	}
	for _, fault := range faults(pkgs) {
		t.Error(fault)
	}
}

// faults is every rule applied to every package.
func faults(pkgs []pkg) []string {
	rows := readPlan()
	var all []string
	for _, p := range pkgs {
		if p.dir == "." { // this test
			continue
		}
		if _, known := rows[p.dir]; !known {
			all = append(all, p.dir+" is not in the plan of arch_test.go: give it a place")
			continue
		}
		all = append(all, docFaults(p)...)
		for _, imported := range slices.Sorted(maps.Keys(p.imports)) {
			all = append(all, rankFaults(rows, p, imported)...)
			all = append(all, banFaults(p, imported)...)
		}
	}
	return all
}

// docFaults wants one package comment that says something.
func docFaults(p pkg) []string {
	if !p.code {
		return nil
	}
	if len(p.docs) != 1 {
		return []string{fmt.Sprintf("%s has %d package comments, in %v: one is right", p.dir, len(p.docs), slices.Sorted(maps.Keys(p.docs)))}
	}
	for file, doc := range p.docs {
		prefix := "Package " + path.Base(p.dir) + " "
		if strings.HasPrefix(p.dir, "cmd/") || p.dir == "bench" || strings.HasPrefix(doc, "Command ") {
			prefix = ""
		}
		if !strings.HasPrefix(doc, prefix) || len(strings.Fields(doc)) < 12 {
			return []string{fmt.Sprintf("%s: the package comment should begin with %q and say what the room is for and what it promises: %q", file, prefix, doc)}
		}
	}
	return nil
}

// rankFaults wants imports within the house to point down.
func rankFaults(rows map[string]place, p pkg, imported string) []string {
	room, inside := strings.CutPrefix(imported, module+"/")
	if !inside || room == p.dir { // a test in package x_test imports x
		return nil
	}
	to, known := rows[room]
	from := rows[p.dir]
	switch {
	case !known:
		return []string{fmt.Sprintf("%s imports %s, which is not in the plan", p.importer(imported), room)}
	case to.of == p.dir || from.of == room: // one family
		return nil
	case to.of != "" && from.row != 0 && !p.onlyTests(imported):
		return []string{fmt.Sprintf("%s imports %s, which belongs to %s", p.importer(imported), room, to.of)}
	case to.row <= from.row && !p.onlyTests(imported):
		return []string{fmt.Sprintf("%s imports %s: imports point down only, and %s is %s", p.importer(imported), room, room, relation(to.row, from.row))}
	}
	return nil
}

func relation(to, from int) string {
	if to == from {
		return "in the same row of the plan"
	}
	return "above it"
}

// banFaults wants libraries to stay in their rooms.
func banFaults(p pkg, imported string) []string {
	for _, b := range bans {
		if imported != b.path && !strings.HasPrefix(imported, b.path+"/") || imported == "math/rand/v2" || b.path == "log" && imported != "log" {
			continue
		}
		allowed := slices.ContainsFunc(b.only, func(room string) bool { return room == p.dir || strings.HasPrefix(p.dir, room+"/") })
		if !allowed && !(b.inTest && p.onlyTests(imported)) {
			return []string{fmt.Sprintf("%s imports %s: %s", p.importer(imported), imported, b.why)}
		}
	}
	return nil
}

// importer names the files of p that import something.
func (p pkg) importer(imported string) string {
	return p.dir + " (" + strings.Join(p.imports[imported], ", ") + ")"
}

// onlyTests reports whether no file but tests imports it.
func (p pkg) onlyTests(imported string) bool {
	return !slices.ContainsFunc(p.imports[imported], func(file string) bool { return !strings.HasSuffix(file, "_test.go") })
}

// place is where a room stands: its row from the top, and the room that it
// belongs to.
type place struct {
	row int
	of  string
}

func readPlan() map[string]place {
	rows := map[string]place{}
	for row, line := range strings.Split(strings.TrimSpace(plan), "\n") {
		last := ""
		for _, room := range strings.Fields(line) {
			if inner, ok := strings.CutPrefix(room, "("); ok {
				rows[strings.TrimSuffix(inner, ")")] = place{row, last}
				continue
			}
			rows[room] = place{row: row}
			last = room
		}
	}
	return rows
}

// packages reads the Go files of a tree, those for other systems included,
// which go list would leave out.
func packages(tree fs.FS) ([]pkg, error) {
	found := map[string]*pkg{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && skipped(name):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		dir := path.Dir(name)
		if found[dir] == nil {
			found[dir] = &pkg{dir: dir, docs: map[string]string{}, imports: map[string][]string{}}
		}
		return found[dir].read(tree, name)
	})
	var all []pkg
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[dir])
	}
	return all, err
}

func skipped(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || base == "node_modules" || base == "tmp" || base == "tools" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
}

func (p *pkg) read(tree fs.FS, name string) error {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.imports[imported] = append(p.imports[imported], path.Base(name))
	}
	if strings.HasSuffix(name, "_test.go") {
		return nil
	}
	p.code = true
	if doc := docOf(file); doc != "" {
		p.docs[name] = doc
	}
	return nil
}

func docOf(file *ast.File) string {
	if file.Doc == nil {
		return ""
	}
	return file.Doc.Text()
}

// TestHouseNoticesFaults builds small houses that are wrong in one way each,
// and runs the same rules over them.
func TestHouseNoticesFaults(t *testing.T) {
	const doc = "// Package %s is a room of a house that was built for a test, and says so here.\npackage %[1]s\n"
	room := func(dir string, imports ...string) (string, string) {
		text := fmt.Sprintf(doc, path.Base(dir))
		for _, imported := range imports {
			text += fmt.Sprintf("import _ %q\n", imported)
		}
		return filepath.Join(dir, "a.go"), text
	}
	tests := []struct {
		name  string
		house func(add func(file, text string))
		want  string // part of the one fault; empty: none
	}{
		{"a sound house", func(add func(file, text string)) {
			add(room("flow", module+"/identity"))
			add(room("store", module+"/record", "github.com/mattn/go-sqlite3"))
			add(room("cmd/exeat", module+"/store", "github.com/spf13/cobra"))
		}, ""},
		{"an import that points up", func(add func(file, text string)) { add(room("flow", module+"/policy")) }, "policy is above it"},
		{"an import within a row", func(add func(file, text string)) { add(room("proxy", module+"/record")) }, "same row"},
		{"the proxy imports the store", func(add func(file, text string)) { add(room("proxy", module+"/store")) }, "store is above it"},
		{"an unknown room", func(add func(file, text string)) { add(room("util")) }, "not in the plan"},
		{"an import of an unknown room", func(add func(file, text string)) { add(room("web", module+"/util")) }, "not in the plan"},
		{"another room's inner room", func(add func(file, text string)) { add(room("record", module+"/geo/geobuild")) }, "belongs to geo"},
		{"SQL outside the store", func(add func(file, text string)) { add(room("web", "database/sql")) }, "one room speaks SQL"},
		{"a later version of a library", func(add func(file, text string)) { add(room("web", "github.com/jackc/pgx/v5/pgxpool")) }, "one room speaks SQL"},
		{"cobra in a room", func(add func(file, text string)) { add(room("launch", "github.com/spf13/cobra")) }, "flags are the command's"},
		{"goproxy in the product", func(add func(file, text string)) { add(room("proxy", "github.com/elazarl/goproxy")) }, "measured against"},
		{"log", func(add func(file, text string)) { add(room("web", "log")) }, "log/slog"},
		{"log/slog", func(add func(file, text string)) { add(room("web", "log/slog")) }, ""},
		{"math/rand/v2", func(add func(file, text string)) { add(room("web", "math/rand/v2")) }, ""},
		{"a test may look at SQL", func(add func(file, text string)) {
			add(room("web"))
			add("web/a_test.go", "package web\nimport _ \"database/sql\"\n")
		}, ""},
		{"a test must not import goproxy", func(add func(file, text string)) {
			add(room("web"))
			add("web/a_test.go", "package web\nimport _ \"github.com/elazarl/goproxy\"\n")
		}, "measured against"},
		{"a file for another system", func(add func(file, text string)) {
			add(room("launch"))
			add("launch/b_windows.go", "package launch\nimport _ \""+module+"/web\"\n")
		}, "web is above it"},
		{"no package comment", func(add func(file, text string)) { add("flow/a.go", "package flow\n") }, "0 package comments"},
		{"two package comments", func(add func(file, text string)) {
			add(room("flow"))
			add("flow/b.go", fmt.Sprintf(doc, "flow"))
		}, "2 package comments"},
		{"a comment that says nothing", func(add func(file, text string)) { add("flow/a.go", "// Package flow is flow.\npackage flow\n") }, "say what the room is for"},
		{"a comment that begins otherwise", func(add func(file, text string)) {
			add("flow/a.go", "// This package has the words for one outbound connection and where it goes.\npackage flow\n")
		}, "should begin with"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.house(func(file, text string) { put(t, filepath.Join(dir, file), text) })
			pkgs, err := packages(os.DirFS(dir))
			if err != nil {
				t.Fatal(err)
			}
			got := faults(pkgs)
			if test.want == "" && len(got) != 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
