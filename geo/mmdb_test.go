package geo

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
)

// mmdbFile writes a file in MaxMind's format (specification version 2.0) with
// records of 32 bits: a binary trie over IPv6, IPv4 under ::/96, then the
// records, then the metadata.
func mmdbFile(t *testing.T, kind string, records map[string]map[string]any) string {
	t.Helper()
	type node [2]int // > 0: a node; < 0: a record, -1 being the first; 0: nothing
	nodes := []node{{}}
	var data []byte
	offsets := []int{}
	for prefix, record := range records {
		p := netip.MustParsePrefix(prefix)
		addr, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			v4 := p.Addr().As4()
			addr, bits = [16]byte{12: v4[0], v4[1], v4[2], v4[3]}, bits+96
		}
		offsets = append(offsets, len(data))
		data = encodeMMDB(data, record)
		at := 0
		for i := range bits {
			bit := addr[i/8] >> (7 - i%8) & 1
			if i == bits-1 {
				nodes[at][bit] = -len(offsets)
				break
			}
			if nodes[at][bit] == 0 {
				nodes = append(nodes, node{})
				nodes[at][bit] = len(nodes) - 1
			}
			at = nodes[at][bit]
		}
	}
	var out []byte
	for _, n := range nodes {
		for _, side := range n {
			value := side
			switch {
			case side == 0:
				value = len(nodes)
			case side < 0:
				value = len(nodes) + 16 + offsets[-side-1]
			}
			out = binary.BigEndian.AppendUint32(out, uint32(value))
		}
	}
	out = append(append(out, make([]byte, 16)...), data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	out = encodeMMDB(out, map[string]any{
		"binary_format_major_version": uint32(2), "binary_format_minor_version": uint32(0),
		"build_epoch":   uint32(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"database_type": kind, "ip_version": uint32(6), "node_count": uint32(len(nodes)), "record_size": uint32(32),
		"description": map[string]any{"en": "a test"},
	})
	path := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// encodeMMDB appends a string, an unsigned number or a map of them.
func encodeMMDB(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		if len(v) < 29 {
			return append(append(b, byte(2<<5|len(v))), v...)
		}
		return append(append(b, 2<<5|29, byte(len(v)-29)), v...)
	case uint32:
		return binary.BigEndian.AppendUint32(append(b, 6<<5|4), v)
	case map[string]any:
		b = append(b, byte(7<<5|len(v)))
		var keys []string
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			b = encodeMMDB(encodeMMDB(b, k), v[k])
		}
		return b
	}
	panic("a type that this writer doesn't know")
}

func asnRecord(n uint32, org string) map[string]any {
	return map[string]any{"autonomous_system_number": n, "autonomous_system_organization": org}
}

func nested(code string) map[string]any {
	return map[string]any{"country": map[string]any{"iso_code": code}, "registered_country": map[string]any{"iso_code": "ZZ"}}
}

func flat(code string) map[string]any { return map[string]any{"country_code": code} }

