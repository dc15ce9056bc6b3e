// Package policy decides. Decide is one pure function that is asked three times
// during the walk of a connection, with growing evidence: who and which name;
// then also which address; then also what the ClientHello shows. The address
// guard beside it knows which addresses are the public Internet.
//
// Nothing here does I/O, keeps state or reads a clock, and a decision
// allocates nothing.
package policy

import (
	"net/netip"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Evidence is what is known about a connection so far. Fields that are not
// known yet are left zero.
type Evidence struct {
	Mode    identity.Mode
	Revoked bool
	Dest    flow.Destination
	// Match is what the server's baseline says of Dest.
	Match baseline.Match
	// Risk is the class of Dest in the list of risky destinations; empty: none.
	Risk string
	// Addr is the address about to be dialled; invalid before resolution.
	Addr netip.Addr
	// Grade is what the first bytes of the client showed; empty before they
	// came. See GradeOf.
	Grade flow.Grade
}

// Decision is what follows from Evidence.
type Decision struct {
	Verdict flow.Verdict
	Reason  flow.Reason
	// Alarm says that an alert of the kind named by Reason is due. If Verdict
	// is Allowed, it must be durable before the walk takes its next step.
	Alarm bool
}

// Guard knows which addresses may be dialled. It is immutable once in use; the
// zero value lets the public Internet through and nothing else.
type Guard struct {
	// AllowPrivate are prefixes that may be reached although they are not
	// public. A metadata address is only reached if a prefix names it alone
	// (/32 or /128).
	AllowPrivate []netip.Prefix
	// OwnPorts are the TCP ports that Exeat itself listens on. They are refused
	// on every address of this machine, AllowPrivate or not.
	OwnPorts []uint16
	// Local are the addresses of this machine's interfaces. Loopback and
	// unspecified addresses count as local without being listed.
	Local []netip.Addr
}
