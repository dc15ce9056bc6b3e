package baseline_test

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
)

// TestMatchAgreesWithPatterns holds the walk over the labels against the plain
// reading of the rules: exact first, then any rejected wildcard, then the
// longest approved one.
func TestMatchAgreesWithPatterns(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "c"})
	host := rapid.Custom(func(t *rapid.T) string {
		n := rapid.SampledFrom([]int{1, 2, 3, 4, 61, 62, 63, 64, 110}).Draw(t, "depth")
		return strings.Join(append(rapid.SliceOfN(label, n, n).Draw(t, "labels"), "org"), ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		b, err := baseline.NewBook(context.Background(), baseline.BookConfig{Store: newMemory()})
		if err != nil {
			t.Fatal(err)
		}
		said := make(map[baseline.Pattern]baseline.State)
		var hosts []string
		for range rapid.IntRange(1, 8).Draw(t, "decisions") {
			h := host.Draw(t, "host")
			hosts = append(hosts, h, "a."+h, "b.a."+h)
			p, decide, to := baseline.Pattern(h), b.Approve, baseline.Approved
			if rapid.Bool().Draw(t, "wildcard") {
				p = "*." + p
			}
			if rapid.Bool().Draw(t, "reject") {
				decide, to = b.Reject, baseline.Rejected
			}
			if _, err := decide(context.Background(), server, []baseline.Target{{Host: p, Port: 443}}, baseline.Decision{}, "test"); err != nil {
				t.Fatal(err)
			}
			said[p] = to
		}
		for _, h := range hosts {
			got := b.Match(server.ID, flow.Destination{Host: h, Port: 443}).State
			if want := plainly(said, h); got != want {
				t.Fatalf("%s is %q, want %q by %v", h, got, want, said)
			}
		}
	})
}

func plainly(said map[baseline.Pattern]baseline.State, host string) baseline.State {
	if s, ok := said[baseline.Pattern(host)]; ok {
		return s
	}
	best := baseline.None
	for p, s := range said {
		if !strings.HasPrefix(string(p), "*.") || !p.Matches(host) {
			continue
		}
		if s == baseline.Rejected {
			return baseline.Rejected
		}
		best = s
	}
	return best
}
