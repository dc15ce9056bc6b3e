// Command geobuild makes Exeat's bundled address table from CSV files of
// ip-location-db. It reads rows of "first,last,ASN,organisation" and of
// "first,last,country", addresses in their usual notation, each file sorted:
//
//	geobuild -date 2026-06-17 -o geo/data/places.bin \
//	    -asn asn-ipv4.csv -asn asn-ipv6.csv \
//	    -country asn-country-ipv4.csv -country asn-country-ipv6.csv
//
// The files are in the npm packages @ip-location-db/asn and
// @ip-location-db/asn-country (npm pack NAME, then tar xzf); the date is the one
// in their version number. After a build, put the new version and date into
// geo/data/README.md and run the tests of geo with EXEAT_GEO_CSV naming the
// folder that holds the four files.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/exeat/exeat/geo/table"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "geobuild:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var asn, country paths
	flags := flag.NewFlagSet("geobuild", flag.ContinueOnError)
	date := flags.String("date", "", "date of the data, `YYYY-MM-DD`")
	out := flags.String("o", "", "`file` to write")
	flags.Var(&asn, "asn", "CSV `file` of networks; may be repeated")
	flags.Var(&country, "country", "CSV `file` of countries; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	networks, err := table.ReadCSV(asn, table.NetworkRow)
	if err != nil {
		return err
	}
	countries, err := table.ReadCSV(country, table.CountryRow)
	if err != nil {
		return err
	}
	t, err := table.Build(*date, networks, countries)
	if err != nil {
		return err
	}
	return write(*out, t)
}

func write(path string, t *table.Table) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := t.Encode(f); err != nil {
		_ = f.Close()
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	n := t.Size()
	fmt.Printf("%s: %d bytes, %d IPv4 and %d IPv6 ranges, %d organisations, %d places\n",
		path, info.Size(), n.Ranges4, n.Ranges6, n.Organisations, n.Places)
	return f.Close()
}

// paths is a flag that may be repeated.
type paths []string

func (p *paths) String() string     { return strings.Join(*p, ",") }
func (p *paths) Set(s string) error { *p = append(*p, s); return nil }
