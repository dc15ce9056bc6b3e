package policy

import (
	"net/netip"
	"slices"

	"github.com/exeat/exeat/flow"
)

// Class returns what kind of place ap is. The dial guard of a connection asks
//
//	g.Class(ap).Permitted()
//
// once more for exactly the address that it is about to connect to.
//
// AllowPrivate makes an address ClassAllowed, with three exceptions. Exeat's
// own ports stay ClassSelf. A metadata address stays ClassMetadata unless a
// prefix names it alone. And an IPv6 address that stands for an IPv4 address
// (NAT64, say) is opened only if that address may be reached as well, and each
// that it may stand for: a prefix for a translator is no way round the guard.
//
// Class does not allocate.
func (g *Guard) Class(ap netip.AddrPort) AddrClass {
	a := ap.Addr()
	c := classify(a)
	if c != ClassPublic || len(g.Local) > 0 {
		if slices.Contains(g.OwnPorts, ap.Port()) && g.here(a) {
			return ClassSelf
		}
	}
	if c == ClassPublic || !g.opens(a, c == ClassMetadata) {
		return c
	}
	v4s, n := embedded(a)
	for _, v4 := range v4s[:n] {
		if !g.Class(netip.AddrPortFrom(v4, ap.Port())).Permitted() {
			return c
		}
	}
	return ClassAllowed
}

// here reports whether a is an address of this machine, or stands for one.
func (g *Guard) here(a netip.Addr) bool {
	v4s, n := embedded(a)
	if slices.ContainsFunc(v4s[:n], g.here) {
		return true
	}
	// Local addresses may come with a zone, which has no say in who they are.
	plain := a.WithZone("")
	return plain.IsLoopback() || plain.IsUnspecified() ||
		slices.ContainsFunc(g.Local, func(l netip.Addr) bool { return l.WithZone("").Unmap() == plain })
}

// opens reports whether AllowPrivate has a, or has it alone. Contains never
// finds an address with a zone.
func (g *Guard) opens(a netip.Addr, alone bool) bool {
	for _, p := range g.AllowPrivate {
		if p.Contains(a) && (!alone || p.IsSingleIP()) {
			return true
		}
	}
	return false
}

// judge returns the class of what is known of where a connection goes: the
// address, if there is one, or else the destination itself, if it is an
// address or a name that is known to be none of the public Internet's. The
// empty class says that only resolving will tell.
func (g *Guard) judge(d flow.Destination, addr netip.Addr) AddrClass {
	if addr.IsValid() {
		return g.Class(netip.AddrPortFrom(addr, d.Port))
	}
	if literal, ok := d.Addr(); ok {
		return g.Class(netip.AddrPortFrom(literal, d.Port))
	}
	c, v4, v6 := nameClass(d.Host)
	if c == "" {
		return ""
	}
	by4, by6 := g.Class(netip.AddrPortFrom(v4, d.Port)), g.Class(netip.AddrPortFrom(v6, d.Port))
	switch {
	case by4 == ClassSelf || by6 == ClassSelf:
		return ClassSelf
	case by4.Permitted() || by6.Permitted():
		return "" // it was opened: resolve it, and judge what comes
	}
	return c
}
