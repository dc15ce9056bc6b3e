package geo

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/geo/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Close waits for the decoding that Open began, even if nobody asked anything.
func TestCloseWaits(t *testing.T) {
	d, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.ready:
	default:
		t.Error("the decoding goes on after Close")
	}
}

func open(t testing.TB, cfg Config) *DB {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// shared has the bundled data, decoded once: under the race detector that takes
// a while.
var shared = sync.OnceValues(func() (*DB, error) {
	return Open(Config{Logger: slog.New(slog.DiscardHandler)})
})

func bundledDB(t testing.TB) *DB {
	t.Helper()
	d, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The bundled data says of well-known networks what everybody knows.
func TestBundled(t *testing.T) {
	d := bundledDB(t)
	for _, tc := range []struct {
		addr, what string
		asn        uint32
		org        string // a part of it
	}{
		{"8.8.8.8", "Google Public DNS", 15169, "Google"},
		{"1.1.1.1", "Cloudflare", 13335, "Cloudflare"},
		{"160.79.104.1", "Anthropic", 399358, "Anthropic"},
		{"140.82.112.3", "GitHub", 36459, "GitHub"},
		{"9.9.9.9", "Quad9", 19281, "Quad9"},
		{"::ffff:8.8.8.8", "IPv4-mapped", 15169, "Google"},
		{"2001:4860:4860::8888", "Google, IPv6", 15169, "Google"},
		{"2606:4700:4700::1111", "Cloudflare, IPv6", 13335, "Cloudflare"},
		{"2a04:4e42::81", "Fastly, IPv6", 54113, "Fastly"},
	} {
		p := d.Place(netip.MustParseAddr(tc.addr))
		if p.ASN != tc.asn || !strings.Contains(p.Org, tc.org) || len(p.Country) != 2 {
			t.Errorf("%s (%s) lies in %+v, want AS%d %s", tc.addr, tc.what, p, tc.asn, tc.org)
		}
	}
}

func TestNoPlace(t *testing.T) {
	d := bundledDB(t)
	for _, addr := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "0.0.0.0",
		"::", "::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1",
	} {
		if p := d.Place(netip.MustParseAddr(addr)); p != (flow.Place{}) {
			t.Errorf("%s lies in %+v, want nothing", addr, p)
		}
	}
	if p := d.Place(netip.Addr{}); p != (flow.Place{}) {
		t.Errorf("the zero address lies in %+v", p)
	}
}

func TestKnowsNothing(t *testing.T) {
	for name, d := range map[string]*DB{"nil": nil, "zero": {}} {
		if p := d.Place(netip.MustParseAddr("8.8.8.8")); p != (flow.Place{}) {
			t.Errorf("%s DB knows %+v", name, p)
		}
		if i := d.Info(); i != (Info{}) {
			t.Errorf("%s DB: %+v", name, i)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s DB: %v", name, err)
		}
	}
}

// A damaged program file costs the places and nothing else.
func TestDamagedBundle(t *testing.T) {
	var log bytes.Buffer
	d := &DB{ready: make(chan struct{})}
	d.load(slog.New(slog.NewTextHandler(&log, nil)), bundled[:len(bundled)/2])
	if p := d.Place(netip.MustParseAddr("8.8.8.8")); p != (flow.Place{}) {
		t.Errorf("half a file knows %+v", p)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("nothing was said of it: %q", log.String())
	}
}

func TestInfo(t *testing.T) {
	i := bundledDB(t).Info()
	if !i.Bundled || i.Date != "2026-06-17" || !strings.Contains(i.Attribution, "DB-IP") || !strings.Contains(i.Licences, "CC BY 4.0") ||
		i.AttributionURL != "https://db-ip.com/" {
		t.Errorf("%+v", i)
	}
	now := time.Date(2026, 6, 27, 0, 0, 0, 0, time.UTC)
	if got := i.Age(now); got != 240*time.Hour {
		t.Errorf("age %v", got)
	}
	readme, err := os.ReadFile("data/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, []byte(i.Date)) {
		t.Errorf("data/README.md doesn't name the date %s", i.Date)
	}
}

// What was built answers as a scan of the sources does.
func TestBundledIsTheCSV(t *testing.T) {
	dir := os.Getenv("EXEAT_GEO_CSV")
	if dir == "" {
		t.Skip("EXEAT_GEO_CSV doesn't name the folder with the CSV files that the data was built from")
	}
	d := bundledDB(t)
	for _, family := range []string{"ipv4", "ipv6"} {
		networks := readRows(t, filepath.Join(dir, "asn-"+family+".csv"))
		countries := readRows(t, filepath.Join(dir, "asn-country-"+family+".csv"))
		seed := uint64(time.Now().UnixNano())
		t.Logf("%s: %d and %d rows, seed %d", family, len(networks), len(countries), seed)
		random := rand.New(rand.NewPCG(seed, 1))
		for range 25 {
			for _, addr := range sampleAddrs(random, networks, countries) {
				want := flow.Place{}
				if row := lastWith(networks, addr); row != nil {
					asn, _ := strconv.ParseUint(row.fields[0], 10, 32)
					want.ASN, want.Org = uint32(asn), table.CleanName(row.fields[1])
				}
				if row := lastWith(countries, addr); row != nil {
					want.Country = row.fields[0]
				}
				if !public(addr) {
					want = flow.Place{}
				}
				if got := d.Place(addr); got != want {
					t.Fatalf("%s lies in %+v, the CSV says %+v", addr, got, want)
				}
			}
		}
	}
}

type csvRow struct {
	from, to netip.Addr
	fields   []string
}

func readRows(t *testing.T, path string) []csvRow {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []csvRow
	for r := csv.NewReader(f); ; {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, csvRow{netip.MustParseAddr(fields[0]), netip.MustParseAddr(fields[1]), fields[2:]})
	}
}

