package policy_test

import (
	"net/netip"
	"testing"

	"github.com/exeat/exeat/policy"
)

// at returns addr at the HTTPS port.
func at(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 443) }

func TestClass(t *testing.T) {
	classes := map[policy.AddrClass][]string{
		policy.ClassPublic: {
			"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
			"126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
			"191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0",
			"198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
			"1.0.0.0", "104.16.132.229", "168.63.129.15",
			"2000::", "2001:200::", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1", "2003::", "2400:cb00::1",
			"2606:4700::6810:84e5", "2a00:1450:4001::200e", "2620:4f:8001::", "3fff:1000::", "3ffd::1", "3fff:ffff::1",
			"2600::5efd:102:304", "2600::100:5efe:808:808",
		},
		policy.ClassLoopback: {
			"127.0.0.1", "127.0.0.0", "127.1.2.3", "127.255.255.255", "::1",
			"::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1",
			"2002:7f00:1::", "2002:7f00:1::1", "2001:0:1:2:3:4:80ff:fffe", "2600::5efe:7f00:1", "2600::200:5efe:127.0.0.1",
			"fe80::5efe:127.0.0.1",
		},
		policy.ClassPrivate: {
			"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
			"100.64.0.0", "100.127.255.255", "fc00::", "fd12:3456:789a::1", "fdff:ffff::1", "fec0::1", "feff::1",
			"::ffff:10.1.2.3", "::10.1.2.3", "64:ff9b::10.1.2.3", "2002:0a01:0203::1", "2002:c0a8:1::",
			"64:ff9b:1:a00:1:200::",                // a NAT64 /48: 10.0.1.2
			"2001:0:4136:e378:8000:63bf:3f57:fefe", // Teredo of 192.168.1.1
			"2001:470::5efe:192.168.1.1",
		},
		policy.ClassLinkLocal: {
			"169.254.0.0", "169.254.169.253", "169.254.255.255", "fe80::1", "febf:ffff::1", "fe80::1%eth0",
			"2606:4700::1%eth0", "::ffff:169.254.1.1",
		},
		policy.ClassMetadata: {
			"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.42.42", "100.100.100.200",
			"168.63.129.16", "192.0.0.192",
			"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "fd00:a9fe:a9fe::1",
			"fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0",
			"::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::ffff:0:169.254.169.254", "::169.254.169.254",
			"64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1",
			"2001:0:1:2:3:4:5601:5601", "2606:4700::5efe:169.254.169.254", "::ffff:168.63.129.16", "64:ff9b::100.100.100.200",
		},
		policy.ClassUnspecified: {"0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::", "2002::1"},
		policy.ClassMulticast: {
			"224.0.0.0", "239.255.255.255", "255.255.255.255", "ff02::1", "ff0e::1", "ffff::", "::ffff:224.0.0.1",
		},
		policy.ClassEmbedded: {
			"::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "64:ff9b:dead::8.8.8.8",
			"2002:808:808::1", "2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2606:4700::5efe:8.8.8.8", "2606:4700::200:5efe:8.8.8.8",
		},
		policy.ClassReserved: {
			"0.0.0.1", "0.255.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.255", "192.0.2.0", "192.0.2.255", "192.31.196.1",
			"192.52.193.1", "192.88.99.0", "192.88.99.255", "192.175.48.1", "198.18.0.0", "198.19.255.255", "198.51.100.0",
			"198.51.100.255", "203.0.113.0", "203.0.113.255", "240.0.0.0", "255.255.255.254",
			"::2", "::0.0.0.5", "100::1", "100:0:0:1::1", "1fff:ffff::1", "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff::1",
			"2001:db8::1", "2001:db8:ffff::1", "3ffe::1", "3fff::1", "3fff:fff::1", "2620:4f:8000::1", "4000::1", "5f00::1",
			"8000::1", "fe00::1", "fbff::1",
		},
	}
	g := &policy.Guard{}
	for want, addrs := range classes {
		for _, addr := range addrs {
			if got := g.Class(at(addr)); got != want {
				t.Errorf("Class(%s) = %s, want %s", addr, got, want)
			}
			if permitted := g.Class(at(addr)).Permitted(); permitted != (want == policy.ClassPublic) {
				t.Errorf("%s: permitted is %v", addr, permitted)
			}
		}
	}
	if got := g.Class(netip.AddrPort{}); got != policy.ClassReserved {
		t.Errorf("Class of the invalid address = %s", got)
	}
}

