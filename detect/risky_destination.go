package detect

import "fmt"

// riskyDestination is the rule for a host on the list of destinations that are
// often used to take data out or to bring commands in (data/risky.tsv). It
// alerts in every mode, learn included: such a host should not become a habit
// unseen.
//
// Severity: that of the class (see ClassInfo). One step higher when it was let
// through although a person has already approved what this server does; one
// step lower when it was refused.
//
// Blind spots: the list is what was known when it was compiled. Services under
// a host that also has honest traffic can't be listed, since the path is not
// visible: discord.com carries Discord's webhooks, github.com its gists.
func riskyDestination() rule {
	return rule{severity: riskyDestinationSeverity, words: riskyDestinationWords}
}

func riskyDestinationSeverity(a *Alert) Severity {
	s := classInfo(a.Evidence.Risk).Severity
	switch {
	case !a.allowed():
		return s.lower()
	case a.established():
		return s.higher()
	}
	return s
}

func riskyDestinationWords(a *Alert) words {
	info := classInfo(a.Evidence.Risk)
	verb := "reached"
	if !a.allowed() {
		verb = "tried to reach"
	}
	expected := fmt.Sprintf("A person has approved %s for it, and this is not among them.", a.approved())
	return words{
		title: fmt.Sprintf("%s %s %s: %s", a.Server, verb, info.Name, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for %s%s. Exeat's list knows this host as %s.", when(a.Last), a.Server, a.target(), a.during(), info.Name),
			a.outcome(), a.where()),
		expected: a.usual(expected),
		why:      info.Why,
		limits: "The host is only a place: honest programs use it too, and Exeat doesn't read what was sent. " +
			"If nothing in what this server is for needs it, treat what the server knew, its keys and environment included, as lost.",
		next: a.steps(a.approve(fmt.Sprintf("If %s needs it and you know why:", a.Server)), a.reject(), a.seeFlows(), a.revoke()),
	}
}
