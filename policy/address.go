package policy

import (
	"encoding/binary"
	"net/netip"
)

// AddrClass says what kind of place an address is. Only the classes that
// Permitted reports may be dialled.
type AddrClass string

// The classes of addresses.
const (
	// ClassPublic: an ordinary address of the public Internet.
	ClassPublic AddrClass = "public"
	// ClassAllowed: not public, and opened by Guard.AllowPrivate.
	ClassAllowed AddrClass = "allowed"
	// ClassSelf: one of Exeat's own ports on this machine.
	ClassSelf AddrClass = "self"
	// ClassMetadata: a cloud's metadata or credential service.
	ClassMetadata AddrClass = "metadata"
	// ClassLoopback: this machine (127.0.0.0/8, ::1).
	ClassLoopback AddrClass = "loopback"
	// ClassPrivate: RFC 1918, RFC 4193, RFC 6598 (carrier-grade NAT) and the
	// deprecated site-local fec0::/10.
	ClassPrivate AddrClass = "private"
	// ClassLinkLocal: 169.254.0.0/16, fe80::/10, and whatever has a zone.
	ClassLinkLocal AddrClass = "link_local"
	// ClassUnspecified: 0.0.0.0 and ::, which connect to this machine.
	ClassUnspecified AddrClass = "unspecified"
	// ClassMulticast: multicast and broadcast.
	ClassMulticast AddrClass = "multicast"
	// ClassEmbedded: an IPv6 address that stands for an IPv4 address which by
	// itself would be public: IPv4-mapped, IPv4-compatible, NAT64, 6to4,
	// Teredo, ISATAP. Where it leads depends on a translator and not on us.
	ClassEmbedded AddrClass = "embedded"
	// ClassReserved: everything else, the invalid address included.
	ClassReserved AddrClass = "reserved"
)

// Permitted reports whether addresses of this class may be dialled.
func (c AddrClass) Permitted() bool { return c == ClassPublic || c == ClassAllowed }

// classify returns the class of an address by itself: never ClassSelf and never
// ClassAllowed. It lists what is public and calls everything else something
// else, so that a range that nobody thought of is refused.
func classify(a netip.Addr) AddrClass {
	switch {
	case !a.IsValid():
		return ClassReserved
	case isMetadata(a):
		return ClassMetadata
	case a.Is4():
		return classify4(a)
	}
	if v4s, n := embedded(a); n > 0 {
		return classifyEmbedded(v4s[:n])
	}
	return classify6(a)
}

// classifyEmbedded is classify for what an IPv6 address may stand for: the
// class of the first that is not public, and that of a metadata service first
// of all, because it takes more to open one.
func classifyEmbedded(v4s []netip.Addr) AddrClass {
	worst := ClassEmbedded
	for _, a := range v4s {
		if isMetadata(a) {
			return ClassMetadata
		}
		if c := classify4(a); c != ClassPublic && worst == ClassEmbedded {
			worst = c
		}
	}
	return worst
}

// classify4 holds IPv4 against the IANA IPv4 Special-Purpose Address Registry
// (https://www.iana.org/assignments/iana-ipv4-special-registry/) and the IPv4
// Multicast registry. An address in no entry is public. Entries that the
// registry calls globally reachable (AS112, AMT, PCP and TURN anycast) are no
// destination that a server needs, and are not public here.
func classify4(a netip.Addr) AddrClass {
	b := a.As4()
	ip := binary.BigEndian.Uint32(b[:])
	switch {
	case ip == 0:
		return ClassUnspecified
	case in4(ip, 127, 0, 0, 0, 8):
		return ClassLoopback
	case in4(ip, 10, 0, 0, 0, 8), in4(ip, 172, 16, 0, 0, 12), in4(ip, 192, 168, 0, 0, 16), in4(ip, 100, 64, 0, 0, 10):
		return ClassPrivate
	case in4(ip, 169, 254, 0, 0, 16):
		return ClassLinkLocal
	case in4(ip, 224, 0, 0, 0, 4), ip == 1<<32-1:
		return ClassMulticast
	case reserved4(ip):
		return ClassReserved
	}
	return ClassPublic
}

// reserved4 has the entries of the IANA registry that have no class of their own.
func reserved4(ip uint32) bool {
	return in4(ip, 0, 0, 0, 0, 8) || // "this network", RFC 791
		in4(ip, 192, 0, 0, 0, 24) || // IETF protocol assignments, RFC 6890
		in4(ip, 192, 0, 2, 0, 24) || // TEST-NET-1, RFC 5737
		in4(ip, 192, 31, 196, 0, 24) || // AS112-v4, RFC 7535
		in4(ip, 192, 52, 193, 0, 24) || // AMT, RFC 7450
		in4(ip, 192, 88, 99, 0, 24) || // 6to4 relay anycast, RFC 7526
		in4(ip, 192, 175, 48, 0, 24) || // direct delegation AS112, RFC 7534
		in4(ip, 198, 18, 0, 0, 15) || // benchmarking, RFC 2544
		in4(ip, 198, 51, 100, 0, 24) || // TEST-NET-2, RFC 5737
		in4(ip, 203, 0, 113, 0, 24) || // TEST-NET-3, RFC 5737
		in4(ip, 240, 0, 0, 0, 4) // reserved, RFC 1112
}