func TestClassAllowPrivate(t *testing.T) {
	rows := []struct {
		name  string
		allow []string
		addr  string
		want  policy.AddrClass
	}{
		{"a private range", []string{"10.0.0.0/8"}, "10.1.2.3", policy.ClassAllowed},
		{"beside the range", []string{"10.0.0.0/8"}, "192.168.1.1", policy.ClassPrivate},
		{"an unmasked prefix", []string{"10.1.2.3/8"}, "10.200.0.1", policy.ClassAllowed},
		{"a documentation range", []string{"203.0.113.0/24"}, "203.0.113.7", policy.ClassAllowed},
		{"loopback", []string{"127.0.0.0/8"}, "127.0.0.1", policy.ClassAllowed},
		{"loopback does not open unspecified", []string{"127.0.0.0/8"}, "0.0.0.0", policy.ClassUnspecified},
		{"IPv4 does not open its mapped form", []string{"10.0.0.0/8"}, "::ffff:10.1.2.3", policy.ClassPrivate},
		{"a public address needs nothing", []string{"8.0.0.0/8"}, "8.8.8.8", policy.ClassPublic},
		{"metadata in its range", []string{"169.254.0.0/16"}, "169.254.169.254", policy.ClassMetadata},
		{"link-local in its range", []string{"169.254.0.0/16"}, "169.254.1.1", policy.ClassAllowed},
		{"metadata in a /31", []string{"169.254.169.254/31"}, "169.254.169.254", policy.ClassMetadata},
		{"metadata by everything", []string{"0.0.0.0/0", "::/0"}, "169.254.169.254", policy.ClassMetadata},
		{"metadata singly", []string{"169.254.169.254/32"}, "169.254.169.254", policy.ClassAllowed},
		{"metadata singly, IPv6", []string{"fd00:ec2::254/128"}, "fd00:ec2::254", policy.ClassAllowed},
		{"metadata in fd00::/8", []string{"fd00::/8"}, "fd00:ec2::254", policy.ClassMetadata},
		{"another metadata address singly", []string{"169.254.170.2/32"}, "169.254.169.254", policy.ClassMetadata},
		{"Azure in a public range", []string{"168.63.0.0/16"}, "168.63.129.16", policy.ClassMetadata},
		{"NAT64 of a public address", []string{"64:ff9b::/96"}, "64:ff9b::8.8.8.8", policy.ClassAllowed},
		{"NAT64 of a private address", []string{"64:ff9b::/96"}, "64:ff9b::10.0.0.1", policy.ClassPrivate},
		{"NAT64 of a private address, opened too", []string{"64:ff9b::/96", "10.0.0.0/8"}, "64:ff9b::10.0.0.1", policy.ClassAllowed},
		{"NAT64 of loopback", []string{"64:ff9b::/96"}, "64:ff9b::127.0.0.1", policy.ClassLoopback},
		{"NAT64 of metadata", []string{"64:ff9b::/96", "169.254.169.254/32"}, "64:ff9b::a9fe:a9fe", policy.ClassMetadata},
		{"a site's NAT64 by /96", []string{"64:ff9b:1::/48"}, "64:ff9b:1::8.8.8.8", policy.ClassAllowed},
		{"a site's NAT64 by /48", []string{"64:ff9b:1::/48"}, "64:ff9b:1:808:8:800::", policy.ClassAllowed},
		{"a site's NAT64 by /56", []string{"64:ff9b:1::/48"}, "64:ff9b:1:8:8:808::", policy.ClassAllowed},
		{"a site's NAT64 by /64", []string{"64:ff9b:1::/48"}, "64:ff9b:1:0:8:808:800:0", policy.ClassAllowed},
		{"a site's NAT64, metadata by /48", []string{"64:ff9b:1::/48"}, "64:ff9b:1:a9fe:a9:fe00:808:808", policy.ClassMetadata},
		{"a site's NAT64, metadata by /56", []string{"64:ff9b:1::/48"}, "64:ff9b:1:8a9:fe:a9fe:808:808", policy.ClassMetadata},
		{"a site's NAT64, private by /64", []string{"64:ff9b:1::/48"}, "64:ff9b:1:0:a:0:100:0", policy.ClassPrivate},
		{"a site's NAT64, one private opened and one not", []string{"64:ff9b:1::/48", "10.0.0.0/8"}, "64:ff9b:1:a00:1:200:c0a8:101", policy.ClassPrivate},
		{"a site's NAT64, private and opened", []string{"64:ff9b:1::/48", "10.0.0.0/8"}, "64:ff9b:1::10.1.2.3", policy.ClassAllowed},
		{"everything: embedded", []string{"::/0"}, "::ffff:192.168.1.1", policy.ClassPrivate},
		{"a zone is never opened", []string{"fe80::/10"}, "fe80::1%eth0", policy.ClassLinkLocal},
		{"link-local without a zone", []string{"fe80::/10"}, "fe80::1", policy.ClassAllowed},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			g := &policy.Guard{}
			for _, p := range r.allow {
				g.AllowPrivate = append(g.AllowPrivate, netip.MustParsePrefix(p))
			}
			if got := g.Class(at(r.addr)); got != r.want {
				t.Errorf("Class(%s) = %s, want %s", r.addr, got, r.want)
			}
		})
	}
}

