package flow_test

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/exeat/exeat/flow"
)

var (
	label63 = strings.Repeat("a", 63)
	number  = regexp.MustCompile(`^(0x[0-9a-f]*|[0-9]+)$`)
	name253 = strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
)

// accepted are targets and the one form in which they go on.
var accepted = []struct{ in, host string }{
	{"example.com:443", "example.com"},
	{"Example.COM:443", "example.com"},
	{"example.com.:443", "example.com"},
	{"localhost:443", "localhost"},
	{"_dmarc.example.com:443", "_dmarc.example.com"},
	{"r3---sn-abc.example.com:443", "r3---sn-abc.example.com"},
	{"xn--bcher-kva.example:443", "xn--bcher-kva.example"},
	{"XN--BCHER-KVA.example:443", "xn--bcher-kva.example"},
	{"1e100.example:443", "1e100.example"},
	{"123.example:443", "123.example"},
	{"1.2.3.4.example:443", "1.2.3.4.example"},
	{"face:443", "face"},
	{"0xg:443", "0xg"},
	{"dead.beef:443", "dead.beef"},
	{label63 + ".example:443", label63 + ".example"},
	{name253 + ":443", name253},
	{name253 + ".:443", name253},
	{"192.0.2.1:443", "192.0.2.1"},
	{"192.0.2.1.:443", "192.0.2.1"},
	{"[2001:db8::1]:443", "2001:db8::1"},
	{"[2001:DB8:0:0:0:0:0:1]:443", "2001:db8::1"},
	{"[::]:443", "::"},
	// Embedded IPv4 stays visible: the guard refuses it under its own name.
	{"[::ffff:192.0.2.1]:443", "::ffff:192.0.2.1"},
	{"[::ffff:c000:201]:443", "::ffff:192.0.2.1"},
	{"[64:ff9b::192.0.2.1]:443", "64:ff9b::c000:201"},
}