func TestUserFiles(t *testing.T) {
	networks := map[string]map[string]any{
		"8.8.8.0/24":  asnRecord(64500, "Mine\u202e Ltd"),
		"2a00::/16":   asnRecord(64501, "Six"),
		"10.0.0.0/8":  asnRecord(64502, "Private"),
		"1.2.3.0/24":  asnRecord(4294967295, "A network with a name that is longer than twenty-nine bytes"),
		"11.0.0.0/16": {},
	}
	for _, kind := range []string{"GeoLite2-ASN", "GeoIP2-ISP", "DBIP-ASN-Lite (compat=GeoLite2-ASN)", "ipinfo lookalike"} {
		for countryKind, country := range map[string]func(string) map[string]any{
			"GeoLite2-Country": nested, "DBIP-Country-Lite": nested, "GeoLite2-City": nested, "geo-whois-asn-country": flat, "my own": nested,
		} {
			t.Run(kind+" "+countryKind, func(t *testing.T) {
				d := open(t, Config{
					ASN: mmdbFile(t, kind, networks),
					Country: mmdbFile(t, countryKind, map[string]map[string]any{
						"8.8.0.0/16": country("NL"), "2a00::/12": country("DE"), "9.0.0.0/8": country("not a code"),
					}),
				})
				for addr, want := range map[string]flow.Place{
					"8.8.8.8":        {ASN: 64500, Org: "Mine Ltd", Country: "NL"},
					"::ffff:8.8.8.8": {ASN: 64500, Org: "Mine Ltd", Country: "NL"},
					"8.8.4.4":        {Country: "NL"},
					"2a00::1":        {ASN: 64501, Org: "Six", Country: "DE"},
					"1.2.3.4":        {ASN: 4294967295, Org: "A network with a name that is longer than twenty-nine bytes"},
					"9.9.9.9":        {},
					"1.1.1.1":        {}, // the bundled data knows it, and was replaced
					"10.0.0.1":       {},
				} {
					if got := d.Place(netip.MustParseAddr(addr)); got != want {
						t.Errorf("%s lies in %+v, want %+v", addr, got, want)
					}
				}
				if i := d.Info(); i.Bundled || i.Attribution != "" || i.Date != "2026-11-01" {
					t.Errorf("info %+v", i)
				}
			})
		}
	}
}

func TestOneUserFile(t *testing.T) {
	asn := mmdbFile(t, "GeoLite2-ASN", map[string]map[string]any{"8.8.8.0/24": asnRecord(64500, "Mine")})
	d := open(t, Config{ASN: asn})
	if p := d.Place(netip.MustParseAddr("8.8.8.8")); p.ASN != 64500 || p.Country != "US" {
		t.Errorf("own networks, bundled countries: %+v", p)
	}
	if p := d.Place(netip.MustParseAddr("1.1.1.1")); p.ASN != 0 || p.Country == "" {
		t.Errorf("a network that the own file doesn't have: %+v", p)
	}
	if i := d.Info(); !i.Bundled || i.Date != "2026-06-17" {
		t.Errorf("info %+v", i)
	}
	country := mmdbFile(t, "GeoLite2-Country", map[string]map[string]any{"8.8.8.0/24": nested("NL")})
	if p := open(t, Config{Country: country}).Place(netip.MustParseAddr("8.8.8.8")); p.ASN != 15169 || p.Country != "NL" {
		t.Errorf("bundled networks, own countries: %+v", p)
	}
}

func TestOpenRefuses(t *testing.T) {
	asn := mmdbFile(t, "GeoLite2-ASN", map[string]map[string]any{"8.8.8.0/24": asnRecord(64500, "Mine")})
	odd := mmdbFile(t, "odd", map[string]map[string]any{"8.8.8.0/24": {"colour": "red"}})
	typed := mmdbFile(t, "odd", map[string]map[string]any{"8.8.8.0/24": {"autonomous_system_number": "AS15169"}})
	text := filepath.Join(t.TempDir(), "text.mmdb")
	good, err := os.ReadFile(asn)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.mmdb")
	for path, data := range map[string][]byte{text: []byte("not a database"), cut: good[:len(good)/2]} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want error
	}{
		"missing":              {Config{ASN: "nowhere.mmdb"}, os.ErrNotExist},
		"text":                 {Config{ASN: text}, ErrNotMMDB},
		"cut":                  {Config{Country: cut}, ErrNotMMDB},
		"networks as country":  {Config{Country: asn}, ErrWrongKind},
		"neither":              {Config{ASN: odd}, ErrWrongKind},
		"neither, as country":  {Config{Country: odd}, ErrWrongKind},
		"a number as a string": {Config{ASN: typed}, ErrNotMMDB},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Open(tc.cfg)
			if !errors.Is(err, tc.want) || d != nil {
				t.Fatalf("Open: %v, %v, want %v", d, err, tc.want)
			}
			t.Log(err)
		})
	}
}
