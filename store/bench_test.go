package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

// crowd makes flows like those of a team: 50 servers of 40 hosts each, one
// flow in twenty refused.
type crowd struct {
	rnd     *rand.Rand
	servers []identity.ID
	now     time.Time
}

func newCrowd() *crowd {
	c := &crowd{rnd: rand.New(rand.NewPCG(1, 2)), now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	for i := range 50 {
		c.servers = append(c.servers, uuid.NewSHA1(uuid.Nil, []byte{byte(i)}))
	}
	return c
}

func (c *crowd) flow() flow.Flow {
	c.now = c.now.Add(time.Duration(c.rnd.IntN(200)) * time.Millisecond)
	n := c.rnd.IntN(len(c.servers))
	f := flow.Flow{
		ID: uuid.Must(uuid.NewV7()), ServerID: c.servers[n], Server: identity.Name("server-" + strconv.Itoa(n)),
		Mode: identity.ModeBlock, Opened: c.now, Method: flow.MethodConnect,
		Host: fmt.Sprintf("api%d.service%d.example.com", c.rnd.IntN(8), c.rnd.IntN(5)), Port: 443,
		IP: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), Place: flow.Place{ASN: 64500, Org: "Example Networks", Country: "CH"},
		ALPN: []string{"h2", "http/1.1"}, JA4: "t13d1516h2_8daaf6152771_b186095e22b6",
		Grade: flow.GradeVerified, Phase: "tool:search", Tool: "search", Verdict: flow.Allowed, Reason: flow.ReasonApproved,
	}
	f.SNI = f.Host
	if c.rnd.IntN(20) == 0 {
		f.Verdict, f.Reason, f.Grade = flow.Refused, flow.ReasonNewDestination, ""
	}
	return f
}

func (c *crowd) closed() flow.Flow {
	f := c.flow()
	f.Closed, f.End = f.Opened.Add(time.Second), flow.EndClient
	f.BytesUp, f.BytesDown = int64(c.rnd.IntN(10_000)), int64(c.rnd.IntN(100_000))
	return f
}

