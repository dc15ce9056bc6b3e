package detect

import (
	"fmt"
	"strings"
)

// sniMismatch is the rule for a TLS hello that names another server than the
// one that was asked for (RFC 6066, section 3). It alerts in every mode, and is
// refused in block mode before a byte goes upstream.
//
// Severity: critical when it was let through to a name of another family, high
// when that was refused; medium and low for two names of one family, which is
// more often carelessness.
//
// Blind spots: the HTTP Host field inside the tunnel is encrypted, so fronting
// with a matching SNI is not seen. Two names may be one machine for good
// reasons.
func sniMismatch() rule {
	return rule{severity: sniMismatchSeverity, words: sniMismatchWords}
}

func sniMismatchSeverity(a *Alert) Severity {
	s := Critical
	if Family(strings.ToLower(a.Evidence.SNI)) == Family(a.Host) {
		s = Medium
	}
	if !a.allowed() {
		s = s.lower()
	}
	return s
}

func sniMismatchWords(a *Alert) words {
	name := quote(a.Evidence.SNI, 100)
	return words{
		title: fmt.Sprintf("%s asked for %s but named %s", a.Server, a.target(), name),
		seen: join(fmt.Sprintf("%s: %s asked for a connection to %s%s, and then began TLS with %s, a different name.",
			when(a.Last), a.Server, a.target(), a.during(), name),
			helloOutcome(a), a.where()),
		expected: a.usual("A client names in TLS the host that it asked for; ordinary libraries can't do otherwise."),
		why: "The name that was asked for is what you approve. Asking for one name and meaning another (domain fronting) " +
			"is how traffic is dressed up as something that is allowed.",
		limits: "Both names may belong to one machine for honest reasons, such as a badly configured client or a test. " +
			"Exeat can't see which of the two answered.",
		next: a.steps(a.seeFlows(), a.block(), a.revoke()),
	}
}

// helloOutcome is outcome for what only the first bytes of the client showed.
func helloOutcome(a *Alert) string {
	if a.allowed() {
		return a.outcome()
	}
	return "Exeat closed the connection before a byte of it went upstream."
}
