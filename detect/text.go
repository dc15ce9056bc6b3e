package detect

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// rule is what one kind knows: how grave an alert is and how to say it.
type rule struct {
	severity func(a *Alert) Severity
	words    func(a *Alert) words
}

// words are the texts of an alert, in the order in which they are read.
type words struct {
	title    string // one line
	seen     string // what was seen, and what came of it
	expected string // what was usual, and since when
	why      string // why it matters
	limits   string // what this can't tell
	next     []step
}

// step is one way to go on.
type step struct {
	when    string // a sentence that ends in a colon
	command string
}

// ruleOf returns the rule of a kind.
func ruleOf(k Kind) rule {
	switch k {
	case NewDestination:
		return newDestination()
	case RiskyDestination:
		return riskyDestination()
	case SNIMismatch:
		return sniMismatch()
	case NoSNI:
		return noSNI()
	case NotTLS:
		return notTLS()
	case HiddenName:
		return hiddenName()
	case IPLiteral:
		return ipLiteral()
	case PrivateAddress:
		return privateAddress()
	case MetadataAccess:
		return metadataAccess()
	case SelfAccess:
		return selfAccess()
	case AuthFailures:
		return authFailures()
	}
	return otherKind()
}

// otherKind is the rule for a kind without one: see New.
func otherKind() rule {
	return rule{
		severity: func(*Alert) Severity { return Medium },
		words: func(a *Alert) words {
			return words{
				title:    fmt.Sprintf("%s and %s: %s", a.Server, a.target(), plain(string(a.Kind), 64)),
				seen:     join(a.asked(), a.outcome()),
				expected: a.usual(""),
				next:     a.steps(a.seeFlows(), a.revoke()),
			}
		},
	}
}

// write sets the three texts from the other fields.
func (a *Alert) write() {
	w := ruleOf(a.Kind).words(a)
	a.Title = w.title
	a.Explanation = paragraphs(join(w.seen, a.repeats()), w.expected, w.why, w.limits)
	lines := make([]string, 0, 2*len(w.next))
	for _, s := range w.next {
		lines = append(lines, s.when, "  "+s.command)
	}
	a.Next = strings.Join(lines, "\n")
}

// repeats says how often it happened, when that is more than once.
func (a *Alert) repeats() string {
	if a.Count < 2 || a.Kind == AuthFailures {
		return ""
	}
	what := a.Family
	if what == AllFamilies {
		what = "more destinations than can be listed one by one"
	}
	return fmt.Sprintf("That makes %d times for %s since %s.", a.Count, what, when(a.First))
}

// target is the latest destination as a person reads it.
func (a *Alert) target() string {
	return flow.Destination{Host: a.Host, Port: a.Port}.String()
}

// asked begins most explanations.
func (a *Alert) asked() string {
	return fmt.Sprintf("%s: %s asked for %s%s.", when(a.Last), a.Server, a.target(), a.during())
}

// during says what the server was doing.
func (a *Alert) during() string {
	switch p := a.Evidence.Phase; {
	case a.Evidence.Tool != "":
		return " during a call of its tool " + quote(a.Evidence.Tool, 64)
	case p == "startup":
		return " while it was starting"
	case p == "idle":
		return " while no tool call was under way"
	}
	return ""
}

// comma puts a comma before a phrase that there is.
func comma(phrase string) string {
	if phrase == "" {
		return ""
	}
	return "," + phrase
}

// outcome says what came of the latest event.
func (a *Alert) outcome() string {
	if a.Verdict == flow.Refused {
		return "Exeat refused it."
	}
	switch a.Evidence.Mode {
	case identity.ModeLearn:
		return fmt.Sprintf("Exeat let it through, because %s is in learn mode, which refuses almost nothing.", a.Server)
	case identity.ModeAlert:
		return fmt.Sprintf("Exeat let it through, because %s is in alert mode, which warns and doesn't refuse.", a.Server)
	}
	return "Exeat let it through."
}

// outcomeByName is outcome for what is decided by the destination alone.
func (a *Alert) outcomeByName() string {
	if a.allowed() {
		return a.outcome()
	}
	if _, err := netip.ParseAddr(a.Host); err == nil {
		return "Exeat refused it. Nothing left this machine."
	}
	return "Exeat refused it. Nothing left this machine, not even a DNS query for the name."
}

// reached says what became of something that was let through: an alert is
// stored before anybody knows whether the connection comes about.
func (a *Alert) reached() string {
	if a.Evidence.IP.IsValid() {
		return "reached"
	}
	return "asked for"
}

// outcomeAlways is outcome for addresses that are refused in every mode. A name
// may have others beside them, which the connection then went to.
func (a *Alert) outcomeAlways() string {
	if a.allowed() {
		return "Exeat kept away from that address, as it does in every mode, and used another one that the name has."
	}
	return "Exeat refused it, as it does in every mode. No connection was made."
}

