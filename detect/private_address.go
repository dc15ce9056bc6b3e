package detect

import (
	"fmt"
	"net/netip"

	"golang.org/x/net/publicsuffix"
)

// privateAddress is the rule for a destination that is not the public
// Internet: this machine, the local network, or a reserved range, asked for as
// such or as what a name led to. It is refused in every mode.
//
// Severity: high when a name that looks public led there, which is what DNS
// rebinding looks like; medium otherwise.
//
// Blind spots: only addresses that went through Exeat are seen. Loopback
// usually doesn't: NO_PROXY names it.
func privateAddress() rule {
	return rule{severity: privateAddressSeverity, words: privateAddressWords}
}

func privateAddressSeverity(a *Alert) Severity {
	if rebinding(a.Host) {
		return High
	}
	return Medium
}

// rebinding reports whether host is a name under a public suffix that ICANN
// manages: such a name has no business leading to a private address.
func rebinding(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	suffix, icann := publicsuffix.PublicSuffix(host)
	return icann && suffix != host
}

func privateAddressWords(a *Alert) words {
	why := "What listens on this machine and on the local network often trusts whoever can reach it: databases, routers, " +
		"printers, admin pages. A server from the Internet that reaches inwards can use that trust."
	if rebinding(a.Host) {
		why = "A public name that leads to a private address can be a trick (DNS rebinding): the name passes as harmless, " +
			"the connection ends at a machine inside, which often trusts whoever can reach it."
	}
	return words{
		title:    fmt.Sprintf("%s tried to reach a private address: %s", a.Server, a.target()),
		seen:     join(a.asked(), a.leads("is not on the public Internet"), a.outcomeAlways()),
		expected: a.usual("Servers reach private addresses only if the configuration says so."),
		why:      why,
		limits:   "A server that is meant for something at home or in the office, a local model or database, needs this and means no harm.",
		next:     a.steps(a.allowAddress(fmt.Sprintf("If %s should reach it, allow that one address in Exeat's configuration and start Exeat again:", a.Server)), a.seeFlows(), a.revoke()),
	}
}

// leads says what the address is that was asked for, or that the name led to.
func (a *Alert) leads(what string) string {
	if _, err := netip.ParseAddr(a.Host); err == nil {
		return fmt.Sprintf("That address %s.", what)
	}
	if ip := a.Evidence.IP; ip.IsValid() {
		return fmt.Sprintf("That name leads to %s, which %s.", ip, what)
	}
	return fmt.Sprintf("That name leads to an address that %s.", what)
}

// allowAddress proposes the line of the configuration that allows exactly the
// address that was refused.
func (a *Alert) allowAddress(when string) step {
	ip := a.Evidence.IP
	if literal, err := netip.ParseAddr(a.Host); err == nil {
		ip = literal
	}
	prefix := "ADDRESS/32"
	if ip.IsValid() {
		prefix = netip.PrefixFrom(ip, ip.BitLen()).String()
	}
	return step{when, fmt.Sprintf("network: {allow_private: [%q]}", prefix)}
}
