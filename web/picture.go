package web

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/store"
)

// Pictures are small SVGs, made here as numbers and drawn by the templates
// (picture.html). What differs in meaning differs in place, never in colour
// alone: up from the line and down from it.

// barPicture is a row of bars on both sides of a line.
type barPicture struct {
	Label string // the picture in a sentence, for who can't see it
	W, H  int
	Line  string // y of the line
	Bars  []bar
	Empty bool
}

// bar is one rectangle. Coordinates are text, as SVG wants them.
type bar struct {
	X, Y, W, H string
	Class      string
	Title      string
}

const (
	barStep  = 5.0
	barWidth = 4.0
	barRoom  = 28 // height of a picture
)

// trafficPicture draws flows over time: let through upwards, refused downwards.
func trafficPicture(buckets []store.Bucket, span string) barPicture {
	var flows, refused int64
	up, down := make([]float64, len(buckets)), make([]float64, len(buckets))
	for i, b := range buckets {
		flows += b.Flows
		refused += b.Refused
		up[i], down[i] = float64(max(b.Flows-b.Refused, 0)), float64(b.Refused)
	}
	p := bars(up, down, "bar", "bar no", func(i int) string {
		b := buckets[i]
		return fmt.Sprintf("%s UTC: %s, %s refused", b.At.UTC().Format("15:04"), plural(b.Flows, "flow", "flows"), humanCount(b.Refused))
	})
	p.Label = fmt.Sprintf("%s in %s, %s refused", plural(flows, "flow", "flows"), span, humanCount(refused))
	p.Empty = flows == 0
	return p
}

// bytesPicture draws bytes by day: sent upwards, received downwards.
func bytesPicture(days []store.Bucket) barPicture {
	var sent, received int64
	up, down := make([]float64, len(days)), make([]float64, len(days))
	for i, b := range days {
		sent += b.BytesUp
		received += b.BytesDown
		up[i], down[i] = float64(b.BytesUp), float64(b.BytesDown)
	}
	p := bars(up, down, "bar", "bar down", func(i int) string {
		b := days[i]
		return fmt.Sprintf("%s: %s sent, %s received", b.At.UTC().Format("2 Jan"), humanBytes(b.BytesUp), humanBytes(b.BytesDown))
	})
	p.Label = fmt.Sprintf("%s sent and %s received in %d days", humanBytes(sent), humanBytes(received), len(days))
	p.Empty = sent+received == 0
	return p
}

// bars lays values out on both sides of a line. Heights go by the square root:
// a single flow stays visible beside a thousand.
func bars(up, down []float64, upClass, downClass string, title func(int) string) barPicture {
	n := len(up)
	p := barPicture{W: max(int(float64(n)*barStep), 1), H: barRoom}
	most := slices.Max(append([]float64{0}, up...))
	least := slices.Max(append([]float64{0}, down...))
	scale := math.Sqrt(max(most, least, 1))
	above := float64(barRoom - 2)
	if least > 0 {
		above = math.Round(float64(barRoom) * .62)
	}
	below := float64(barRoom) - above - 1
	p.Line = num(above)
	for i := range n {
		x := num(float64(i) * barStep)
		if up[i] > 0 {
			h := max(math.Sqrt(up[i])/scale*above, 1.5)
			p.Bars = append(p.Bars, bar{X: x, Y: num(above - h), W: num(barWidth), H: num(h), Class: upClass, Title: title(i)})
		}
		if down[i] > 0 {
			h := max(math.Sqrt(down[i])/scale*below, 1.5)
			p.Bars = append(p.Bars, bar{X: x, Y: num(above + 1), W: num(barWidth), H: num(h), Class: downClass, Title: title(i)})
		}
	}
	return p
}

// num writes a coordinate to a tenth: finer can't be seen.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// timeline is a server's flows over time, one lane for each destination.
type timeline struct {
	Lanes  []lane
	Hidden int      // lanes that found no room
	Ticks  []string // labels under the lanes, evenly spread
	Flows  int
	More   bool // there were more flows than are drawn
}

// lane is one destination's flows.
type lane struct {
	Place   string // host:port
	Label   string
	Refused int
	Marks   []bar
	last    time.Time
	flows   int
}

const (
	timelineLanes = 12
	timelineWidth = 1000.0
	laneHeight    = 18.0
	minMark       = 4.0 // still a line on a phone, where the width shrinks to a third
)

// drawTimeline draws flows between since and now. flows come newest first.
func drawTimeline(flows []flow.Flow, since, now time.Time, more bool) timeline {
	t := timeline{Flows: len(flows), More: more, Ticks: ticks(now.Sub(since))}
	at := map[flow.Destination]int{}
	for i := range flows {
		f := &flows[i]
		d := f.Destination()
		k, ok := at[d]
		if !ok {
			k = len(t.Lanes)
			at[d] = k
			t.Lanes = append(t.Lanes, lane{Place: d.String(), last: f.Opened})
		}
		l := &t.Lanes[k]
		l.flows++
		if f.Verdict == flow.Refused {
			l.Refused++
		}
		l.Marks = append(l.Marks, mark(f, since, now))
	}
	if len(t.Lanes) > timelineLanes {
		t.Hidden = len(t.Lanes) - timelineLanes
		t.Lanes = t.Lanes[:timelineLanes]
	}
	for i := range t.Lanes {
		l := &t.Lanes[i]
		l.Label = fmt.Sprintf("%s: %s, %d refused, last %s", l.Place, plural(int64(l.flows), "flow", "flows"), l.Refused, ago(l.last, now))
	}
	return t
}

// mark is one flow: as wide as it was open and as tall as it was heavy; one
// that was refused hangs from the top.
func mark(f *flow.Flow, since, now time.Time) bar {
	whole := float64(now.Sub(since))
	end := f.Closed
	if end.IsZero() {
		end = now
	}
	x := float64(f.Opened.Sub(since)) / whole * timelineWidth
	w := max(float64(end.Sub(f.Opened))/whole*timelineWidth, minMark)
	x = min(max(x, 0), timelineWidth-w)
	b := bar{X: num(x), W: num(w), Class: "mark",
		Title: fmt.Sprintf("%s, %s, %s sent, %s received", exact(f.Opened), took(f.Opened, f.Closed), humanBytes(f.BytesUp), humanBytes(f.BytesDown))}
	if f.Verdict == flow.Refused {
		b.Class, b.Y, b.H = "mark no", "0", num(laneHeight/2)
		b.Title = exact(f.Opened) + ", refused: " + reasonWords(f.Reason)
		return b
	}
	// From 1 byte to 100 MB on a logarithmic scale.
	h := 4 + min(math.Log10(float64(f.BytesUp+f.BytesDown)+1)/8, 1)*(laneHeight-5)
	b.Y, b.H = num(laneHeight-h), num(h)
	return b
}

// ticks are five labels from the start to now.
func ticks(whole time.Duration) []string {
	out := make([]string, 0, 5)
	for i := range 4 {
		out = append(out, span(whole*time.Duration(4-i)/4)+" ago")
	}
	return append(out, "now")
}
