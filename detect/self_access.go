package detect

import "fmt"

// selfAccess is the rule for a server that asks the proxy to connect to Exeat
// itself: its proxy port, dashboard or API, by any name or address. It is
// refused in every mode.
//
// Severity: high.
//
// Blind spots: a direct connection to the dashboard doesn't come through the
// proxy; there the session is the guard.
func selfAccess() rule {
	return rule{
		severity: func(*Alert) Severity { return High },
		words:    selfAccessWords,
	}
}

func selfAccessWords(a *Alert) words {
	return words{
		title:    fmt.Sprintf("%s tried to reach Exeat itself: %s", a.Server, a.target()),
		seen:     join(a.asked(), a.leads("belongs to this machine, and the port is Exeat's own"), a.outcomeAlways()),
		expected: a.usual("No server has a reason to speak to its own supervisor."),
		why: "Exeat's dashboard decides what servers may do. A server that looks for it may want to approve its own destinations " +
			"or read what others do. A sign-in stands in the way there as well.",
		limits: "A server that opens any address it is told to, such as a browser or a fetch tool, can be sent here by a prompt: " +
			"then look at who wrote the prompt.",
		next: a.steps(a.seeFlows(), a.revoke()),
	}
}