func in4(ip uint32, a, b, c, d byte, bits int) bool {
	prefix := uint32(a)<<24 | uint32(b)<<16 | uint32(c)<<8 | uint32(d)
	return (ip^prefix)>>(32-bits) == 0
}

// classify6 holds an IPv6 address without an embedded IPv4 address against the
// allow-list: 2000::/3, the one block that IANA gives out as global unicast
// (https://www.iana.org/assignments/ipv6-address-space/), less the entries
// inside it of the IPv6 Special-Purpose Address Registry.
func classify6(a netip.Addr) AddrClass {
	if a.Zone() != "" {
		return ClassLinkLocal
	}
	b := a.As16()
	hi := binary.BigEndian.Uint64(b[:8])
	switch {
	case a.IsUnspecified():
		return ClassUnspecified
	case a.IsLoopback():
		return ClassLoopback
	case in6(hi, 0xfe80<<48, 10):
		return ClassLinkLocal
	case in6(hi, 0xfc00<<48, 7), in6(hi, 0xfec0<<48, 10):
		return ClassPrivate
	case in6(hi, 0xff00<<48, 8):
		return ClassMulticast
	case in6(hi, 0x2000<<48, 3) && !reserved6(hi):
		return ClassPublic
	}
	return ClassReserved
}

// reserved6 has what is special inside 2000::/3. hi are the upper 64 bits.
func reserved6(hi uint64) bool {
	return in6(hi, 0x2001<<48, 23) || // IETF protocol assignments, RFC 2928
		in6(hi, 0x2001_0db8<<32, 32) || // documentation, RFC 3849
		in6(hi, 0x2002<<48, 16) || // 6to4, RFC 3056
		in6(hi, 0x2620_004f_8000<<16, 48) || // direct delegation AS112, RFC 7534
		in6(hi, 0x3ffe<<48, 16) || // 6bone, given back, RFC 3701
		in6(hi, 0x3fff<<48, 20) // documentation, RFC 9637
}

func in6(hi, prefix uint64, bits int) bool { return (hi^prefix)>>(64-bits) == 0 }

// embedded returns the n IPv4 addresses that an IPv6 address may stand for, in
// each form in which some kernel, translator or tunnel would send to it. Only a
// NAT64 of a site's own leaves more than one to choose from:
//
//	::ffff:a.b.c.d         IPv4-mapped, RFC 4291 section 2.5.5.2
//	::ffff:0:a.b.c.d       IPv4-translated (SIIT), RFC 2765
//	::a.b.c.d              IPv4-compatible, RFC 4291 section 2.5.5.1
//	64:ff9b::a.b.c.d       NAT64, RFC 6052
//	64:ff9b:1::/48         NAT64 of a site's own, RFC 8215
//	2002:aabb:ccdd::/48    6to4, RFC 3056
//	2001:0:…               Teredo, RFC 4380: the client's address, inverted
//	…:[02]00:5efe:a.b.c.d  ISATAP, RFC 5214, under any prefix
func embedded(a netip.Addr) (v4s [4]netip.Addr, n int) {
	if !a.Is6() {
		return v4s, 0
	}
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if in6(hi, 0x0064_ff9b_0001<<16, 48) {
		return siteNAT64(b)
	}
	v4 := [4]byte(b[12:])
	switch {
	case hi == 0 && (lo>>32 == 0x0000_ffff || lo>>32 == 0xffff_0000):
	case hi == 0 && lo>>32 == 0:
		if lo <= 1 { // :: and ::1 stand for themselves
			return v4s, 0
		}
	case in6(hi, 0x0064_ff9b<<32, 32):
	case in6(hi, 0x2002<<48, 16):
		v4 = [4]byte(b[2:6])
	case in6(hi, 0x2001_0000<<32, 32):
		v4 = [4]byte{^b[12], ^b[13], ^b[14], ^b[15]}
	case lo>>32 == 0x0000_5efe, lo>>32 == 0x0200_5efe:
	default:
		return v4s, 0
	}
	v4s[0] = netip.AddrFrom4(v4)
	return v4s, 1
}

// siteNAT64 returns what an address of 64:ff9b:1::/48 may stand for. In it a
// site may choose a prefix of 48, 56, 64 or 96 bits, and RFC 6052 (section 2.2)
// puts the IPv4 address elsewhere in each; those of 32 and 40 bits don't fit.
// Which one was chosen can't be seen, and a translator ignores what follows the
// IPv4 address, so each is returned. Left out is what begins with the octet 0,
// unless nothing else is left: no packet goes to 0.0.0.0/8 (RFC 1122, section
// 3.2.1.3), and the usual prefixes are filled up with zeros. What remains errs
// on the side of refusing.
func siteNAT64(b [16]byte) (v4s [4]netip.Addr, n int) {
	last := [4]byte(b[12:])
	for _, v4 := range [...][4]byte{last, {b[6], b[7], b[9], b[10]}, {b[7], b[9], b[10], b[11]}, [4]byte(b[9:13])} {
		if v4[0] != 0 {
			v4s[n] = netip.AddrFrom4(v4)
			n++
		}
	}
	if n == 0 {
		v4s[0], n = netip.AddrFrom4(last), 1
	}
	return v4s, n
}
