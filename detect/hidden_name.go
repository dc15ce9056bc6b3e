package detect

import "fmt"

// hiddenName is the rule for a hello with Encrypted Client Hello (RFC 9849)
// whose outer name is not the name that was asked for: the real name is
// readable only to the far side.
//
// Severity: medium when it was let through, low when it was refused.
//
// Blind spots: an outer name that equals the name asked for may hide another
// one as well. A GREASE extension looks like the real one and hides nothing.
func hiddenName() rule {
	return rule{severity: helloSeverity, words: hiddenNameWords}
}

func hiddenNameWords(a *Alert) words {
	return words{
		title: fmt.Sprintf("%s hid which name it meant at %s", a.Server, a.target()),
		seen: join(fmt.Sprintf("%s: %s asked for a connection to %s%s, and its TLS hello had room for an encrypted one (ECH). The name on the outside is %s.",
			when(a.Last), a.Server, a.target(), a.during(), quote(a.Evidence.SNI, 100)),
			helloOutcome(a), a.where()),
		expected: a.usual("Browsers do this; the libraries that servers are written with don't, as a rule."),
		why: "The name that is really meant is encrypted for whoever runs the outer one, often a large network with millions of sites. " +
			"Exeat can't confirm that it is the name that was asked for.",
		limits: "In a server that drives a browser it is a privacy feature. In any other it is also a way to name one host and mean another.",
		next:   a.steps(a.approve(fmt.Sprintf("If %s drives a browser, or you know why it does this, accept it so:", a.Server)), a.seeFlows(), a.block(), a.revoke()),
	}
}
