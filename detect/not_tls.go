package detect

import "fmt"

// notTLS is the rule for a tunnel whose first bytes are not a TLS hello.
//
// Severity: high when it was let through on port 443, where everything is TLS;
// medium on another port. One step lower when it was refused.
//
// Blind spots: TLS that carries another protocol inside looks like TLS.
func notTLS() rule {
	return rule{severity: notTLSSeverity, words: notTLSWords}
}

func notTLSSeverity(a *Alert) Severity {
	s := Medium
	if a.Port == 443 {
		s = High
	}
	if !a.allowed() {
		s = s.lower()
	}
	return s
}

func notTLSWords(a *Alert) words {
	expected := "What a server sends through a tunnel is nearly always TLS."
	if a.Port == 443 {
		expected = "Port 443 is for TLS, and what a server sends there is nearly always that."
	}
	return words{
		title: fmt.Sprintf("%s sent something other than TLS to %s", a.Server, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for a connection to %s%s, and its first bytes were not TLS, or none came.", when(a.Last), a.Server, a.target(), a.during()),
			helloOutcome(a), a.where()),
		expected: a.usual(expected),
		why: "Without TLS nothing shows which site is meant, and nobody checks that it is the right one. " +
			"Home-made protocols on a web port are typical of remote-control tools.",
		limits: "SSH, database and mail protocols also begin without TLS. Exeat doesn't keep what is sent, so it can't say which protocol it was.",
		next:   a.steps(a.approve(fmt.Sprintf("If %s speaks such a protocol to it for a good reason, accept it so:", a.Server)), a.seeFlows(), a.block(), a.revoke()),
	}
}
