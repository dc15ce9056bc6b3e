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
	verb := a.reached()
	if !a.allowed() {
		verb = "tried to reach"
	}
	limits := "The host is only a place: honest programs use it too, and Exeat doesn't read what is sent."
	if a.allowed() {
		limits += fmt.Sprintf(" If nothing that %s is for needs it, change the keys that it holds.", a.Server)
	}
	return words{
		title: fmt.Sprintf("%s %s %s: %s", a.Server, verb, info.Name, a.target()),
		seen: join(a.asked(), fmt.Sprintf("Exeat's list knows this host as %s.", info.Name),
			a.outcomeByName(), a.where()),
		expected: a.usual(a.notAmong()),
		why:      info.Why,
		limits:   limits,
		next:     a.steps(a.approve(fmt.Sprintf("If %s needs it and you know why:", a.Server)), a.reject(), a.seeFlows(), a.revoke()),
	}
}
