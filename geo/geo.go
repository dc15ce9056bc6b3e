// Package geo says where an address lies: the network that announces it (AS
// number and organisation) and its country. It reads data that is built in,
// or the user's own files in MaxMind's format.
//
// The organisation is the useful signal: "api.example.com moved from the network
// of its provider to one that nobody here has seen". The country is decoration:
// it is that of the network's registration, not of a machine, and the public
// data that it comes from is known to have errors. Never alert on a country
// alone.
package geo

import (
	_ "embed" // for the bundled table
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/geo/table"
)

// bundled is built by geobuild; see data/README.md.
//
//go:embed data/places.bin
var bundled string

// Config is what Open needs. The zero value takes the bundled data.
type Config struct {
	// ASN and Country are files in MaxMind's format (GeoLite2, GeoIP2, DB-IP
	// Lite, ip-location-db) that replace that half of the bundled data; empty:
	// bundled.
	ASN, Country string
	// Logger takes what an operator should see; nil: nothing is logged.
	Logger *slog.Logger
}

// DB says where addresses lie. Its methods are safe for concurrent use; nil
// and the zero value know nothing and are valid.
type DB struct {
	asn     *mmdb // nil: bundled
	country *mmdb // nil: bundled
	info    Info

	// table is written before ready is closed and only read after.
	table *table.Table
	ready chan struct{} // nil: there is no bundled data to wait for
}

// Open opens the files that cfg names, and begins to decode the bundled data,
// unless both halves were replaced, in the background: it takes some tens of
// milliseconds, and the first look-up waits for it, so that a start doesn't.
func Open(cfg Config) (*DB, error) {
	d := &DB{}
	var err error
	if d.asn, err = openMMDB(cfg.ASN, networks(), cfg.Logger); err != nil {
		return nil, fmt.Errorf("geo.asn: %w", err)
	}
	if d.country, err = openMMDB(cfg.Country, countries(), cfg.Logger); err != nil {
		return nil, fmt.Errorf("geo.country: %w", err)
	}
	date := ""
	if d.asn == nil || d.country == nil {
		if date, err = table.ReadDate(strings.NewReader(bundled)); err != nil {
			return nil, fmt.Errorf("geo: the bundled data: %w", err)
		}
		d.ready = make(chan struct{})
		go d.load(cfg.Logger, bundled)
	}
	d.info = describe(date, d.asn, d.country)
	return d, nil
}

// load decodes the bundled file. It is part of the program, so an error means
// that the program file is damaged: Exeat then goes on without places.
func (d *DB) load(log *slog.Logger, file string) {
	defer close(d.ready)
	start := time.Now()
	t, err := table.Decode(strings.NewReader(file))
	switch {
	case err != nil && log != nil:
		log.Error("the bundled geo data can't be read: addresses are shown without their network", "err", err)
	case err == nil && log != nil:
		log.Debug("geo data is ready", "date", t.Date, "took", time.Since(start))
	}
	d.table = t
}

// Place returns where addr lies, zero where that isn't known. It is meant for
// addresses that were really connected to. Until the bundled data is decoded
// it waits; after that it takes less than a microsecond.
func (d *DB) Place(addr netip.Addr) flow.Place {
	if d == nil || !public(addr) {
		return flow.Place{}
	}
	addr = addr.Unmap()
	var p flow.Place
	if d.ready != nil {
		<-d.ready
		p = d.table.Lookup(addr)
	}
	if d.asn != nil {
		n := d.asn.place(addr)
		p.ASN, p.Org = n.ASN, n.Org
	}
	if d.country != nil {
		p.Country = d.country.place(addr).Country
	}
	return p
}

// public reports whether an address could have a place at all; what a source
// says of a private range is an accident.
func public(addr netip.Addr) bool {
	return addr.IsValid() && addr.IsGlobalUnicast() && !addr.Unmap().IsPrivate()
}

// Close waits for the decoding that Open began, so that nothing of d is left
// running.
func (d *DB) Close() error {
	if d != nil && d.ready != nil {
		<-d.ready
	}
	return nil
}
