package detect

import "fmt"

// ipLiteral is the rule for a destination given as a bare public address. It
// alerts in every mode, learn included.
//
// Severity: high when it was let through, medium when it was refused.
//
// Blind spots: a name that somebody registers for the occasion costs little
// and is not a bare address; it is a new destination.
func ipLiteral() rule {
	return rule{severity: ipLiteralSeverity, words: ipLiteralWords}
}

func ipLiteralSeverity(a *Alert) Severity {
	if a.allowed() {
		return High
	}
	return Medium
}

func ipLiteralWords(a *Alert) words {
	verb := "connected"
	if !a.allowed() {
		verb = "tried to connect"
	}
	return words{
		title: fmt.Sprintf("%s %s to a bare address: %s", a.Server, verb, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for %s, an address without a name%s.", when(a.Last), a.Server, a.target(), comma(a.during())),
			a.outcomeByName(), a.where()),
		expected: a.usual(a.notAmong()),
		why: "Services are reached by name: the name survives a move, and its certificate proves who answers. " +
			"A bare address in a program is typical of somebody who wants no name to be seen, looked up or taken away.",
		limits: "An address tells whose network it is, not whose machine. Test set-ups and some internal services are reached this way too.",
		next:   a.steps(a.approve(fmt.Sprintf("If you know this address and %s should reach it:", a.Server)), a.reject(), a.block(), a.revoke()),
	}
}