func openBench(b *testing.B, dir string) *store.DB {
	b.Helper()
	d, err := store.Open(b.Context(), store.Config{Path: filepath.Join(dir, "exeat.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}

func save(b *testing.B, d *store.DB, flows []flow.Flow) {
	b.Helper()
	if err := d.SaveBatch(context.Background(), record.Batch{Flows: flows}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSaveBatch stores flows in two steps, as they open and as they close.
func BenchmarkSaveBatch(b *testing.B) {
	for _, size := range []int{100, 1000, 2000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			d := openBench(b, b.TempDir())
			c := newCrowd()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				flows := make([]flow.Flow, size)
				for i := range flows {
					flows[i] = c.flow()
				}
				b.StartTimer()
				save(b, d, flows)
				for i := range flows {
					flows[i].Closed, flows[i].End, flows[i].BytesUp = flows[i].Opened.Add(time.Second), flow.EndClient, 1000
				}
				save(b, d, flows)
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "flows/s")
			b.ReportMetric(float64(2*size*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkSaveShort stores flows as the journal hands over short ones: opened
// and closed within one batch of that many versions.
func BenchmarkSaveShort(b *testing.B) {
	for _, size := range []int{200, 2000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			d := openBench(b, b.TempDir())
			c := newCrowd()
			for b.Loop() {
				b.StopTimer()
				flows := c.short(size)
				b.StartTimer()
				save(b, d, flows)
			}
			b.ReportMetric(float64(size/2*b.N)/b.Elapsed().Seconds(), "flows/s")
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// short returns n versions of n/2 flows, each closed a little after it opened.
func (c *crowd) short(n int) []flow.Flow {
	const overlap = 20
	flows := make([]flow.Flow, 0, n)
	open := make([]flow.Flow, 0, overlap)
	closeFirst := func() {
		f := open[0]
		f.Closed, f.End, f.BytesUp, f.BytesDown = f.Opened.Add(time.Second), flow.EndClient, 1000, 10_000
		flows, open = append(flows, f), append(open[:0], open[1:]...)
	}
	for range n / 2 {
		if len(open) == overlap {
			closeFirst()
		}
		open = append(open, c.flow())
		flows = append(flows, open[len(open)-1])
	}
	for len(open) > 0 {
		closeFirst()
	}
	return flows
}

// BenchmarkPages asks for the pages of the dashboard over
// EXEAT_BENCH_FLOWS flows (200,000 if unset), kept in EXEAT_BENCH_DIR if set.
func BenchmarkPages(b *testing.B) {
	n := 200_000
	if s := os.Getenv("EXEAT_BENCH_FLOWS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	dir := os.Getenv("EXEAT_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	d := openBench(b, dir)
	c := newCrowd()
	fill(b, d, c, n)
	for _, p := range pages(c) {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() {
				if err := p.read(context.Background(), d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fill stores flows until there are n.
func fill(b *testing.B, d *store.DB, c *crowd, n int) {
	b.Helper()
	totals, err := d.Totals(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range totals {
		n -= int(t.Flows)
	}
	start := time.Now()
	for done := 0; done < n; done += 2000 {
		flows := make([]flow.Flow, min(2000, n-done))
		for i := range flows {
			flows[i] = c.closed()
		}
		save(b, d, flows)
	}
	if n > 0 {
		b.Logf("stored %d flows, %.0f a second", n, float64(n)/time.Since(start).Seconds())
	}
}

type pageBench struct {
	name string
	read func(context.Context, *store.DB) error
}

func pages(c *crowd) []pageBench {
	flows := func(q store.FlowQuery) func(context.Context, *store.DB) error {
		return func(ctx context.Context, d *store.DB) error {
			p, err := d.Flows(ctx, q)
			if err == nil && p.Next != "" {
				q := q
				q.Cursor = p.Next
				_, err = d.Flows(ctx, q)
			}
			return err
		}
	}
	server := c.servers[7]
	return []pageBench{
		{"newest", flows(store.FlowQuery{})},
		{"server", flows(store.FlowQuery{Server: server})},
		{"refused", flows(store.FlowQuery{Verdict: flow.Refused})},
		{"server-refused", flows(store.FlowQuery{Server: server, Verdict: flow.Refused})},
		{"host", flows(store.FlowQuery{Host: "api3.service2.example.com"})},
		{"server-host", flows(store.FlowQuery{Server: server, Host: "api3.service2.example.com"})},
		{"subdomains", flows(store.FlowQuery{Host: "*.service2.example.com"})},
		{"server-subdomains", flows(store.FlowQuery{Server: server, Host: "*.service2.example.com"})},
		{"grade-none", flows(store.FlowQuery{Grade: flow.GradeHidden})},
		{"reason", flows(store.FlowQuery{Reason: flow.ReasonNewDestination})},
		{"open", flows(store.FlowQuery{Open: true})},
		{"since-until", flows(store.FlowQuery{Server: server, Since: c.now.Add(-48 * time.Hour), Until: c.now.Add(-24 * time.Hour)})},
		{"destinations", func(ctx context.Context, d *store.DB) error {
			_, err := d.Destinations(ctx, store.DestinationQuery{Server: server})
			return err
		}},
		{"destinations-1000", func(ctx context.Context, d *store.DB) error {
			_, err := d.Destinations(ctx, store.DestinationQuery{Limit: 1000})
			return err
		}},
		{"totals", func(ctx context.Context, d *store.DB) error { _, err := d.Totals(ctx); return err }},
		{"traffic-day", func(ctx context.Context, d *store.DB) error {
			_, err := d.Traffic(ctx, c.now.Add(-24*time.Hour), c.now, time.Hour)
			return err
		}},
	}
}
