package detect

import "fmt"

// metadataAccess is the rule for the metadata services of cloud providers,
// which hand out the machine's own credentials to whoever asks. It is refused
// in every mode.
//
// Severity: high. It was refused, and cloud libraries ask by themselves.
//
// Blind spots: a metadata service under a public name of its own is a new
// destination. What a server reads without the network (files, environment) is
// not seen at all.
func metadataAccess() rule {
	return rule{
		severity: func(*Alert) Severity { return High },
		words:    metadataAccessWords,
	}
}

func metadataAccessWords(a *Alert) words {
	return words{
		title:    fmt.Sprintf("%s tried to reach the cloud's metadata service: %s", a.Server, a.target()),
		seen:     join(a.asked(), a.leads("is where a cloud machine gets its own credentials"), a.outcomeAlways()),
		expected: a.usual("Hardly any server needs this, and none on a laptop."),
		why: "On a cloud machine whoever can ask that address gets keys that act as the machine itself. " +
			"Tricking a server into asking for them is one of the oldest ways into a cloud account.",
		limits: "The libraries of cloud providers ask on their own when they find no other credentials. " +
			"If this server uses one, that is the likeliest cause.",
		next: a.steps(
			step{"If it uses Amazon's library, give it credentials of its own and stop it from asking, in its environment:", "AWS_EC2_METADATA_DISABLED=true"},
			a.seeFlows(), a.revoke()),
	}
}
