package proxy

import (
	"fmt"
	"strings"

	"github.com/exeat/exeat/flow"
)

// refusal says why a flow did not come about, to its client and to the record.
type refusal struct {
	status  int // of the HTTP answer
	reason  flow.Reason
	verdict flow.Verdict // Allowed when it was let through and then failed
	why     string       // what went wrong, in words; empty where the reason says it all
}

// Error makes a refusal fit to travel through net/http.
func (r *refusal) Error() string { return string(r.reason) + ": " + r.why }

// judged is the refusal that follows from a decision of policy.
func judged(reason flow.Reason) *refusal {
	return &refusal{status: 403, reason: reason, verdict: flow.Refused}
}

// failed is the refusal of a flow that was allowed and could not be had.
func failed(status int, reason flow.Reason, why string) *refusal {
	return &refusal{status: status, reason: reason, verdict: flow.Allowed, why: why}
}

// end is how the flow ended.
func (r *refusal) end() flow.End {
	if r.verdict == flow.Allowed {
		return flow.EndFailed
	}
	return flow.EndRefused
}

// answer writes a whole HTTP answer that ends the connection. The reason stands
// in the status line too: that is all that Go, Python, Node and Bun show of a
// refused CONNECT.
func answer(status int, phrase string, fields, body string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d exeat: %s\r\n%sContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, printable(phrase), fields, len(body), body)
	return []byte(b.String())
}

// badRequest is the answer to what could not be understood. why never carries
// the input.
func badRequest(status int, why string) []byte {
	return answer(status, why, "X-Exeat-Reason: bad_request\r\n",
		"Exeat refused this request: "+why+".\n"+
			"This port is an HTTP proxy for MCP servers: set HTTPS_PROXY and HTTP_PROXY to its URL, and see 'exeat env --help'.\n")
}

// answer is what the client is told: in the status line, in a field for
// programs, and in two sentences for people: who asked for what and why it was
// refused; what would allow it.
func (s *session) answer(r *refusal) []byte {
	fields := "X-Exeat-Reason: " + string(r.reason) + "\r\n"
	if r.status == 429 || r.status == 503 {
		fields += "Retry-After: 1\r\n"
	}
	what := s.why(r)
	return answer(r.status, string(r.reason)+" "+s.dest().String(), fields,
		fmt.Sprintf("The MCP server %s asked for %s, but %s.\n%s\n", s.flow.Server, s.dest(), what, s.remedy(r)))
}

// why completes "X asked for Y, but".
func (s *session) why(r *refusal) string {
	if r.why != "" {
		return printable(r.why)
	}
	switch r.reason {
	case flow.ReasonNewDestination:
		return "that is not in its baseline and its mode is " + string(s.flow.Mode)
	case flow.ReasonRiskyDestination:
		return "that is a kind of host that data is often smuggled out to, and nobody approved it"
	case flow.ReasonRejected:
		return "a person rejected that destination for it"
	case flow.ReasonRevoked:
		return "the server was revoked"
	case flow.ReasonSelfAccess:
		return "that is Exeat itself"
	case flow.ReasonPrivateAddress:
		return "that is not an address of the public Internet"
	case flow.ReasonMetadataAccess:
		return "that is a cloud metadata service, which hands out credentials"
	case flow.ReasonIPLiteral:
		return "that is a bare address and no name, and nobody approved it"
	default:
		return "it was refused (" + string(r.reason) + ")"
	}
}

// remedy says what would allow the flow, or what to look at.
func (s *session) remedy(r *refusal) string {
	switch r.reason {
	case flow.ReasonRevoked:
		return fmt.Sprintf("To let it out again, enrol it anew: exeat server add %s", s.flow.Server)
	case flow.ReasonSelfAccess:
		return "Nothing allows this: a server must not reach what watches it."
	case flow.ReasonPrivateAddress, flow.ReasonMetadataAccess:
		return "If it should reach that network, name it under network.allow_private in Exeat's configuration."
	case flow.ReasonDNSFailed, flow.ReasonDialFailed, flow.ReasonDialTimeout, flow.ReasonTLSFailed:
		return "Exeat let it through: look at the network or at the destination itself; 'exeat doctor' helps."
	case flow.ReasonLimit:
		return "Try again in a moment, or raise the limits in Exeat's configuration."
	case flow.ReasonOverloaded, flow.ReasonStoreUnavailable:
		return "Try again when Exeat's store can be written: 'exeat doctor' says what is wrong with it."
	}
	return "To allow it: " + printable(s.p.hint(s.flow))
}

// hint is the command or link that would allow f.
func (p *Proxy) hint(f flow.Flow) string {
	if p.cfg.Hint != nil {
		return p.cfg.Hint(f)
	}
	return fmt.Sprintf("exeat baseline approve %s %s", f.Server, f.Destination())
}

// printable keeps the printable ASCII of s, so that nothing in it can end a
// line or move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// TLS alerts (RFC 8446, section 6) that end a tunnel after our 200, when a
// status can't be sent any more.
const (
	alertAccessDenied     = 49
	alertDecodeError      = 50
	alertUnrecognizedName = 112
)

// tlsAlert is a fatal alert as a plaintext record: the client hasn't agreed on
// keys with anyone yet.
func tlsAlert(reason flow.Reason) []byte {
	description := byte(alertAccessDenied)
	switch reason {
	case flow.ReasonSNIMismatch, flow.ReasonNoSNI:
		description = alertUnrecognizedName
	case flow.ReasonBadHello:
		description = alertDecodeError
	}
	return []byte{21, 3, 3, 0, 2, 2, description}
}
