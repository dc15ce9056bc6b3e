package identity

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// What one client address may get wrong before it is throttled: a burst, then
// one attempt an interval.
const (
	failureBurst    = 10
	failureInterval = 6 * time.Second
)

// throttleCells bounds the memory of a throttle at 32 KiB, however many
// addresses fail.
const throttleCells = 4096

// throttle counts failed attempts by client address with the generic cell rate
// algorithm (ITU-T I.371, annex A.2): each cell holds one instant, the
// theoretical arrival time of the next failure. Addresses share the cells by a
// keyed hash and nothing is ever evicted. A shared cell can only throttle a
// wrong token sooner, and throttling never concerns a right one, so sharing
// does no harm. All methods are safe for concurrent use and lock nothing.
type throttle struct {
	seed  maphash.Seed
	cells [throttleCells]atomic.Int64 // Unix nanoseconds
}

func newThrottle() *throttle { return &throttle{seed: maphash.MakeSeed()} }

// fail notes a failed attempt and reports whether there were too many.
func (t *throttle) fail(from netip.Addr, now time.Time) bool {
	cell := &t.cells[maphash.Comparable(t.seed, client(from))%throttleCells]
	at := now.UnixNano()
	for {
		old := cell.Load()
		next := max(old, at)
		if full := at + int64(failureBurst*failureInterval); next > full {
			// The clock was set back. Nobody is throttled for longer than a
			// full burst would have it.
			cell.CompareAndSwap(old, full)
			return true
		}
		if next-at > int64((failureBurst-1)*failureInterval) {
			return true
		}
		if cell.CompareAndSwap(old, next+int64(failureInterval)) {
			return false
		}
	}
}

// client returns whom an address stands for: an IPv6 client has its whole /64
// to choose from (RFC 6177).
func client(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		p, _ := from.Prefix(64) // 64 fits every IPv6 address
		return p.Addr()
	}
	return from
}