// usual says since when the server is known and how much of it is approved,
// followed by more.
func (a *Alert) usual(more string) string {
	k := a.Evidence.Known
	var s string
	if !k.Since.IsZero() {
		s = fmt.Sprintf("%s has been known here since %s.", a.Server, k.Since.UTC().Format(time.DateOnly))
	}
	return join(s, more)
}

// notAmong says that the destination is none of those that were approved.
func (a *Alert) notAmong() string {
	switch n := a.Evidence.Known.Approved; n {
	case 0:
		return "Nothing has been approved for it yet, so every destination is still new."
	case 1:
		return "A person has approved 1 destination for it, and this is not that one."
	default:
		return fmt.Sprintf("A person has approved %d destinations for it, and this is none of them.", n)
	}
}

// established reports whether a person has approved anything for the server:
// before that, everything is new and nothing is unusual.
func (a *Alert) established() bool { return a.Evidence.Known.Approved > 0 }

// allowed reports whether the latest event was let through.
func (a *Alert) allowed() bool { return a.Verdict == flow.Allowed }

// where says in which network the address lies, or "" when that isn't known.
func (a *Alert) where() string {
	place := networkOf(a.Place)
	if place == "" {
		return ""
	}
	if !a.Evidence.IP.IsValid() {
		return fmt.Sprintf("The address it led to lies in %s.", place)
	}
	if a.Evidence.IP.String() == a.Host {
		return fmt.Sprintf("%s lies in %s.", a.Host, place)
	}
	return fmt.Sprintf("The address that it led to, %s, lies in %s.", a.Evidence.IP, place)
}

// networkOf names a network: "AS64500 Example Ltd (NL)".
func networkOf(p flow.Place) string {
	var parts []string
	if p.ASN != 0 {
		parts = append(parts, "AS"+strconv.FormatUint(uint64(p.ASN), 10))
	}
	if p.Org != "" {
		parts = append(parts, plain(p.Org, 64))
	}
	if p.Country != "" {
		parts = append(parts, "("+plain(p.Country, 2)+")")
	}
	return strings.Join(parts, " ")
}

// steps adds to what a kind proposes the step that every alert has.
func (a *Alert) steps(steps ...step) []step {
	var out []step
	for _, s := range steps {
		if s.command != "" {
			out = append(out, s)
		}
	}
	return append(out, step{"When you have seen to it:", "exeat alerts ack " + a.ID.String()})
}

func (a *Alert) approve(when string) step {
	command := fmt.Sprintf("exeat baseline approve %s %s", a.ref(), a.argument())
	switch a.Kind {
	case NoSNI:
		command += " --grade " + string(flow.GradeNoSNI)
	case NotTLS:
		command += " --grade " + string(flow.GradeNotTLS)
	case HiddenName:
		command += " --grade " + string(flow.GradeHidden)
	}
	return step{when, command}
}

func (a *Alert) reject() step {
	return step{"If it shouldn't, refuse it in every mode from now on:",
		fmt.Sprintf("exeat baseline reject %s %s", a.ref(), a.argument())}
}

func (a *Alert) revoke() step {
	return step{fmt.Sprintf("If you no longer trust %s, cut it off now, open connections included:", a.Server),
		fmt.Sprintf("exeat server revoke %s", a.ref())}
}

func (a *Alert) seeFlows() step {
	return step{"To see these connections:",
		fmt.Sprintf("exeat flows --server %s --host %s", a.ref(), a.Host)}
}

// block proposes the mode that would have refused it, where it was let through.
func (a *Alert) block() step {
	if !a.allowed() {
		return step{}
	}
	return step{fmt.Sprintf("To let %s reach only what you have approved:", a.Server), fmt.Sprintf("exeat server mode %s block", a.ref())}
}

// ref is how commands name the server: two people may have one of the same name.
func (a *Alert) ref() string { return identity.Server{Owner: a.Owner, Name: a.Server}.Ref() }

// argument is the destination as an argument for a shell: brackets are quoted.
func (a *Alert) argument() string {
	t := a.target()
	if strings.HasPrefix(t, "[") {
		return "'" + t + "'"
	}
	return t
}

// when is a time as the texts show it.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// quote returns s, which somebody hostile may have chosen, in quotes, in ASCII
// and cut to max bytes of itself.
func quote(s string, max int) string {
	cut := clip(s, max)
	q := strconv.QuoteToASCII(cut)
	if len(cut) < len(s) {
		return q + " (cut)"
	}
	return q
}

// plain returns s, which somebody else chose, without quotes: Latin letters,
// digits, spaces and ASCII punctuation stay, all else becomes "?", so that it
// can neither control a terminal nor turn the direction of the text.
func plain(s string, max int) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= ' ' && r <= '~':
			return r
		case unicode.Is(unicode.Latin, r):
			return r
		}
		return '?'
	}, clip(s, max))
}

// join puts sentences into one paragraph, leaving out empty ones.
func join(sentences ...string) string { return joinBy(" ", sentences) }

// paragraphs puts paragraphs into one text, leaving out empty ones.
func paragraphs(texts ...string) string { return joinBy("\n\n", texts) }

func joinBy(sep string, parts []string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}
