package geo

import (
	"strings"
	"time"
)

// Info says what a DB's answers come from, for people.
type Info struct {
	Source  string // what the data is
	Date    string // its day, YYYY-MM-DD; with two sources, the older one's
	Bundled bool   // some of it came with the program
	// Licences names the licences of bundled data, and Attribution is the text
	// that they ask to be shown with it. Both are empty for the user's files.
	Licences    string
	Attribution string
	// AttributionURL has to be a link on pages that show bundled organisations
	// (DB-IP's condition).
	AttributionURL string
}

// The bundled data's sources and conditions; data/README.md has the whole of it.
const (
	bundledSource      = "ip-location-db (RouteViews, DB-IP IP to ASN Lite, NRO statistics), bundled"
	bundledLicences    = "CC BY 4.0 (networks and organisations), CC0 1.0 with NRO notice under CC BY 4.0 (countries)"
	bundledAttribution = "IP Geolocation by DB-IP. Networks by routeviews.org, DB-IP.com and nro.net, CC BY 4.0, merged and repacked."
	bundledURL         = "https://db-ip.com/"
)

// describe says where the halves of the data come from. date is the bundled
// data's, empty when none of it is in use.
func describe(date string, asn, country *mmdb) Info {
	var i Info
	var sources []string
	if date != "" {
		i = Info{Bundled: true, Licences: bundledLicences, Attribution: bundledAttribution, AttributionURL: bundledURL, Date: date}
		sources = append(sources, bundledSource)
	}
	for _, f := range []*mmdb{asn, country} {
		if f == nil {
			continue
		}
		sources = append(sources, f.kind+" ("+f.path+")")
		if built := f.built.UTC().Format(time.DateOnly); i.Date == "" || built < i.Date {
			i.Date = built
		}
	}
	i.Source = strings.Join(sources, ", ")
	return i
}

// Age returns how old the data is at now; 0 when its date isn't known.
func (i Info) Age(now time.Time) time.Duration {
	day, err := time.Parse(time.DateOnly, i.Date)
	if err != nil {
		return 0
	}
	return now.Sub(day)
}

// Info returns what d's answers come from; zero for a DB that knows nothing.
func (d *DB) Info() Info {
	if d == nil {
		return Info{}
	}
	return d.info
}
