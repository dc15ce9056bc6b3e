package web

import (
	"fmt"
	"html/template"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// funcs are what templates may call. None returns template.HTML or any other
// type that would switch escaping off.
func (s *Server) funcs() template.FuncMap {
	return template.FuncMap{
		"short":     short,
		"asset":     s.assetURL,
		"ago":       func(t time.Time) string { return ago(t, s.now()) },
		"exact":     exact,
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"bytes":     humanBytes,
		"count":     func(v any) string { return humanCount(whole(v)) },
		"took":      took,
		"mode":      modeWords,
		"coverage":  coverageWords,
		"grade":     gradeWords,
		"reason":    reasonWords,
		"kind":      kindWords,
		"severity":  severityWords,
		"state":     stateWords,
		"ending":    endWords,
		"cardHere":  func(c alertCard, here string) cardHere { return cardHere{Card: c, Here: here} },
		"join":      func(sep string, v []string) string { return strings.Join(v, sep) },
		"actor":     actorWords,
		"clip":      func(n int, v string) string { return clip(v, n) },
		"prose":     prose,
		"steps":     steps,
		"plural":    func(v any, one, many string) string { return plural(whole(v), one, many) },
		"serverURL": serverURL,
		"serverAct": serverAct,
	}
}

// visible replaces what a reader can't see or what reorders what they read:
// controls, bidirectional overrides and isolates, zero-width and tag
// characters, private use. A rendered page holds none of these but line feed
// and tab, so that it can be done once, to the whole page.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp):
		return unicode.ReplacementChar
	}
	return r
}

// ago says how long ago t was, coarsely.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + span(-d)
	case d < 5*time.Second:
		return "now"
	case d < 60*24*time.Hour:
		return span(d) + " ago"
	}
	return t.UTC().Format("2 Jan 2006")
}

// span is a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " d"
}

