package detect

import "fmt"

// newDestination is the rule for a destination that the server's baseline
// doesn't hold.
//
// Severity: high when it was let through although a person has already approved
// what this server does, medium when nothing has been approved yet, medium when
// it was refused, low when it was refused before anything was approved.
//
// Blind spots: theft through a destination that is approved (postmark-mcp sent
// its copies through the mail service that it was made for) is not new to
// anybody. A new path, account or bucket on a host that many people share is
// the same host.
func newDestination() rule {
	return rule{severity: newDestinationSeverity, words: newDestinationWords}
}

func newDestinationSeverity(a *Alert) Severity {
	s := Medium
	if a.allowed() && a.established() {
		s = High
	}
	if !a.allowed() && !a.established() {
		s = Low
	}
	return s
}

func newDestinationWords(a *Alert) words {
	verb := a.reached()
	if !a.allowed() {
		verb = "tried to reach"
	}
	return words{
		title: fmt.Sprintf("%s %s a new destination: %s", a.Server, verb, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for %s, which is not in its baseline%s.", when(a.Last), a.Server, a.target(), comma(a.during())),
			a.outcomeByName(), a.where()),
		expected: a.usual(a.notAmong()),
		why: "A server that does the same work goes to the same few hosts. A new one is what a poisoned update, " +
			"a look-alike package or an instruction hidden in a document looks like from outside. It is also what a new feature looks like.",
		limits: "Exeat doesn't read what is inside the connection, so it can't tell the two apart: " +
			"ask whether this host belongs to what the server is for.",
		next: a.steps(a.approve(fmt.Sprintf("If %s should go there:", a.Server)), a.reject(), a.block(), a.revoke()),
	}
}
