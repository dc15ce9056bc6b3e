package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRun runs the whole benchmark, as briefly as can be.
func TestRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "table.md")
	var stdout, stderr bytes.Buffer
	args := []string{"-rounds", "2", "-duration", "30ms", "-idle", "20", "-workers", "4", "-subjects", "goproxy,exeat", "-exeat", "/nowhere/exeat", "-out", out}
	if err := run(t.Context(), args, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	for _, row := range rows() {
		line := lineWith(stdout.String(), "| "+string(row.metric))
		if strings.Count(line, "|") != 5 {
			t.Errorf("%s: %q", row.metric, line)
		}
		if missing := strings.Count(line, "–"); missing > 0 && row.metric != httpRequests {
			t.Errorf("%s was not measured: %q", row.metric, line)
		}
	}
	if !strings.Contains(stderr.String(), "exeat: /nowhere/exeat: not installed") {
		t.Errorf("nothing is said of the absent subject:\n%s", &stderr)
	}
	written, err := os.ReadFile(out)
	if err != nil || string(written) != stdout.String() {
		t.Errorf("the file differs from what was printed: %v", err)
	}
}

func lineWith(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

func TestRunReportsFailures(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "exeat")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{"-limit", "100ms", "-subjects", "exeat", "-exeat", broken}, &stdout, &stderr)
	if err == nil {
		t.Errorf("a benchmark that ran out of time is reported as done:\n%s", &stderr)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range []string{"-rounds 0", "-duration 1ms", "-idle 0", "-workers 0", "stray", "-unknown"} {
		if _, err := parseOptions(strings.Fields(args), &bytes.Buffer{}); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
	var stderr bytes.Buffer
	if err := run(t.Context(), []string{"-subjects", "haproxy"}, &bytes.Buffer{}, &stderr); err == nil {
		t.Error("an unknown subject was accepted")
	}
}

func TestCells(t *testing.T) {
	r := newResults()
	for round, v := range []float64{100, 200, 400} {
		r.set(setupRaw, roleRelay, round, v)
		r.set(setupRaw, "exeat", round, v*[]float64{0.9, 1.2, 1.0}[round])
	}
	r.set(setupRaw, "late", 9, 5)
	r.add(idleMemory, roleRelay, 16)
	r.add(idleMemory, "exeat", 4)
	for _, c := range []struct {
		row     row
		subject string
		want    string
	}{
		{row{metric: setupRaw, reference: roleRelay}, roleRelay, "200"},
		{row{metric: setupRaw, reference: roleRelay}, "exeat", "1.00 ±0.10"},
		{row{metric: setupRaw, reference: roleRelay}, "absent", "–"},
		{row{metric: setupRaw, reference: roleRelay}, "late", "(5.0)"},
		{row{metric: idleMemory, reference: roleRelay, values: true}, "exeat", "0.25 (4.0)"},
	} {
		if got := r.cell(c.row, c.subject); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.row.metric, c.subject, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values            []float64
		median, deviation float64
	}{
		{[]float64{3}, 3, 0},
		{[]float64{4, 1}, 2.5, 1.5},
		{[]float64{9, 1, 2}, 2, 1},
	} {
		if m, d := median(c.values), deviation(c.values); m != c.median || d != c.deviation {
			t.Errorf("%v: %v ± %v", c.values, m, d)
		}
	}
}

func TestProcfs(t *testing.T) {
	cpu, err := parseCPU("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 30 1 1 20 0")
	if err != nil || cpu != 1500*time.Millisecond {
		t.Errorf("got %v, %v", cpu, err)
	}
	if _, err := parseCPU("12 (a) S 1"); err == nil {
		t.Error("a short line was accepted")
	}
	rss, err := parseResident("Name:\tx\nVmRSS:\t    2008 kB\n")
	if err != nil || rss != 2008<<10 {
		t.Errorf("got %v, %v", rss, err)
	}
	u, err := usageOf(os.Getpid())
	if err != nil || u.resident == 0 || u.descriptors < 3 {
		t.Errorf("of ourselves: %+v, %v", u, err)
	}
}

func TestWriteTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	doc := "# Title\n\n" + tableBegin + "\nold\n" + tableEnd + "\n\nafter\n"
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time finds what the first wrote
		if err := writeTable(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if want := "# Title\n\n" + tableBegin + "\n\nnew\n\n" + tableEnd + "\n\nafter\n"; err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}
