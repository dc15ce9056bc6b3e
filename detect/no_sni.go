package detect

import "fmt"

// noSNI is the rule for a TLS hello without a server name, on a connection
// that was asked for by name.
//
// Severity: medium when it was let through, low when it was refused.
//
// Blind spots: it says nothing about who answers at the address. A hello with
// the right name can lie as well; see sni_mismatch.
func noSNI() rule {
	return rule{severity: helloSeverity, words: noSNIWords}
}

// helloSeverity is for hellos that merely show less than they should.
func helloSeverity(a *Alert) Severity {
	if a.allowed() {
		return Medium
	}
	return Low
}

func noSNIWords(a *Alert) words {
	return words{
		title: fmt.Sprintf("%s spoke TLS to %s without naming it", a.Server, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for a connection to %s%s, and its TLS hello named no server.", when(a.Last), a.Server, a.target(), a.during()),
			helloOutcome(a), a.where()),
		expected: a.usual("Nearly every client of the last ten years names the server in the hello."),
		why: "One address can serve thousands of names. Exeat resolved the address itself, so the bytes went to a machine of that name, " +
			"but only the hello says which of its sites is meant.",
		limits: "Old or hand-written clients leave the name out without meaning harm.",
		next:   a.steps(a.approve(fmt.Sprintf("If that is how %s always speaks to it, accept it so:", a.Server)), a.seeFlows(), a.block(), a.revoke()),
	}
}
