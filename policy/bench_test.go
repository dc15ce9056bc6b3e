package policy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
)

// shelf is a baseline.Store that has what it was made with.
type shelf []baseline.Entry

func (s shelf) Baselines(context.Context) ([]baseline.Entry, map[identity.ID]int64, error) {
	return s, nil, nil
}

func (shelf) Decide(context.Context, identity.ID, int64, []baseline.Entry, identity.Change) error {
	return nil
}

// library returns a book of 1,000 servers with 200 entries each, a tenth of
// them wildcards.
func library(tb testing.TB) (*baseline.Book, []identity.ID) {
	tb.Helper()
	var entries shelf
	var ids []identity.ID
	for s := range 1000 {
		id := uuid.Must(uuid.NewV7())
		ids = append(ids, id)
		for i := range 200 {
			host := baseline.Pattern(fmt.Sprintf("api-%d.server-%d.example.com", i, s))
			if i%10 == 0 {
				host = baseline.Pattern(fmt.Sprintf("*.zone-%d.example.org", i))
			}
			entries = append(entries, baseline.Entry{
				ID: uuid.New(), Server: id, Host: host, Port: 443, State: baseline.Approved, Grades: []flow.Grade{flow.GradeVerified},
			})
		}
	}
	book, err := baseline.NewBook(tb.Context(), baseline.BookConfig{Store: entries})
	if err != nil {
		tb.Fatal(err)
	}
	return book, ids
}

// questions are the destinations that are asked about, cheap and dear.
func questions(tb testing.TB) map[string]flow.Destination {
	return map[string]flow.Destination{
		"exact":    dest(tb, "api-199.server-0.example.com:443"),
		"wildcard": dest(tb, "x.y.zone-190.example.org:443"),
		"unknown":  dest(tb, "exfil.evil.net:443"),
		"hostile":  dest(tb, "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.example.org:443"),
		"literal":  dest(tb, "93.184.216.34:443"),
	}
}

// decide asks the book and then the policy, as the proxy does.
func decide(g *policy.Guard, b *baseline.Book, id identity.ID, d flow.Destination) policy.Decision {
	return policy.Decide(g, policy.Evidence{
		Mode: identity.ModeBlock, Dest: d, Match: b.Match(id, d), Addr: public, Grade: flow.GradeVerified,
	})
}

func TestDecideAllocates(t *testing.T) {
	b, ids := library(t)
	g := &policy.Guard{OwnPorts: []uint16{7180, 7181}}
	for name, d := range questions(t) {
		if n := testing.AllocsPerRun(100, func() { decide(g, b, ids[0], d) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	book, ids := library(b)
	g := &policy.Guard{OwnPorts: []uint16{7180, 7181}}
	for name, d := range questions(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				decide(g, book, ids[i%len(ids)], d)
			}
		})
	}
}