func TestClassSelf(t *testing.T) {
	g := &policy.Guard{
		OwnPorts: []uint16{7180, 7181},
		Local: []netip.Addr{
			netip.MustParseAddr("192.168.7.7"), netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("fe80::42%eth0"),
		},
		AllowPrivate: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	}
	for _, addr := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "::1", "192.168.7.7", "93.184.216.34", "fe80::42", "fe80::42%eth1",
		"::ffff:127.0.0.1", "::ffff:192.168.7.7", "::ffff:93.184.216.34", "::ffff:0.0.0.0", "::127.0.0.1", "64:ff9b::127.0.0.1",
		"2002:5db8:d822::1", "64:ff9b::192.168.7.7", "2606:4700::5efe:127.0.0.1",
	} {
		for _, port := range g.OwnPorts {
			if got := g.Class(netip.AddrPortFrom(netip.MustParseAddr(addr), port)); got != policy.ClassSelf {
				t.Errorf("%s, port %d: %s, want self", addr, port, got)
			}
		}
		if got := g.Class(at(addr)); got == policy.ClassSelf {
			t.Errorf("%s, port 443 is self, but nothing of ours listens there", addr)
		}
	}
	for _, addr := range []string{"192.168.7.8", "8.8.8.8", "2606:4700::1"} {
		if got := g.Class(netip.AddrPortFrom(netip.MustParseAddr(addr), 7180)); got == policy.ClassSelf {
			t.Errorf("%s is self", addr)
		}
	}
}

// FuzzClass holds Class against the property that counts: an address that is
// not public stays so in whatever form it is written into an IPv6 address.
func FuzzClass(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, []byte{0x26, 6, 0x47, 0, 0, 0, 0, 1}, uint16(443))
	f.Add([]byte{169, 254, 169, 254}, []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0}, uint16(80))
	f.Add([]byte{8, 8, 8, 8}, []byte{0x2a, 0, 0, 0, 0, 0, 0, 0}, uint16(7180))
	f.Add([]byte{192, 0, 0, 192}, []byte{0, 0x64, 0xff, 0x9b, 0, 1, 0, 0}, uint16(1))
	guards := []*policy.Guard{
		{},
		{OwnPorts: []uint16{7180}},
		{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("::/0")}, OwnPorts: []uint16{7180}},
	}
	f.Fuzz(func(t *testing.T, four, prefix []byte, port uint16) {
		if len(four) != 4 || len(prefix) != 8 {
			return
		}
		v4, p := netip.AddrFrom4([4]byte(four)), [8]byte(prefix)
		for _, g := range guards {
			for form, a := range forms(v4.As4(), p) {
				embeds(t, g, form, netip.AddrPortFrom(a, port), netip.AddrPortFrom(v4, port))
			}
			for _, a := range siteForms(v4.As4(), p) {
				plain := g.Class(netip.AddrPortFrom(v4, port))
				if got := g.Class(netip.AddrPortFrom(a, port)); got.Permitted() && !plain.Permitted() && four[0] != 0 {
					t.Fatalf("%s is %s, but a translator may take it for %s, which is %s", a, got, v4, plain)
				}
			}
		}
		var b [16]byte
		copy(b[:], prefix)
		copy(b[12:], four)
		a := netip.AddrFrom16(b)
		if guards[0].Class(netip.AddrPortFrom(a, port)) == policy.ClassPublic && b[0]>>5 != 1 {
			t.Fatalf("%s is outside 2000::/3 and public", a)
		}
	})
}

