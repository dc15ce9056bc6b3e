package detect

import (
	"net/netip"

	"golang.org/x/net/publicsuffix"
)

// AllFamilies is the family of an alert that stands for all further causes of
// its kind and server, once there are more than a person could read.
const AllFamilies = "*"

// Family returns what host belongs to: its registrable domain by the Public
// Suffix List, whose private section counts, so that a.workers.dev is a family
// of its own and not one with every other customer's. An address, a single
// label and a name that is itself a public suffix are their own families. host
// must be canonical.
func Family(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	family, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return family
}
