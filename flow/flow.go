// Package flow has the words for one outbound connection: where it wanted to
// go (Destination), what was decided and why (Verdict, Reason), how well it
// can be attributed (Grade), when in its server's life it happened (Phase),
// where its address lies (Place), and all of that together (Flow).
//
// The most important function here is ParseDestination. A destination is made
// canonical once, at the door, and the same value is then matched, resolved,
// dialled, compared with the SNI, stored and shown. Nearly every published
// proxy bypass is two readers of one string who disagree; there is one reader.
package flow

import (
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
)

// Verdict is what was decided about a connection.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed"
	Refused Verdict = "refused"
)

// Reason says why, in one stable word. A refused client meets it in the
// X-Exeat-Reason header. Where an alert exists for the same cause, the reason
// and the alert's kind are the same word.
type Reason string

// Why a connection was let through.
const (
	// ReasonApproved: the baseline holds it.
	ReasonApproved Reason = "approved"
	// ReasonLearning: not in the baseline, and the server is in learn mode.
	ReasonLearning Reason = "learning"
)

// Why a connection was refused, or let through with an alert.
const (
	ReasonNewDestination   Reason = "new_destination"
	ReasonRiskyDestination Reason = "risky_destination"
	ReasonRejected         Reason = "rejected"
	ReasonRevoked          Reason = "revoked"
	ReasonSelfAccess       Reason = "self_access"
	ReasonPrivateAddress   Reason = "private_address"
	ReasonMetadataAccess   Reason = "metadata_access"
	ReasonIPLiteral        Reason = "ip_literal"
	ReasonSNIMismatch      Reason = "sni_mismatch"
	ReasonNoSNI            Reason = "no_sni"
	ReasonNotTLS           Reason = "not_tls"
	ReasonHiddenName       Reason = "hidden_name"
)

// Why a connection that was allowed did not come about, or was refused without
// anyone having judged it.
const (
	ReasonBadRequest       Reason = "bad_request"
	ReasonAuthFailed       Reason = "auth_failed"
	ReasonDNSFailed        Reason = "dns_failed"
	ReasonDialFailed       Reason = "dial_failed"
	ReasonDialTimeout      Reason = "dial_timeout"
	ReasonTLSFailed        Reason = "tls_failed"
	ReasonHelloTimeout     Reason = "hello_timeout"
	ReasonBadHello         Reason = "bad_hello"
	ReasonLimit            Reason = "limit"
	ReasonOverloaded       Reason = "overloaded"
	ReasonStoreUnavailable Reason = "store_unavailable"
)

// Grade says how firmly a flow's name is tied to where its bytes went.
type Grade string

// The grades, best first. The empty grade means that it never came so far.
const (
	// GradeVerified: the name asked for is the SNI, and the address dialled
	// came from our own resolution of that name. Plain HTTP through the proxy
	// is verified as well: the proxy itself spoke to the name.
	GradeVerified   Grade = "verified"
	GradeNoSNI      Grade = "no_sni"
	GradeSNIDiffers Grade = "sni_differs"
	GradeCaptured   Grade = "captured"
	GradeIPLiteral  Grade = "ip_literal"
	GradeNotTLS     Grade = "not_tls"
	GradeHidden     Grade = "hidden"
)

// Phase is what the server was doing when the flow opened: "startup", "idle",
// "tool:NAME" or "unknown".
type Phase string

// PhaseUnknown is the phase of a server that wasn't launched by exeat run, or
// whose stdio is not watched.
const PhaseUnknown Phase = "unknown"

// Method is the form in which the client asked.
type Method string

// The methods.
const (
	// MethodConnect: a CONNECT tunnel.
	MethodConnect Method = "connect"
	// MethodHTTP: an absolute-form request for http://.
	MethodHTTP Method = "http"
	// MethodHTTPS: an absolute-form request for https://, where the client
	// left TLS to us (axios before 1.16 does).
	MethodHTTPS Method = "https"
)

// End says how a flow ended. The empty value means that it is still open.
type End string

// The ends.
const (
	EndClient   End = "client"   // the client closed first
	EndServer   End = "server"   // the upstream closed first
	EndIdle     End = "idle"     // no byte either way for the idle timeout
	EndError    End = "error"    // a reset or another error
	EndRefused  End = "refused"  // never opened: see the reason
	EndFailed   End = "failed"   // allowed, but resolving, dialling or TLS failed
	EndRevoked  End = "revoked"  // cut because the server or its credential was revoked
	EndShutdown End = "shutdown" // Exeat stopped
	EndLost     End = "lost"     // Exeat died while it was open; marked at the next start
)

// Place is where an address lies, as far as it is known. The zero value knows
// nothing and is valid.
type Place struct {
	ASN     uint32 // autonomous system number; 0: unknown
	Org     string // the organisation that announces it
	Country string // ISO 3166-1 alpha-2; of the network, not of a machine
}

// Flow is one outbound connection of one server. It is a value; who holds a
// Flow owns it. Chain and ALPN are never written to after they were set.
type Flow struct {
	ID       uuid.UUID
	ServerID identity.ID
	Server   identity.Name
	Owner    string
	Mode     identity.Mode // the server's mode when it was decided

	Opened time.Time
	Closed time.Time // zero while it is open

	Method Method
	Host   string // Destination.Host: canonical name or address
	Port   uint16
	Chain  []string   // the CNAMEs from Host to the address, in order; at most 10
	IP     netip.Addr // the address dialled; invalid when none was
	Place  Place

	SNI  string
	ALPN []string
	JA4  string
	ECH  bool // the hello carries encrypted_client_hello, real or GREASE

	Grade Grade
	Phase Phase
	Tool  string // the tool of the call it happened in; several are joined by ","

	// BytesUp and BytesDown count what was carried inside the tunnel (the
	// hello included), or the bodies of a plain request and its answer.
	BytesUp, BytesDown int64

	Verdict Verdict
	Reason  Reason
	End     End
}

// Destination returns where the flow wanted to go.
func (f *Flow) Destination() Destination { return Destination{Host: f.Host, Port: f.Port} }
