// Package table holds ranges of addresses and the place of each, in memory and
// as a file. In memory it is two sorted columns for each address family, so
// that a look-up is one binary search and allocates nothing; the strings are
// parts of one large string.
//
// # File
//
// A file is one line of text, "exeat-geo/1 YYYY-MM-DD", the date being that of
// the data, and a gzip member (RFC 1952), whose checksum guards the rest. The
// member holds, all numbers being unsigned LEB128 varints:
//
//	number of organisations
//	    column of their AS numbers, ascending, each less the one before
//	    column of the lengths of their names
//	    the names
//	number of places
//	    column of organisations, counted from 1; 0 is none
//	    column of countries, two bytes each; two zero bytes are none
//	for IPv4, then for IPv6: number of ranges
//	    column of one byte: how many zero bits the distance to the start of the
//	    range before ends in
//	    column of those distances without these bits
//	    column of places: 0 is unknown, 1 the first place that no range has
//	    named yet, 2 the one that was named for the first time last, 3 the one
//	    before that, and so on; IPv6 goes on where IPv4 ended
//
// A range ends where the next one starts; the last one ends with the address
// space. Distances may exceed 64 bits in IPv6.
package table

import (
	"cmp"
	"net/netip"

	"github.com/exeat/exeat/flow"
)

// Table says where addresses lie. It is immutable and safe for concurrent use;
// nil and the zero value know nothing. Make one with Build or Decode.
type Table struct {
	// Date is the day of the data, YYYY-MM-DD.
	Date string

	names   string   // all organisations, one after the other
	ends    []uint32 // where each ends in names
	numbers []uint32 // their AS numbers, ascending
	places  []place
	// countries has the two-letter codes, one after the other.
	countries string

	v4 column[uint32]
	v6 column[uint64] // the upper halves of the addresses
	// v6low has the lower halves: nearly always zero.
	v6low []uint64
}

// place is what a range leads to. Place 0 is unknown.
type place struct {
	org     uint32 // index into numbers, counted from 1; 0: none
	country uint16 // index into countries, counted from 1; 0: none
}

// block is how many starts share one entry of a column's index.
const block = 64

// column has the starts of ranges, ascending, and the place of each.
type column[K cmp.Ordered] struct {
	starts []K
	places []uint32
	// index has every block-th start. It is small enough to stay in the
	// processor's cache, where a search through starts would miss at every step.
	index []K
}

// seal makes the index.
func (c *column[K]) seal() {
	for i := 0; i < len(c.starts); i += block {
		c.index = append(c.index, c.starts[i])
	}
}

// last returns the position of the last start that is not after key, or -1.
func (c *column[K]) last(key K) int {
	b := notAfter(c.index, key)
	if b == 0 {
		return -1
	}
	from := (b - 1) * block
	return from + notAfter(c.starts[from:min(from+block, len(c.starts))], key) - 1
}

// notAfter counts the elements of an ascending slice that are not after key.
func notAfter[K cmp.Ordered](s []K, key K) int {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid] <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// find4 and find6 return the place of the range that an address lies in.
func (t *Table) find4(key uint32) uint32 {
	if i := t.v4.last(key); i >= 0 {
		return t.v4.places[i]
	}
	return 0
}

func (t *Table) find6(key u128) uint32 {
	i := t.v6.last(key.hi)
	// Few ranges begin inside a /64, so this loop hardly ever turns.
	for i >= 0 && t.v6.starts[i] == key.hi && t.v6low[i] > key.lo {
		i--
	}
	if i < 0 {
		return 0
	}
	return t.v6.places[i]
}

// Lookup returns the place of an address, zero where it is not known. An
// IPv4-mapped IPv6 address is the IPv4 address. It allocates nothing.
func (t *Table) Lookup(addr netip.Addr) flow.Place {
	if t == nil || !addr.IsValid() {
		return flow.Place{}
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return t.place(t.find4(key4(addr)))
	}
	return t.place(t.find6(key6(addr)))
}

func (t *Table) place(i uint32) flow.Place {
	if i == 0 {
		return flow.Place{}
	}
	p := t.places[i-1]
	var out flow.Place
	if p.org > 0 {
		out.ASN = t.numbers[p.org-1]
		out.Org = t.name(int(p.org - 1))
	}
	if p.country > 0 {
		out.Country = t.countries[2*(p.country-1) : 2*p.country]
	}
	return out
}

func (t *Table) name(i int) string {
	if i == 0 {
		return t.names[:t.ends[0]]
	}
	return t.names[t.ends[i-1]:t.ends[i]]
}

// Size says how much a table holds.
type Size struct{ Ranges4, Ranges6, Organisations, Places int }

// Size returns how much t holds.
func (t *Table) Size() Size {
	if t == nil {
		return Size{}
	}
	return Size{len(t.v4.starts), len(t.v6.starts), len(t.numbers), len(t.places)}
}
