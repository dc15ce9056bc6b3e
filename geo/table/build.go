package table

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exeat/exeat/flow"
)

// Range is one row of a source: all addresses from From to To, both included,
// lie in Place.
type Range struct {
	From, To netip.Addr
	Place    flow.Place
}

// Source is the rows of one source, of either family, in ascending order
// within a family. Where a row starts inside the row before it, it takes over
// from there; it may not end inside it.
type Source []Range

// Build makes a table of two sources: networks says whose network an address
// belongs to (ASN and Org), countries in which country it lies. The same AS
// number always has the same name. date is that of the data.
func Build(date string, networks, countries Source) (*Table, error) {
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return nil, fmt.Errorf("the date of the data: %w", err)
	}
	b := builder{t: &Table{Date: date}, seen: make(map[place]uint32), codes: make(map[string]uint16)}
	if err := b.organisations(networks); err != nil {
		return nil, err
	}
	for _, is4 := range []bool{true, false} {
		n, err := spans(networks, is4)
		if err != nil {
			return nil, fmt.Errorf("networks: %w", err)
		}
		c, err := spans(countries, is4)
		if err != nil {
			return nil, fmt.Errorf("countries: %w", err)
		}
		if err := b.family(n, c, is4); err != nil {
			return nil, err
		}
	}
	b.t.v4.seal()
	b.t.v6.seal()
	return b.t, nil
}

type builder struct {
	t     *Table
	seen  map[place]uint32 // number of a place, counted from 1
	codes map[string]uint16
}

// organisations numbers the organisations by their AS number.
func (b *builder) organisations(networks Source) error {
	names := make(map[uint32]string)
	for _, r := range networks {
		p := r.Place
		if p.ASN == 0 {
			return fmt.Errorf("networks: %s to %s has no AS number", r.From, r.To)
		}
		if was, ok := names[p.ASN]; ok && was != p.Org {
			return fmt.Errorf("networks: AS%d is both %q and %q", p.ASN, was, p.Org)
		}
		names[p.ASN] = p.Org
	}
	for asn := range names {
		b.t.numbers = append(b.t.numbers, asn)
	}
	slices.Sort(b.t.numbers)
	var all strings.Builder
	for _, asn := range b.t.numbers {
		all.WriteString(names[asn])
		b.t.ends = append(b.t.ends, uint32(all.Len()))
	}
	b.t.names = all.String()
	return nil
}

// span is a Range as numbers: from, and the first number after it (last is set
// instead when the range reaches the end of the address space).
type span struct {
	from, after u128
	last        bool
	place       flow.Place
}

// spans returns the rows of one family, checked and cut where they overlap.
func spans(s Source, is4 bool) ([]span, error) {
	var out []span
	for _, r := range s {
		if r.From.Is4() != is4 || r.To.Is4() != is4 {
			if r.From.Is4() != r.To.Is4() {
				return nil, fmt.Errorf("%s to %s mixes address families", r.From, r.To)
			}
			continue
		}
		n := span{from: number(r.From), place: r.Place}
		n.after, n.last = number(r.To).add(u128{0, 1})
		if r.To.Less(r.From) {
			return nil, fmt.Errorf("%s to %s runs backwards", r.From, r.To)
		}
		if err := follow(out, n); err != nil {
			return nil, fmt.Errorf("%s to %s %w", r.From, r.To, err)
		}
		out = append(out, n)
	}
	return out, nil
}

// follow checks that n may come after what is there, and cuts what it takes over.
func follow(there []span, n span) error {
	if len(there) == 0 {
		return nil
	}
	before := &there[len(there)-1]
	switch {
	case n.from.compare(before.from) <= 0:
		return fmt.Errorf("is not in ascending order")
	case !before.last && before.after.compare(n.from) <= 0:
		return nil
	case !n.last && (before.last || n.after.compare(before.after) < 0):
		return fmt.Errorf("lies inside the row before it")
	}
	before.after, before.last = n.from, false
	return nil
}

func number(addr netip.Addr) u128 {
	if addr.Is4() {
		return u128{0, uint64(key4(addr))}
	}
	return key6(addr)
}

// family joins both sources into the ranges of one family: a new range starts
// wherever either of them changes.
func (b *builder) family(networks, countries []span, is4 bool) error {
	var was uint32
	for _, at := range boundaries(networks, countries) {
		if is4 && at.compare(u128{0, 1 << 32}) >= 0 {
			break // the end of the address space
		}
		n, c := covering(&networks, at), covering(&countries, at)
		i, err := b.number(n, c)
		if err != nil {
			return err
		}
		if i == was {
			continue
		}
		was = i
		if is4 {
			b.t.v4.starts = append(b.t.v4.starts, uint32(at.lo))
			b.t.v4.places = append(b.t.v4.places, i)
			continue
		}
		b.t.v6.starts = append(b.t.v6.starts, at.hi)
		b.t.v6low = append(b.t.v6low, at.lo)
		b.t.v6.places = append(b.t.v6.places, i)
	}
	return nil
}

// boundaries are all numbers at which either source changes, ascending.
func boundaries(sources ...[]span) []u128 {
	var all []u128
	for _, s := range sources {
		for _, n := range s {
			all = append(all, n.from)
			if !n.last {
				all = append(all, n.after)
			}
		}
	}
	slices.SortFunc(all, u128.compare)
	return slices.Compact(all)
}

// covering returns the place of the span that at lies in, dropping spans that
// end before it: at only ever grows.
func covering(s *[]span, at u128) flow.Place {
	for len(*s) > 0 && !(*s)[0].last && (*s)[0].after.compare(at) <= 0 {
		*s = (*s)[1:]
	}
	if len(*s) == 0 || (*s)[0].from.compare(at) > 0 {
		return flow.Place{}
	}
	return (*s)[0].place
}

// number returns the number of the place that both sources say, 0 for none.
func (b *builder) number(network, country flow.Place) (uint32, error) {
	var p place
	if network.ASN != 0 {
		i, _ := slices.BinarySearch(b.t.numbers, network.ASN)
		p.org = uint32(i) + 1
	}
	if country.Country != "" {
		code, err := b.code(country.Country)
		if err != nil {
			return 0, err
		}
		p.country = code
	}
	if p == (place{}) {
		return 0, nil
	}
	if i, ok := b.seen[p]; ok {
		return i, nil
	}
	b.t.places = append(b.t.places, p)
	i := uint32(len(b.t.places))
	b.seen[p] = i
	return i, nil
}

func (b *builder) code(country string) (uint16, error) {
	if len(country) != 2 || country[0] < 'A' || country[0] > 'Z' || country[1] < 'A' || country[1] > 'Z' {
		return 0, fmt.Errorf("%q is not a country code of two capital letters", country)
	}
	if i, ok := b.codes[country]; ok {
		return i, nil
	}
	b.t.countries += country
	i := uint16(len(b.t.countries) / 2)
	b.codes[country] = i
	return i, nil
}
