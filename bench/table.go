package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// metric is one row of the table; its text is the row's title.
type metric string

const (
	setupRaw        metric = "tunnels a second, raw"
	setupTLS        metric = "tunnels a second, TLS inside"
	cpuRaw          metric = "CPU ms per 1,000 tunnels, raw"
	cpuTLS          metric = "CPU ms per 1,000 tunnels, TLS inside"
	down1           metric = "MB/s down, 1 tunnel"
	up1             metric = "MB/s up, 1 tunnel"
	down8           metric = "MB/s down, 8 tunnels"
	up8             metric = "MB/s up, 8 tunnels"
	roundTrip       metric = "round trip µs"
	idleMemory      metric = "resident KiB an idle tunnel"
	idleDescriptors metric = "descriptors an idle tunnel"
	httpRequests    metric = "plain HTTP requests a second"
)

// row says how a metric is shown.
type row struct {
	metric    metric
	reference string // whose ratio is 1
	less      bool   // less is better
	values    bool   // the goal is a value and no ratio: show both
	goal      string
}

func rows() []row {
	return []row{
		{metric: setupTLS, reference: roleRelay, goal: "≥ 0.95"},
		{metric: setupRaw, reference: roleRelay, goal: "≥ 0.90"},
		{metric: cpuTLS, reference: roleRelay, less: true},
		{metric: cpuRaw, reference: roleRelay, less: true},
		{metric: down1, reference: roleRelay, goal: "≥ 1"},
		{metric: up1, reference: roleRelay, goal: "≥ 1"},
		{metric: down8, reference: roleRelay, goal: "≥ 1"},
		{metric: up8, reference: roleRelay, goal: "≥ 1"},
		{metric: roundTrip, reference: roleRelay, less: true, goal: "≤ 0.60"},
		{metric: idleMemory, reference: roleRelay, less: true, values: true, goal: "≤ 4 KiB"},
		{metric: idleDescriptors, reference: roleRelay, less: true, values: true, goal: "≤ 2"},
		{metric: httpRequests, reference: roleGoproxy, goal: "> 1"},
	}
}

// results holds what was measured, by metric, subject and round.
type results struct {
	values   map[metric]map[string]map[int]float64
	subjects []string // in the order of their first result
}

func newResults() *results {
	return &results{values: make(map[metric]map[string]map[int]float64)}
}

// add notes a value that is measured once.
func (r *results) add(m metric, subject string, v float64) { r.set(m, subject, 0, v) }

func (r *results) set(m metric, subject string, round int, v float64) {
	if r.values[m] == nil {
		r.values[m] = make(map[string]map[int]float64)
	}
	if r.values[m][subject] == nil {
		r.values[m][subject] = make(map[int]float64)
	}
	r.values[m][subject][round] = v
	if !slices.Contains(r.subjects, subject) {
		r.subjects = append(r.subjects, subject)
	}
}

// ratios returns subject ÷ reference of each round in which both were
// measured.
func (r *results) ratios(m metric, subject, reference string) []float64 {
	var out []float64
	for round, v := range r.values[m][subject] {
		if ref, ok := r.values[m][reference][round]; ok && ref > 0 {
			out = append(out, v/ref)
		}
	}
	return out
}

func (r *results) medianOf(m metric, subject string) float64 {
	var all []float64
	for _, v := range r.values[m][subject] {
		all = append(all, v)
	}
	return median(all)
}

// table prints everything as one Markdown table.
func (r *results) table(now time.Time, o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s: %d rounds of %v, %d clients, %d idle tunnels.\n\n",
		now.UTC().Format(time.DateOnly), machine(), o.rounds, o.duration, o.workers, o.idle)
	head, rule := "| what |", "|---|"
	for _, s := range r.subjects {
		head += " " + s + " |"
		rule += "--:|"
	}
	fmt.Fprintf(&b, "%s goal for exeat |\n%s--:|\n", head, rule)
	for _, row := range rows() {
		if r.values[row.metric] != nil {
			b.WriteString(r.line(row))
		}
	}
	b.WriteString("\nThe reference of a row has its measured value, the others their ratio to it: the median over the\n" +
		"rounds ± the median deviation. ↓ marks rows in which less is better.\n")
	return b.String()
}

func (r *results) line(row row) string {
	line := "| " + string(row.metric)
	if row.less {
		line += " ↓"
	}
	line += " |"
	for _, s := range r.subjects {
		line += " " + r.cell(row, s) + " |"
	}
	return line + " " + row.goal + " |\n"
}

func (r *results) cell(row row, subject string) string {
	if len(r.values[row.metric][subject]) == 0 {
		return "–"
	}
	value := number(r.medianOf(row.metric, subject))
	if subject == row.reference {
		return value
	}
	ratios := r.ratios(row.metric, subject, row.reference)
	if len(ratios) == 0 {
		return "(" + value + ")"
	}
	cell := fmt.Sprintf("%.2f", median(ratios))
	if len(ratios) > 1 {
		cell += fmt.Sprintf(" ±%.2f", deviation(ratios))
	}
	if row.values {
		cell += " (" + value + ")"
	}
	return cell
}

// number prints v with three digits that matter, and all before the point.
func number(v float64) string {
	decimals := 0
	if a := math.Abs(v); a < 100 {
		decimals = 1
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

// median returns the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// deviation returns the median of the distances from the median.
func deviation(values []float64) float64 {
	middle := median(values)
	var distances []float64
	for _, v := range values {
		distances = append(distances, math.Abs(v-middle))
	}
	return median(distances)
}

// machine describes this one in a few words.
func machine() string {
	kernel := "an unknown kernel"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), runtime.GOARCH, kernel, runtime.Version())
}