// refused are targets that some reader takes for another place than the next
// one does, and those that are nothing at all.
var refused = []struct {
	why, in string
	err     error
}{
	{"no port", "example.com", flow.ErrNoPort},
	{"nothing", "", flow.ErrNoPort},
	{"no port, address in brackets", "[2001:db8::1]", flow.ErrBadPort},
	{"empty port", "example.com:", flow.ErrBadPort},
	{"port 0", "example.com:0", flow.ErrBadPort},
	{"leading zero", "example.com:0443", flow.ErrBadPort},
	{"port 65536", "example.com:65536", flow.ErrBadPort},
	{"wraps round to 443", "example.com:65979", flow.ErrBadPort},
	{"wraps round in 64 bits", "example.com:18446744073709552059", flow.ErrBadPort},
	{"signed", "example.com:+443", flow.ErrBadPort},
	{"negative", "example.com:-443", flow.ErrBadPort},
	{"hexadecimal port", "example.com:0x1bb", flow.ErrBadPort},
	{"port by name", "example.com:https", flow.ErrBadPort},
	{"space before the port", "example.com: 443", flow.ErrBadPort},
	{"space after the port", "example.com:443 ", flow.ErrBadPort},
	{"Arabic digits", "example.com:٤٤٣", flow.ErrBadPort},
	{"path after the port", "example.com:443/", flow.ErrBadPort},

	{"empty host", ":443", flow.ErrBadHost},
	{"only a dot", ".:443", flow.ErrBadHost},
	{"two dots at the end", "example.com..:443", flow.ErrBadHost},
	{"leading dot", ".example.com:443", flow.ErrBadHost},
	{"empty label", "example..com:443", flow.ErrBadHost},
	{"label of 64", label63 + "a.example:443", flow.ErrBadHost},
	{"name of 254", "c" + name253 + ":443", flow.ErrBadHost},
	{"leading hyphen", "-example.com:443", flow.ErrBadHost},
	{"trailing hyphen", "example-.com:443", flow.ErrBadHost},
	{"wildcard", "*.example.com:443", flow.ErrBadHost},

	{"NUL", "evil.example\x00.good.example:443", flow.ErrBadHost},
	{"NUL at the end", "good.example\x00:443", flow.ErrBadHost},
	{"line feed", "good.example\n:443", flow.ErrBadHost},
	{"header injection", "good.example\r\nX: y:443", flow.ErrBadHost},
	{"tab", "good.example\t:443", flow.ErrBadHost},
	{"space", "good.example :443", flow.ErrBadHost},
	{"leading space", " good.example:443", flow.ErrBadHost},
	{"escape sequence", "\x1b[2Jgood.example:443", flow.ErrBadHost},
	{"DEL", "good\x7f.example:443", flow.ErrBadHost},
	{"byte beyond ASCII", "good\xff.example:443", flow.ErrBadHost},

	{"userinfo", "user@good.example:443", flow.ErrBadHost},
	{"userinfo with password", "good.example:443@evil.example:443", flow.ErrBadHost},
	{"scheme", "https://good.example:443", flow.ErrBadHost},
	{"slash", "good.example/evil.example:443", flow.ErrBadHost},
	{"backslash", "good.example\\evil.example:443", flow.ErrBadHost},
	{"query", "good.example?evil.example:443", flow.ErrBadHost},
	{"fragment", "good.example#evil.example:443", flow.ErrBadHost},
	{"percent-encoded dot", "good%2eexample:443", flow.ErrBadHost},
	{"percent-encoded NUL", "good.example%00:443", flow.ErrBadHost},
	{"comma", "good.example,evil.example:443", flow.ErrBadHost},
	{"two ports", "good.example:80:443", flow.ErrBadHost},
	{"quotes", "\"good.example\":443", flow.ErrBadHost},

	{"U-label", "bücher.example:443", flow.ErrBadHost},
	{"Cyrillic look-alike", "gооd.example:443", flow.ErrBadHost},
	{"fullwidth letters", "ｇｏｏｄ.example:443", flow.ErrBadHost},
	{"fullwidth dot", "good．example:443", flow.ErrBadHost},
	{"ideographic dot", "good。example:443", flow.ErrBadHost},
	{"Kelvin sign", "\u212aelvin.example:443", flow.ErrBadHost},
	{"dotless i", "lıve.example:443", flow.ErrBadHost},
	{"soft hyphen", "go\u00adod.example:443", flow.ErrBadHost},
	{"zero width space", "good\u200b.example:443", flow.ErrBadHost},
	{"right-to-left override", "good\u202e.example:443", flow.ErrBadHost},
	{"becomes a slash in NFKC", "evil.example℀good.example:443", flow.ErrBadHost},
	{"circled digits", "①②⑦.0.0.1:443", flow.ErrBadHost},

	{"one decimal number", "2130706433:443", flow.ErrBadHost},
	{"one hexadecimal number", "0x7f000001:443", flow.ErrBadHost},
	{"one octal number", "017700000001:443", flow.ErrBadHost},
	{"two parts", "127.1:443", flow.ErrBadHost},
	{"three parts", "127.0.1:443", flow.ErrBadHost},
	{"five parts", "127.0.0.0.1:443", flow.ErrBadHost},
	{"octal parts", "0177.0.0.1:443", flow.ErrBadHost},
	{"leading zero", "127.0.0.01:443", flow.ErrBadHost},
	{"hexadecimal part", "127.0.0.0x1:443", flow.ErrBadHost},
	{"upper-case hexadecimal", "127.0.0.0X1:443", flow.ErrBadHost},
	{"hexadecimal without digits", "127.0.0.0x:443", flow.ErrBadHost},
	{"part of 256", "127.0.0.256:443", flow.ErrBadHost},
	{"number as last label", "example.1:443", flow.ErrBadHost},
	{"hexadecimal last label", "example.0x7f:443", flow.ErrBadHost},
	{"zero", "0:443", flow.ErrBadHost},

	{"IPv6 without brackets", "2001:db8::1:443", flow.ErrBadHost},
	{"IPv4 in brackets", "[192.0.2.1]:443", flow.ErrBadHost},
	{"name in brackets", "[good.example]:443", flow.ErrBadHost},
	{"empty brackets", "[]:443", flow.ErrBadHost},
	{"brackets in brackets", "[[::1]]:443", flow.ErrBadHost},
	{"bracket only opened", "[::1:443", flow.ErrBadHost},
	{"bracket only closed", "::1]:443", flow.ErrBadHost},
	{"more before the bracket", "evil.example[::1]:443", flow.ErrBadHost},
	{"more after the bracket", "[::1]evil.example:443", flow.ErrBadHost},
	{"dot after the bracket", "[::1].:443", flow.ErrBadHost},
	{"zone", "[fe80::1%eth0]:443", flow.ErrBadHost},
	{"encoded zone", "[fe80::1%25eth0]:443", flow.ErrBadHost},
	{"empty zone", "[fe80::1%]:443", flow.ErrBadHost},
	{"zone on a global address", "[2001:db8::1%1]:443", flow.ErrBadHost},
	{"IPvFuture", "[v1.fe80::a]:443", flow.ErrBadHost},
	{"octal in embedded IPv4", "[::ffff:0177.0.0.1]:443", flow.ErrBadHost},
	{"two compressions", "[2001::db8::1]:443", flow.ErrBadHost},
	{"space in brackets", "[ ::1]:443", flow.ErrBadHost},
}

func TestParseDestinationAccepts(t *testing.T) {
	for _, test := range accepted {
		got, err := flow.ParseDestination(test.in)
		if want := (flow.Destination{Host: test.host, Port: 443}); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", test.in, got, err, want)
			continue
		}
		checkCanonical(t, got)
	}
}

