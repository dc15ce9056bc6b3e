package baseline

import (
	"maps"
	"strings"

	"github.com/exeat/exeat/flow"
)

// view is what one server's baseline says, in the form in which it is asked.
// It is never written to once it is published, so reading it needs no lock.
//
// Precedence: an exact entry that was decided comes before any wildcard. Among
// wildcards a rejected one comes before an approved one, however specific that
// is, and among approved ones the most specific. A candidate decides nothing,
// so it comes last.
type view struct {
	exact map[flow.Destination]rule
	// recent has the candidates made since exact was. They are few: a view
	// with one more candidate copies them and shares everything else.
	recent map[flow.Destination]rule
	// wild has the decided wildcards, with the base as the host.
	wild map[flow.Destination]rule
	// depths has a bit for each number of labels that some base in wild has:
	// only there is anything to look up, however long a hostile name is. A
	// name has at most 127 labels; those beyond 63 share a bit.
	depths   uint64
	approved int
}

// maxRecent is how many candidates a view has beside exact at most.
const maxRecent = 64

// with returns a view that has one more candidate.
func (v *view) with(d flow.Destination, r rule) *view {
	next := *v
	next.recent = maps.Clone(v.recent)
	next.recent[d] = r
	return &next
}

// rule is an entry as far as a decision needs it.
type rule struct {
	Match
	host Pattern
}

// rule returns the view's form of e.
func (e *Entry) rule() rule {
	r := rule{host: e.Host, Match: Match{State: e.State}}
	if e.State == Approved {
		r.Grades = acceptable(Of(e.Grades...), e.Host)
	}
	return r
}

// acceptable returns which of grades an approved entry accepts: verified in any
// case, for an IP literal that it is one, and never an SNI that contradicts the
// name.
func acceptable(grades GradeSet, host Pattern) GradeSet {
	grades = grades.Without(flow.GradeSNIDiffers).With(flow.GradeVerified)
	if host.literal() {
		grades = grades.With(flow.GradeIPLiteral)
	}
	return grades
}

// newView makes the view of entries.
func newView(entries map[Target]*Entry) *view {
	v := &view{
		exact:  make(map[flow.Destination]rule, len(entries)),
		recent: make(map[flow.Destination]rule),
		wild:   make(map[flow.Destination]rule),
	}
	for t, e := range entries {
		if e.State == Approved {
			v.approved++
		}
		base, wild := t.Host.base()
		d := flow.Destination{Host: base, Port: t.Port}
		switch {
		case !wild:
			v.exact[d] = e.rule()
		case e.State != Candidate:
			v.wild[d] = e.rule()
			v.depths |= depth(1 + strings.Count(base, "."))
		}
	}
	return v
}

// find returns the rule for d. The zero rule means that there is none.
func (v *view) find(d flow.Destination) rule {
	exact, ok := v.exact[d]
	if !ok {
		exact = v.recent[d]
	}
	if len(v.wild) == 0 || exact.State == Approved || exact.State == Rejected {
		return exact
	}
	best := exact
	// From the right, so that the most specific one comes last.
	dot := lastDot(d.Host, len(d.Host))
	for labels := 1; dot >= 0 && v.depths >= depth(labels); labels++ {
		if v.depths&depth(labels) != 0 {
			r := v.wild[flow.Destination{Host: d.Host[dot+1:], Port: d.Port}]
			switch r.State {
			case Rejected:
				return r
			case Approved:
				best = r
			}
		}
		dot = lastDot(d.Host, dot)
	}
	return best
}

// depth returns the bit for a number of labels.
func depth(labels int) uint64 { return 1 << min(labels, 63) }

// lastDot returns the place of the last dot of s before end, or -1.
func lastDot(s string, end int) int { return strings.LastIndexByte(s[:end], '.') }