// embeds fails if a guard is kinder to an address than to the one that it
// stands for.
func embeds(t *testing.T, g *policy.Guard, form string, a, v4 netip.AddrPort) {
	t.Helper()
	got, plain := g.Class(a), g.Class(v4)
	switch {
	case got == policy.ClassPublic:
		t.Fatalf("%s of %s is public: %s", form, v4, a)
	case got.Permitted() && !plain.Permitted():
		t.Fatalf("%s of %s is %s, %s itself is %s", form, v4, got, v4, plain)
	case !plain.Permitted() && got != plain:
		t.Fatalf("%s of %s is called %s and not %s", form, v4, got, plain)
	}
}

// forms returns the IPv6 addresses that stand for v4, under a prefix where one
// can be chosen.
func forms(v4 [4]byte, prefix [8]byte) map[string]netip.Addr {
	tail := func(head ...byte) netip.Addr {
		var b [16]byte
		copy(b[:], head)
		copy(b[12:], v4[:])
		return netip.AddrFrom16(b)
	}
	var teredo, sixToFour [16]byte
	copy(teredo[:], []byte{0x20, 0x01, 0, 0})
	copy(sixToFour[:], []byte{0x20, 0x02, v4[0], v4[1], v4[2], v4[3]})
	copy(sixToFour[6:], prefix[:])
	for i, c := range v4 {
		teredo[12+i] = ^c
	}
	all := map[string]netip.Addr{
		"IPv4-mapped":     tail(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff),
		"IPv4-translated": tail(0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0),
		"NAT64":           tail(0, 0x64, 0xff, 0x9b),
		"Teredo":          netip.AddrFrom16(teredo),
		"6to4":            netip.AddrFrom16(sixToFour),
	}
	if v4 != [4]byte{} { // which at the end of 64:ff9b:1::/48 says that it stands elsewhere
		all["NAT64 of a site"] = tail(0, 0x64, 0xff, 0x9b, 0, 1)
	}
	if v4 != [4]byte{} && v4 != [4]byte{0, 0, 0, 1} { // :: and ::1 stand for themselves
		all["IPv4-compatible"] = tail()
	}
	if prefix[0]>>5 == 1 && (prefix[0] != 0x20 || prefix[1] > 2) {
		all["ISATAP"] = tail(append(prefix[:], 0, 0, 0x5e, 0xfe)...)
		all["ISATAP, universal"] = tail(append(prefix[:], 2, 0, 0x5e, 0xfe)...)
	}
	return all
}

// siteForms returns the addresses of 64:ff9b:1::/48 that stand for v4 by some
// prefix that a site may have chosen, with noise in all the other bits.
func siteForms(v4 [4]byte, noise [8]byte) []netip.Addr {
	var all []netip.Addr
	for _, at := range [][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}} {
		b := [16]byte{0, 0x64, 0xff, 0x9b, 0, 1, noise[0], noise[1], 0, noise[2], noise[3], noise[4], noise[5], noise[6], noise[7], noise[0]}
		for i, place := range at {
			b[place] = v4[i]
		}
		all = append(all, netip.AddrFrom16(b))
	}
	return all
}