func TestParseDestinationRefuses(t *testing.T) {
	for _, test := range refused {
		t.Run(test.why, func(t *testing.T) {
			got, err := flow.ParseDestination(test.in)
			if !errors.Is(err, test.err) || !got.IsZero() {
				t.Errorf("%q: got %v, %v; want %v", test.in, got, err, test.err)
			}
			if err != nil && test.in != "" && strings.Contains(err.Error(), test.in) {
				t.Errorf("the error carries the input: %v", err)
			}
		})
	}
}

func TestParseHostTakesNoPort(t *testing.T) {
	for in, want := range map[string]string{
		"Example.com.": "example.com",
		"2001:DB8::1":  "2001:db8::1",
		"192.0.2.1":    "192.0.2.1",
	} {
		if got, err := flow.ParseHost(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"example.com:443", "[::1]", "[::1]:443", "::1.", "fe80::1%1", "", "*"} {
		if got, err := flow.ParseHost(in); !errors.Is(err, flow.ErrBadHost) || got != "" {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

func TestParsePort(t *testing.T) {
	for n := range 65536 {
		got, err := flow.ParsePort(strconv.Itoa(n))
		if n == 0 && err == nil || n > 0 && (err != nil || int(got) != n) {
			t.Fatalf("%d: got %d, %v", n, got, err)
		}
	}
}

func TestAddrAndString(t *testing.T) {
	tests := []struct {
		host, text string
		addr       bool
	}{
		{"192.0.2.1", "192.0.2.1:443", true},
		{"2001:db8::1", "[2001:db8::1]:443", true},
		{"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:443", true},
		{"face", "face:443", false},
		{"1.example", "1.example:443", false},
		{"example.a1", "example.a1:443", false},
		{"1.a1", "1.a1:443", false},
		{"", ":443", false},
	}
	for _, test := range tests {
		d := flow.Destination{Host: test.host, Port: 443}
		if addr, ok := d.Addr(); ok != test.addr || ok && addr.String() != test.host {
			t.Errorf("%q: got %v, %v", test.host, addr, ok)
		}
		if d.String() != test.text {
			t.Errorf("got %q, want %q", d.String(), test.text)
		}
	}
}

// TestAddrOfANameAllocatesNothing: policy asks it for each connection.
func TestAddrOfANameAllocatesNothing(t *testing.T) {
	d := flow.Destination{Host: "api.example.com", Port: 443}
	if n := testing.AllocsPerRun(100, func() { _, _ = d.Addr() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, test := range accepted {
		f.Add(test.in)
	}
	for _, test := range refused {
		f.Add(test.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d, err := flow.ParseDestination(in)
		if err != nil {
			if !d.IsZero() {
				t.Fatalf("%q: %v, and yet %v", in, err, d)
			}
			return
		}
		checkCanonical(t, d)
		checkOtherReader(t, in, d)
	})
}

// checkCanonical: the form is a fixed point, has plain bytes only, and a name
// is an address to no reader.
func checkCanonical(t *testing.T, d flow.Destination) {
	t.Helper()
	if again, err := flow.ParseDestination(d.String()); err != nil || again != d {
		t.Errorf("%v parses to %v, %v", d, again, err)
	}
	if again, err := flow.ParseHost(d.Host); err != nil || again != d.Host {
		t.Errorf("%q parses to %q, %v", d.Host, again, err)
	}
	if d.Port == 0 || len(d.Host) > 253 || strings.Trim(d.Host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:") != "" {
		t.Errorf("%+v is not canonical", d)
	}
	host, port, err := net.SplitHostPort(d.String())
	if err != nil || host != d.Host || port != strconv.Itoa(int(d.Port)) {
		t.Errorf("net reads %q, %q, %v in %v", host, port, err, d)
	}
	addr, isAddr := d.Addr()
	if isAddr {
		if addr.String() != d.Host || addr.Zone() != "" {
			t.Errorf("%q is the address %v", d.Host, addr)
		}
		return
	}
	if addr, err := netip.ParseAddr(d.Host); err == nil {
		t.Errorf("the name %q is the address %v", d.Host, addr)
	}
	if strings.Contains(d.Host, ":") || classic(d.Host) {
		t.Errorf("the name %q is an address to inet_aton", d.Host)
	}
}

// classic reports whether inet_aton would take s: one to four numbers, decimal,
// octal or hexadecimal.
func classic(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if !number.MatchString(part) {
			return false
		}
	}
	return len(parts) <= 4
}

// checkOtherReader: where net/url takes the target as well, it is the same
// place.
func checkOtherReader(t *testing.T, in string, d flow.Destination) {
	t.Helper()
	u, err := url.Parse("https://" + in)
	if err != nil {
		return
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	if host != d.Host || u.Port() != strconv.Itoa(int(d.Port)) || u.User != nil || u.Path != "" {
		t.Errorf("net/url reads %q in %q, we read %v", u, in, d)
	}
}