func exact(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// took is how long a flow was open.
func took(from, until time.Time) string {
	if until.IsZero() {
		return "open"
	}
	d := until.Sub(from)
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return strconv.Itoa(int(d/time.Millisecond)) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return span(d)
}

// humanBytes uses decimal units, as network people do.
func humanBytes(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, units := float64(n)/1000, "kMGTP"
	for v >= 999.5 && len(units) > 1 {
		v, units = v/1000, units[1:]
	}
	prec := 0
	if v < 9.95 {
		prec = 1
	}
	return strconv.FormatFloat(v, 'f', prec, 64) + " " + units[:1] + "B"
}

// humanCount groups digits by three with a narrow space.
func humanCount[T ~int | ~int64](n T) string {
	text := strconv.FormatInt(int64(n), 10)
	if len(text) <= 4 {
		return text
	}
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// prose takes an alert's text apart into paragraphs.
func prose(text string) []string {
	var out []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// step is one thing to do: what for, and the command that does it.
type step struct{ Text, Command string }

// steps takes an alert's next steps apart: a sentence a line, and below it its
// command, indented by two spaces.
func steps(text string) []step {
	var out []step
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "":
		case strings.HasPrefix(line, "  ") && len(out) > 0 && out[len(out)-1].Command == "":
			out[len(out)-1].Command = trimmed
		default:
			out = append(out, step{Text: trimmed})
		}
	}
	return out
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanCount(n) + " " + many
}

// words is how something is shown: a sign that isn't a colour, its name, what
// it means, and the CSS class of its tone.
type words struct {
	Sign, Name, Means, Tone string
}

func modeWords(m identity.Mode) words {
	switch m {
	case identity.ModeLearn:
		return words{"◌", "learn", "Lets everything through and collects candidates. Risky destinations alert all the same.", "quiet"}
	case identity.ModeAlert:
		return words{"◐", "alert", "Lets everything through and raises an alert for what the baseline doesn't hold.", "accent"}
	case identity.ModeBlock:
		return words{"●", "block", "Refuses what the baseline doesn't hold, and raises an alert.", "accent"}
	}
	return words{"?", string(m), "", "quiet"}
}

func coverageWords(c identity.Coverage) words {
	switch c {
	case identity.CoverageSealed:
		return words{"▣", "sealed", "Nothing can leave this server but through Exeat. What you see here is all there is.", "good"}
	case identity.CoverageCovered:
		return words{"✓", "covered", "Exeat launched this server, and all of its traffic seen so far came through here. It honours the proxy by choice: a program that wanted to could still go past it.", "good"}
	case identity.CoverageSilent:
		return words{"–", "silent", "Exeat launched this server, and nothing has come through yet. Either it had no reason to call out, or it ignores the proxy. Use it once and look again.", "quiet"}
	case identity.CoverageBypassing:
		return words{"!", "bypassing", "Direct connections of this server were seen. What is shown here is not all that it does, and its baseline says less than it seems.", "bad"}
	case identity.CoverageBlind:
		return words{"?", "blind", "Exeat did not launch this server, so that what goes past the proxy can't be known. What is shown here is true, but it need not be everything.", "warn"}
	}
	return words{"?", string(c), "", "quiet"}
}

func gradeWords(g flow.Grade) words {
	switch g {
	case flow.GradeVerified:
		return words{"✓", "verified", "The name asked for is the name in the TLS hello, and the address came from Exeat's own resolution of it.", "good"}
	case flow.GradeNoSNI:
		return words{"∅", "no SNI", "The TLS hello carries no server name, so nothing confirms the name that was asked for.", "warn"}
	case flow.GradeSNIDiffers:
		return words{"≠", "SNI differs", "The TLS hello names another host than the one that was asked for.", "bad"}
	case flow.GradeCaptured:
		return words{"⊂", "captured", "Caught in a sealed server; the name comes from SNI and from DNS answers given to it.", "quiet"}
	case flow.GradeIPLiteral:
		return words{"#", "IP literal", "An address was asked for and no name.", "warn"}
	case flow.GradeNotTLS:
		return words{"≁", "not TLS", "What came through the tunnel is not TLS.", "warn"}
	case flow.GradeHidden:
		return words{"◑", "hidden name", "Encrypted ClientHello hides the name, and the outer name is another one.", "warn"}
	case "":
		return words{"·", "—", "It never came so far that anything could be attributed.", "quiet"}
	}
	return words{"?", string(g), "", "quiet"}
}

func stateWords(st baseline.State) words {
	switch st {
	case baseline.Approved:
		return words{"✓", "approved", "The baseline holds it: it is let through.", "good"}
	case baseline.Rejected:
		return words{"✕", "rejected", "Refused in every mode.", "bad"}
	case baseline.Candidate:
		return words{"◌", "candidate", "Seen, and not decided yet.", "quiet"}
	}
	return words{"·", "not in baseline", "Seen, but nothing about it was kept in the baseline.", "quiet"}
}

func severityWords(v detect.Severity) words {
	switch v {
	case detect.Critical:
		return words{"▲▲", "critical", "", "bad"}
	case detect.High:
		return words{"▲", "high", "", "bad"}
	case detect.Medium:
		return words{"◆", "medium", "", "warn"}
	case detect.Low:
		return words{"▽", "low", "", "quiet"}
	}
	return words{"·", string(v), "", "quiet"}
}

// reasonWords are the reasons in short; the stable words stay in the API.
func reasonWords(r flow.Reason) string {
	switch r {
	case flow.ReasonDNSFailed:
		return "DNS failed"
	case flow.ReasonTLSFailed:
		return "TLS failed"
	case flow.ReasonSNIMismatch:
		return "SNI differs"
	case flow.ReasonNoSNI:
		return "no SNI"
	case flow.ReasonNotTLS:
		return "not TLS"
	case flow.ReasonIPLiteral:
		return "IP literal"
	}
	return strings.ReplaceAll(string(r), "_", " ")
}

func kindWords(k detect.Kind) string { return reasonWords(flow.Reason(k)) }

func endWords(e flow.End) string {
	switch e {
	case "":
		return "still open"
	case flow.EndClient:
		return "the server closed it"
	case flow.EndServer:
		return "the far side closed it"
	case flow.EndIdle:
		return "nothing was sent for too long"
	case flow.EndError:
		return "a connection error"
	case flow.EndRefused:
		return "it was refused"
	case flow.EndFailed:
		return "it could not be reached"
	case flow.EndRevoked:
		return "cut: the credential was revoked"
	case flow.EndShutdown:
		return "Exeat stopped"
	case flow.EndLost:
		return "Exeat died while it was open"
	}
	return string(e)
}

// actorWords says who did something.
func actorWords(a string) string {
	kind, id, ok := strings.Cut(a, ":")
	if !ok {
		return a
	}
	switch kind {
	case "cli":
		return "command line, user " + id
	case "run":
		return "exeat run, user " + id
	case "web":
		return "dashboard, session " + clip(id, 6)
	case "token":
		return "API token " + clip(id, 6)
	}
	return a
}

// whole is a template's number, whatever its size.
func whole(v any) int64 {
	if r := reflect.ValueOf(v); r.CanInt() {
		return r.Int()
	}
	return 0
}

// serverAct is where a form does something to a server.
func serverAct(name identity.Name, owner, act string) string {
	page, query, ok := strings.Cut(serverURL(name, owner), "?")
	if ok {
		query = "?" + query
	}
	return page + "/" + act + query
}

// serverURL is the address of a server's page.
func serverURL(name identity.Name, owner string) string {
	u := "/servers/" + string(name)
	if owner != "" {
		u += "?owner=" + template.URLQueryEscaper(owner)
	}
	return u
}

// browserName makes a User-Agent into a few words for the list of sessions.
func browserName(agent string) string {
	pick := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return ""
	}
	browser := pick("Firefox/", "Firefox", "Edg/", "Edge", "OPR/", "Opera", "Chrome/", "Chrome", "Safari/", "Safari", "curl/", "curl")
	system := pick("Windows", "Windows", "Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Mac OS X", "macOS", "Linux", "Linux")
	switch {
	case browser == "":
		return "A browser"
	case system == "":
		return browser
	}
	return fmt.Sprintf("%s on %s", browser, system)
}
