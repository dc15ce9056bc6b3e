package policy

import (
	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Decide answers one of the three questions of a connection's walk. Which one
// it is shows in the evidence:
//
//	the name     Addr is invalid and Grade is empty: nothing was resolved yet
//	the address  Addr is valid: what is about to be dialled
//	the hello    Grade is set: what the client's first bytes showed
//
// All three are asked, in this order and with what was known before, as long
// as the answer is Allowed; each address that may be dialled is asked about by
// itself. The first match wins:
//
//  1. a revoked server is refused;
//  2. Exeat itself, metadata services and whatever else is not public is
//     refused in every mode, approved or not, with an alarm;
//  3. a rejected entry is refused in every mode, without an alarm: a person
//     has seen it and decided;
//  4. an approved entry is let through;
//  5. a risky destination and an IP literal raise an alarm in every mode, and
//     are refused in block mode;
//  6. anything else is new: learn lets it through, alert lets it through with
//     an alarm, block refuses it with an alarm.
//
// The hello is judged after that. An SNI that contradicts the name is an alarm
// in every mode and refused in block mode, approved or not. A missing SNI,
// another protocol than TLS, or a hidden name is let through in learn mode,
// let through with an alarm in alert mode, and refused with an alarm in block
// mode, unless the entry was approved with that grade. A hidden name is an
// alarm in learn mode too: it differs from the name asked for, and an empty
// ECH extension would else make any contradiction one that nobody hears of.
//
// An alarm is only due once. An answer that refuses carries it, since no
// earlier one can have refused; an answer that allows carries it only for what
// is new to that question: the name at the first, what the hello shows at the
// third. Without news, the third answer has the reason of the first, so that
// the latest answer's reason is always the flow's.
//
// A mode that is none of the known ones is taken as block: no fault lowers a
// mode. Decide does not allocate.
func Decide(g *Guard, e Evidence) Decision {
	d := decideName(g, e)
	if d.Verdict == flow.Refused {
		return d
	}
	if e.Grade != "" {
		if h, news := decideHello(e); news {
			return h
		}
	}
	if e.Addr.IsValid() || e.Grade != "" {
		d.Alarm = false
	}
	return d
}

// decideName judges who wants to go where: everything but the hello.
func decideName(g *Guard, e Evidence) Decision {
	if e.Revoked {
		return Decision{Verdict: flow.Refused, Reason: flow.ReasonRevoked}
	}
	if reason := forbidden(g.judge(e.Dest, e.Addr)); reason != "" {
		return Decision{Verdict: flow.Refused, Reason: reason, Alarm: true}
	}
	switch e.Match.State {
	case baseline.Rejected:
		return Decision{Verdict: flow.Refused, Reason: flow.ReasonRejected}
	case baseline.Approved:
		return Decision{Verdict: flow.Allowed, Reason: flow.ReasonApproved}
	}
	if e.Risk != "" {
		return Decision{Verdict: unlessBlock(e.Mode), Reason: flow.ReasonRiskyDestination, Alarm: true}
	}
	if _, literal := e.Dest.Addr(); literal {
		return Decision{Verdict: unlessBlock(e.Mode), Reason: flow.ReasonIPLiteral, Alarm: true}
	}
	if e.Mode == identity.ModeLearn {
		return Decision{Verdict: flow.Allowed, Reason: flow.ReasonLearning}
	}
	return Decision{Verdict: unlessBlock(e.Mode), Reason: flow.ReasonNewDestination, Alarm: true}
}

// decideHello judges what the hello adds, and reports whether it adds anything.
func decideHello(e Evidence) (Decision, bool) {
	var reason flow.Reason
	switch e.Grade {
	case flow.GradeSNIDiffers:
		return Decision{Verdict: unlessBlock(e.Mode), Reason: flow.ReasonSNIMismatch, Alarm: true}, true
	case flow.GradeNoSNI:
		reason = flow.ReasonNoSNI
	case flow.GradeNotTLS:
		reason = flow.ReasonNotTLS
	case flow.GradeHidden:
		reason = flow.ReasonHiddenName
	default:
		// Verified is as it should be, and that it is an IP literal was
		// judged by the name.
		return Decision{}, false
	}
	accepted := e.Match.State == baseline.Approved && e.Match.Grades.Has(e.Grade)
	if accepted || e.Mode == identity.ModeLearn && e.Grade != flow.GradeHidden {
		return Decision{}, false
	}
	return Decision{Verdict: unlessBlock(e.Mode), Reason: reason, Alarm: true}, true
}

// forbidden returns why addresses of a class are refused, or "".
func forbidden(c AddrClass) flow.Reason {
	switch c {
	case "", ClassPublic, ClassAllowed:
		return ""
	case ClassSelf:
		return flow.ReasonSelfAccess
	case ClassMetadata:
		return flow.ReasonMetadataAccess
	}
	return flow.ReasonPrivateAddress
}

// unlessBlock is the verdict on what only block mode refuses.
func unlessBlock(m identity.Mode) flow.Verdict {
	if m == identity.ModeLearn || m == identity.ModeAlert {
		return flow.Allowed
	}
	return flow.Refused
}
