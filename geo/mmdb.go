package geo

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/geo/table"
)

// Errors of Open about the user's files; test with errors.Is.
var (
	// ErrNotMMDB: the file is not in MaxMind's format, or is damaged.
	ErrNotMMDB = errors.New("not a sound file in MaxMind's format (.mmdb)")
	// ErrWrongKind: the file doesn't hold what it was given for.
	ErrWrongKind = errors.New("the file doesn't hold what it was given for")
)

const (
	// maxMMDB bounds a file, which is read into memory: if it were mapped,
	// whoever cut it short in place would end the process.
	maxMMDB = 1 << 30
	// sample is how many networks of a file are looked at when it is opened.
	sample = 1000
)

// half says which half of a place a file is for.
type half struct {
	field string // what it must hold, for the error
	// known reads a record of a type that geoip2 knows, other one of any other
	// type that has the fields.
	known func(g *geoip2.Reader, addr netip.Addr) (flow.Place, error)
	other func(r *maxminddb.Reader, addr netip.Addr) (flow.Place, error)
}

func networks() half {
	return half{
		field: "autonomous_system_number",
		known: func(g *geoip2.Reader, addr netip.Addr) (flow.Place, error) {
			rec, err := g.ASN(addr)
			if err != nil {
				return flow.Place{}, err
			}
			return flow.Place{
				ASN: uint32(rec.AutonomousSystemNumber), // 32 bits: RFC 6793
				Org: table.CleanName(rec.AutonomousSystemOrganization),
			}, nil
		},
		other: func(r *maxminddb.Reader, addr netip.Addr) (flow.Place, error) {
			var rec struct {
				ASN uint32 `maxminddb:"autonomous_system_number"`
				Org string `maxminddb:"autonomous_system_organization,maxsize:4096"`
			}
			err := r.Lookup(addr).Decode(&rec)
			return flow.Place{ASN: rec.ASN, Org: table.CleanName(rec.Org)}, err
		},
	}
}

func countries() half {
	return half{
		field: "country.iso_code or country_code",
		known: func(g *geoip2.Reader, addr netip.Addr) (flow.Place, error) {
			rec, err := g.Country(addr)
			if err != nil {
				return flow.Place{}, err
			}
			return flow.Place{Country: code(rec.Country.ISOCode)}, nil
		},
		other: func(r *maxminddb.Reader, addr netip.Addr) (flow.Place, error) {
			var flat string
			res := r.Lookup(addr)
			if err := res.DecodePath(&flat, "country_code"); err != nil {
				return flow.Place{}, err
			}
			if flat != "" {
				return flow.Place{Country: code(flat)}, nil
			}
			var nested string
			err := res.DecodePath(&nested, "country", "iso_code")
			return flow.Place{Country: code(nested)}, err
		},
	}
}

// code returns s if it has the form of a country code.
func code(s string) string {
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return ""
	}
	return s
}

// mmdb is one of the user's files.
type mmdb struct {
	path, kind string
	built      time.Time
	read       func(addr netip.Addr) (flow.Place, error)
	log        *slog.Logger
	once       sync.Once
}

// openMMDB reads and checks a file. It returns nil for no path.
func openMMDB(path string, h half, log *slog.Logger) (*mmdb, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotMMDB, err)
	}
	m := &mmdb{path: path, kind: table.CleanName(r.Metadata.DatabaseType), built: r.Metadata.BuildTime(), log: log}
	m.read = func(addr netip.Addr) (flow.Place, error) { return h.other(r, addr) }
	var unknown geoip2.UnknownDatabaseTypeError
	switch g, err := geoip2.OpenBytes(data); {
	case err == nil:
		m.read = func(addr netip.Addr) (flow.Place, error) { return h.known(g, addr) }
	case !errors.As(err, &unknown):
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotMMDB, err)
	}
	return m, m.check(r, h)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxMMDB {
		return nil, fmt.Errorf("%s: %w: it has %d bytes", path, ErrNotMMDB, info.Size())
	}
	return os.ReadFile(path)
}

// check looks up the first networks of the file: at least one of them must
// have what the file is for.
func (m *mmdb) check(r *maxminddb.Reader, h half) error {
	n := 0
	for res := range r.Networks() {
		if err := res.Err(); err != nil {
			return fmt.Errorf("%s: %w: %w", m.path, ErrNotMMDB, err)
		}
		p, err := m.read(res.Prefix().Addr())
		var wrong geoip2.InvalidMethodError
		if errors.As(err, &wrong) {
			return fmt.Errorf("%s: %w: a %q file has no %s", m.path, ErrWrongKind, m.kind, h.field)
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %w", m.path, ErrNotMMDB, err)
		}
		if n++; p != (flow.Place{}) {
			return nil
		}
		if n == sample {
			break
		}
	}
	return fmt.Errorf("%s: %w: none of its first %d networks has %s (it is a %q file)", m.path, ErrWrongKind, n, h.field, m.kind)
}

// place looks an address up. A record that can't be read is one that isn't
// there; the first of them is logged.
func (m *mmdb) place(addr netip.Addr) flow.Place {
	p, err := m.read(addr)
	if err != nil {
		m.once.Do(func() {
			if m.log != nil {
				m.log.Warn("a geo file is damaged: some addresses are shown without their network", "file", m.path, "err", err)
			}
		})
		return flow.Place{}
	}
	return p
}