// sampleAddrs returns the edges of a random row of each source, their
// neighbours outside, and an address somewhere between.
func sampleAddrs(random *rand.Rand, sources ...[]csvRow) []netip.Addr {
	var out []netip.Addr
	for _, rows := range sources {
		r := rows[random.IntN(len(rows))]
		out = append(out, r.from, r.to)
		for _, a := range []netip.Addr{r.from.Prev(), r.to.Next()} {
			if a.IsValid() {
				out = append(out, a)
			}
		}
		b := r.from.AsSlice()
		b[len(b)-1-random.IntN(len(b)-1)] = byte(random.Uint32())
		inside, _ := netip.AddrFromSlice(b)
		out = append(out, inside)
	}
	return out
}

// lastWith scans for the last row that holds addr: where rows overlap, the
// later one has taken over.
func lastWith(rows []csvRow, addr netip.Addr) *csvRow {
	for i := len(rows) - 1; i >= 0; i-- {
		if !addr.Less(rows[i].from) && !rows[i].to.Less(addr) {
			return &rows[i]
		}
	}
	return nil
}

func TestPlaceAllocatesNothing(t *testing.T) {
	d := bundledDB(t)
	addr := netip.MustParseAddr("8.8.8.8")
	if n := testing.AllocsPerRun(100, func() { d.Place(addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPlace(b *testing.B) {
	d := bundledDB(b)
	var v4, v6 []netip.Addr
	random := rand.New(rand.NewPCG(1, 2))
	for range 1 << 14 {
		n := random.Uint32()
		v4 = append(v4, netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
		v6 = append(v6, netip.AddrFrom16([16]byte{0x2a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
	}
	d.Place(v4[0])
	for name, addrs := range map[string][]netip.Addr{"IPv4": v4, "IPv6": v6} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Place(addrs[i&(1<<14-1)])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Decode(strings.NewReader(bundled)); err != nil {
			b.Fatal(err)
		}
	}
}
