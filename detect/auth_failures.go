package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Thresholds of auth_failures, in failures counted by the caller's window.
const (
	authAlertFrom = 5
	authHighFrom  = 100
)

// NewAuthFailures is the rule for wrong credentials: count failures from one
// address that claimed one server's name since the last alert about them. An
// alert is due from five on; serverID is zero when no server has that name, and
// claimed is empty when what was sent is no name. It is one alert for an
// address and a server; Merge adds the counts.
//
// Severity: high when a server that exists was tried a hundred times or more,
// which is guessing; medium when it exists; low when it doesn't.
//
// Blind spots: on one machine every client comes from the same loopback
// address, so who it was can't be told. A token that was stolen is not wrong.
func NewAuthFailures(claimed identity.Name, serverID identity.ID, from netip.Addr, count int64, now time.Time) (Alert, bool) {
	if count < authAlertFrom {
		return Alert{}, false
	}
	client := from.Unmap().WithZone("").String()
	a := Alert{
		ID: newID(now), Kind: AuthFailures,
		ServerID: serverID, Server: claimed,
		Family: client, Host: client,
		First: now, Last: now, Count: count, Status: Open,
		Verdict: flow.Refused,
	}
	a.Severity = ruleOf(a.Kind).severity(&a)
	a.write()
	return a, true
}

func authFailures() rule {
	return rule{severity: authFailuresSeverity, words: authFailuresWords}
}

func authFailuresSeverity(a *Alert) Severity {
	switch {
	case a.ServerID == identity.ID{}:
		return Low
	case a.Count >= authHighFrom:
		return High
	}
	return Medium
}

func authFailuresWords(a *Alert) words {
	claimed := "no server's name"
	var next []step
	expected := "No server has that name here, so there is nothing that a token could have opened."
	switch {
	case a.ServerID != identity.ID{}:
		claimed = string(a.Server)
		expected = fmt.Sprintf("The right token for %s goes on working: wrong ones are slowed down and never lock it out.", a.Server)
		next = []step{
			{fmt.Sprintf("If %s was given an old proxy URL, or its token may have leaked, make a new one:", a.Server), fmt.Sprintf("exeat server rotate %s", a.Server)},
			{fmt.Sprintf("To see when %s itself last came through:", a.Server), fmt.Sprintf("exeat server show %s", a.Server)},
		}
	case a.Server != "":
		claimed = fmt.Sprintf("%s, which is no server's name", a.Server)
		next = []step{{"If that server should exist, enrol it and give it the URL that this prints:", fmt.Sprintf("exeat server add %s", a.Server)}}
	}
	span := "at " + when(a.Last)
	if first, last := when(a.First), when(a.Last); first != last {
		span = fmt.Sprintf("between %s and %s", first, last)
	}
	return words{
		title:    fmt.Sprintf("Wrong credentials for %s, %d times from %s", claimed, a.Count, a.Host),
		seen:     fmt.Sprintf("A client at %s showed the proxy wrong credentials %d times %s, for %s. Each attempt was answered with 407, and nothing was let through.", a.Host, a.Count, span, claimed),
		expected: expected,
		why: "Mostly this is a program that still has an old proxy URL. It can also be a program that looks for a way out under another server's name, " +
			"so that its traffic would be taken for that server's.",
		limits: authLimits(a.Host),
		next:   a.steps(next...),
	}
}

func authLimits(client string) string {
	if addr, err := netip.ParseAddr(client); err == nil && addr.IsLoopback() {
		return "Every program on this machine comes from that address, so Exeat can't say which one it was."
	}
	return "Exeat sees the address, and not which program or person is behind it."
}
