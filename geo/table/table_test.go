package table

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/exeat/exeat/flow"
)

func span4(from, to string, p flow.Place) Range {
	return Range{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Place: p}
}

var (
	alpha = flow.Place{ASN: 64500, Org: "Alpha Ltd"}
	beta  = flow.Place{ASN: 64501, Org: "Béta"}
	nl    = flow.Place{Country: "NL"}
	us    = flow.Place{Country: "US"}
)

func small(t *testing.T) *Table {
	t.Helper()
	table, err := Build("2026-06-17",
		Source{
			span4("192.0.2.0", "192.0.2.127", alpha),
			span4("192.0.2.128", "192.0.2.255", beta),
			span4("255.255.255.0", "255.255.255.255", beta),
			span4("2001:db8::", "2001:db8::ff", beta),
			span4("2001:db8:0:1::", "2001:db8:0:1::", alpha),
			span4("ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", alpha),
		},
		Source{
			span4("192.0.2.64", "198.51.100.255", nl),
			span4("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", us),
		})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func encoded(t *testing.T, table *Table) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := table.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLookup(t *testing.T) {
	built := small(t)
	decoded, err := Decode(bytes.NewReader(encoded(t, built)))
	if err != nil {
		t.Fatal(err)
	}
	both := func(n, c flow.Place) flow.Place { n.Country = c.Country; return n }
	for addr, want := range map[string]flow.Place{
		"0.0.0.0":                                {},
		"192.0.1.255":                            {},
		"192.0.2.0":                              alpha,
		"192.0.2.63":                             alpha,
		"192.0.2.64":                             both(alpha, nl),
		"192.0.2.127":                            both(alpha, nl),
		"192.0.2.128":                            both(beta, nl),
		"::ffff:192.0.2.128":                     both(beta, nl),
		"192.0.3.0":                              nl,
		"198.51.100.255":                         nl,
		"198.51.101.0":                           {},
		"255.255.255.255":                        beta,
		"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff": {},
		"2001:db8::":                             both(beta, us),
		"2001:db8::ff":                           both(beta, us),
		"2001:db8::100":                          us,
		"2001:db8:0:1::":                         both(alpha, us),
		"2001:db8:0:1::1":                        us,
		"2001:db9::":                             {},
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": alpha,
	} {
		for name, table := range map[string]*Table{"built": built, "decoded": decoded} {
			if got := table.Lookup(netip.MustParseAddr(addr)); got != want {
				t.Errorf("%s: %s lies in %+v, want %+v", name, addr, got, want)
			}
		}
	}
	if got := decoded.Date; got != "2026-06-17" {
		t.Errorf("date %q", got)
	}
	if got := (*Table)(nil).Lookup(netip.MustParseAddr("192.0.2.1")); got != (flow.Place{}) {
		t.Errorf("a nil table knows %+v", got)
	}
	if got := decoded.Lookup(netip.Addr{}); got != (flow.Place{}) {
		t.Errorf("the zero address lies in %+v", got)
	}
}

func TestLaterRowTakesOver(t *testing.T) {
	table, err := Build("2026-06-17", Source{
		span4("192.0.2.0", "192.0.2.200", alpha),
		span4("192.0.2.100", "192.0.3.0", beta),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]flow.Place{"192.0.2.99": alpha, "192.0.2.100": beta, "192.0.2.201": beta, "192.0.3.1": {}} {
		if got := table.Lookup(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s lies in %+v, want %+v", addr, got, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		networks, countries Source
		want                string
	}{
		"unsorted":       {Source{span4("192.0.2.9", "192.0.2.9", alpha), span4("192.0.2.1", "192.0.2.2", alpha)}, nil, "ascending"},
		"backwards":      {Source{span4("192.0.2.9", "192.0.2.1", alpha)}, nil, "backwards"},
		"nested":         {Source{span4("192.0.2.0", "192.0.2.9", alpha), span4("192.0.2.3", "192.0.2.5", beta)}, nil, "inside"},
		"mixed families": {Source{span4("192.0.2.0", "2001:db8::", alpha)}, nil, "families"},
		"no number":      {Source{span4("192.0.2.0", "192.0.2.9", nl)}, nil, "no AS number"},
		"two names": {Source{span4("192.0.2.0", "192.0.2.9", alpha),
			span4("192.0.3.0", "192.0.3.9", flow.Place{ASN: alpha.ASN, Org: "Other"})}, nil, "is both"},
		"country": {nil, Source{span4("192.0.2.0", "192.0.2.9", flow.Place{Country: "Mars"})}, "country code"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Build("2026-06-17", tc.networks, tc.countries); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
	if _, err := Build("17 June", nil, nil); err == nil {
		t.Error("a date in words was taken")
	}
}

// Every cut and every flipped byte of a file is an error and never a wrong table.
func TestDecodeRefusesDamage(t *testing.T) {
	table := small(t)
	good := encoded(t, table)
	for i := range good {
		if _, err := Decode(bytes.NewReader(good[:i])); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		// Some bits of gzip's header and the digits of the date mean nothing
		// for what is inside.
		if got, err := Decode(bytes.NewReader(bad)); err == nil && !bytes.Equal(got.payload(), table.payload()) {
			t.Fatalf("byte %d flipped: read as another table", i)
		}
	}
	if _, err := Decode(strings.NewReader("")); !errors.Is(err, ErrMalformed) {
		t.Errorf("empty: %v", err)
	}
}

func FuzzPayload(f *testing.F) {
	table, err := Build("2026-06-17", Source{span4("192.0.2.0", "192.0.2.127", alpha), span4("2001:db8::", "2001:db8::1", beta)},
		Source{span4("192.0.2.64", "198.51.100.255", nl)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(table.payload())
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := decoder{b: payload}
		got := d.table()
		if d.err != nil {
			return
		}
		for _, addr := range []string{"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			got.Lookup(netip.MustParseAddr(addr)) // must not panic
		}
	})
}

// A table that was built from random ranges answers as a scan of the ranges does.
func TestLookupIsAScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		networks := drawSource(t, "networks", v6, func(i int) flow.Place {
			return []flow.Place{alpha, beta}[i%2]
		})
		countries := drawSource(t, "countries", v6, func(i int) flow.Place {
			return []flow.Place{nl, us}[i%2]
		})
		built, err := Build("2026-06-17", networks, countries)
		if err != nil {
			t.Fatal(err)
		}
		d := decoder{b: built.payload()} // as a file has it, less the packing
		decoded := d.table()
		if d.err != nil {
			t.Fatal(d.err)
		}
		for range 20 {
			addr := drawAddr(t, v6, rapid.IntRange(0, 1<<16-1).Draw(t, "at"))
			want := scan(networks, addr)
			want.Country = scan(countries, addr).Country
			if got := decoded.Lookup(addr); got != want {
				t.Fatalf("%s lies in %+v, a scan says %+v", addr, got, want)
			}
		}
	})
}

// drawSource draws ascending ranges within a space of 2^16 addresses that
// touches the end of the address space.
func drawSource(t *rapid.T, label string, v6 bool, place func(int) flow.Place) Source {
	var s Source
	at := 0
	for i := range rapid.IntRange(0, 12).Draw(t, label) {
		from := at + rapid.IntRange(0, 3000).Draw(t, "gap")
		to := from + rapid.IntRange(0, 9000).Draw(t, "length")
		if from > 1<<16-1 {
			break
		}
		to = min(to, 1<<16-1)
		s = append(s, Range{drawAddr(t, v6, from), drawAddr(t, v6, to), place(i)})
		at = to + 1
	}
	return s
}

func drawAddr(_ *rapid.T, v6 bool, n int) netip.Addr {
	if !v6 {
		return netip.AddrFrom4([4]byte{255, 255, byte(n >> 8), byte(n)})
	}
	b := [16]byte{}
	for i := range b {
		b[i] = 0xff
	}
	// Over the middle, so that both halves of the number take part.
	b[7], b[8] = byte(n>>8), byte(n)
	for i := 9; i < 16; i++ {
		b[i] = 0
	}
	return netip.AddrFrom16(b)
}

func scan(s Source, addr netip.Addr) flow.Place {
	for _, r := range s {
		if !addr.Less(r.From) && !r.To.Less(addr) {
			return r.Place
		}
	}
	return flow.Place{}
}

func TestReadCSV(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "rows.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows, err := ReadCSV([]string{write("192.0.2.0,192.0.2.9,64500,\"Alpha, \u202eLtd\"\n"), write("2001:db8::,2001:db8::1,64501,B\n")}, NetworkRow)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Place != (flow.Place{ASN: 64500, Org: "Alpha, Ltd"}) || rows[1].Place.ASN != 64501 {
		t.Errorf("read %+v", rows)
	}
	for name, text := range map[string]string{
		"address": "192.0.2.0,here,64500,A\n", "number": "192.0.2.0,192.0.2.1,AS1,A\n", "zero": "192.0.2.0,192.0.2.1,0,A\n",
		"fields": "192.0.2.0,192.0.2.1\n", "quote": "192.0.2.0,192.0.2.1,64500,\"A\n",
	} {
		if _, err := ReadCSV([]string{write(text)}, NetworkRow); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := ReadCSV([]string{"nowhere.csv"}, CountryRow); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
