package proxy

import (
	"sync/atomic"

	"github.com/exeat/exeat/flow"
)

// Counters are what happened since the proxy was made. They only grow, except
// Open and Waiting, which are counts of now.
type Counters struct {
	Accepted      int64 // connections accepted
	AcceptErrors  int64 // accepting failed, most likely for want of descriptors
	Waiting       int64 // connections now that have not proved who they are
	Evicted       int64 // of them: gave way to newer ones
	Strangers     int64 // came to a loopback listener from elsewhere
	BadRequests   int64 // answered with 400
	HeadTimeouts  int64 // no whole request head in time
	AuthMissing   int64 // asked for a credential
	AuthFailed    int64 // wrong credentials, throttled ones included
	AuthThrottled int64

	Flows        int64 // flows begun
	Tunnels      int64 // tunnels that carried bytes
	Requests     int64 // plain requests that reached an upstream
	Open         int64 // flows open now
	Overloaded   int64 // the record had no room for one more flow
	LimitTunnels int64 // over TunnelsPerServer
	LimitRate    int64 // over ConnectsPerSec
	AlarmsLost   int64 // alarms that could not be made durable
	HelloErrors  int64 // hellos malformed or too long
	HelloTimeout int64 // tunnels in which nobody spoke
	Idle         int64 // flows ended by the idle clock
	Cut          int64 // flows ended by Cut
	Panics       int64 // each ended one connection

	// Refused counts, by reason, the flows that were refused or failed. Every
	// reason that can occur is a key.
	Refused map[flow.Reason]int64
}

// counters are the live form of Counters.
type counters struct {
	accepted, acceptErrors, evicted, strangers, badRequests, headTimeouts atomic.Int64
	authMissing, authFailed, authThrottled                                atomic.Int64
	flows, tunnels, requests, open, overloaded, limitTunnels, limitRate   atomic.Int64
	alarmsLost, helloErrors, helloTimeout, idle, cut, panics              atomic.Int64
	refused                                                               map[flow.Reason]*atomic.Int64
}

func newCounters() *counters {
	c := &counters{refused: make(map[flow.Reason]*atomic.Int64)}
	for _, r := range []flow.Reason{
		flow.ReasonNewDestination, flow.ReasonRiskyDestination, flow.ReasonRejected, flow.ReasonRevoked,
		flow.ReasonSelfAccess, flow.ReasonPrivateAddress, flow.ReasonMetadataAccess, flow.ReasonIPLiteral,
		flow.ReasonSNIMismatch, flow.ReasonNoSNI, flow.ReasonNotTLS, flow.ReasonHiddenName,
		flow.ReasonDNSFailed, flow.ReasonDialFailed, flow.ReasonDialTimeout, flow.ReasonTLSFailed,
		flow.ReasonHelloTimeout, flow.ReasonBadHello, flow.ReasonLimit, flow.ReasonOverloaded,
		flow.ReasonStoreUnavailable,
	} {
		c.refused[r] = new(atomic.Int64)
	}
	return c
}

// refuse counts a refusal. The set of reasons is fixed: a label never comes
// from outside.
func (c *counters) refuse(r flow.Reason) {
	if n := c.refused[r]; n != nil {
		n.Add(1)
	}
}

// ended counts how a flow ended, and the refusal r if it has one.
func (c *counters) ended(e flow.End, r *refusal) {
	switch e {
	case flow.EndIdle:
		c.idle.Add(1)
	case flow.EndRevoked:
		c.cut.Add(1)
	}
	if r != nil {
		c.refuse(r.reason)
	}
}

// Counters returns a snapshot.
func (p *Proxy) Counters() Counters {
	c := p.count
	refused := make(map[flow.Reason]int64, len(c.refused))
	for r, n := range c.refused {
		refused[r] = n.Load()
	}
	return Counters{
		Accepted: c.accepted.Load(), AcceptErrors: c.acceptErrors.Load(), Waiting: int64(p.lobby.len()),
		Evicted: c.evicted.Load(), Strangers: c.strangers.Load(), BadRequests: c.badRequests.Load(),
		HeadTimeouts: c.headTimeouts.Load(),
		AuthMissing:  c.authMissing.Load(), AuthFailed: c.authFailed.Load(), AuthThrottled: c.authThrottled.Load(),
		Flows: c.flows.Load(), Tunnels: c.tunnels.Load(), Requests: c.requests.Load(), Open: c.open.Load(),
		Overloaded: c.overloaded.Load(), LimitTunnels: c.limitTunnels.Load(), LimitRate: c.limitRate.Load(),
		AlarmsLost: c.alarmsLost.Load(), HelloErrors: c.helloErrors.Load(), HelloTimeout: c.helloTimeout.Load(),
		Idle: c.idle.Load(), Cut: c.cut.Load(), Panics: c.panics.Load(),
		Refused: refused,
	}
}
