package clienthello_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/exeat/exeat/clienthello"
)

func TestParseShowsTheHello(t *testing.T) {
	tests := []struct {
		name string
		in   hello
		want clienthello.Hello
	}{
		{"name and protocols", usual("api.example.com"), clienthello.Hello{ServerName: "api.example.com", ALPN: []string{"h2", "http/1.1"}}},
		{"letters are lowered", usual("API.Example.COM"), clienthello.Hello{ServerName: "api.example.com", ALPN: []string{"h2", "http/1.1"}}},
		{"one trailing dot goes", usual("api.example.com."), clienthello.Hello{ServerName: "api.example.com", ALPN: []string{"h2", "http/1.1"}}},
		{"underscore", usual("_x.example.com"), clienthello.Hello{ServerName: "_x.example.com", ALPN: []string{"h2", "http/1.1"}}},
		{"A-label", usual("xn--bcher-kva.example"), clienthello.Hello{ServerName: "xn--bcher-kva.example", ALPN: []string{"h2", "http/1.1"}}},
		{"no name", usual("x").without(0), clienthello.Hello{ALPN: []string{"h2", "http/1.1"}}},
		{"no ALPN", usual("x.org").without(16), clienthello.Hello{ServerName: "x.org"}},
		{"odd ALPN is kept as sent", usual("x.org").without(16).with(ext{16, alpn("\x00\xff", "a")}), clienthello.Hello{ServerName: "x.org", ALPN: []string{"\x00\xff", "a"}}},
		{"ECH", usual("x.org").with(ext{0xfe0d, []byte{0, 1, 2, 3}}), clienthello.Hello{ServerName: "x.org", ALPN: []string{"h2", "http/1.1"}, ECH: true}},
		{"no extensions at all", hello{version: 0x0301, suites: []uint16{0x2f}, compression: []byte{0}}, clienthello.Hello{}},
		{"an empty list of extensions", hello{version: 0x0301, suites: []uint16{0x2f}, compression: []byte{0}, exts: []ext{}}, clienthello.Hello{}},
		{"post-quantum key share", usual("x.org").with(ext{51, make([]byte, 1300)}), clienthello.Hello{ServerName: "x.org", ALPN: []string{"h2", "http/1.1"}}},
		{"larger than a record", usual("x.org").with(ext{21, make([]byte, 40000)}), clienthello.Hello{ServerName: "x.org", ALPN: []string{"h2", "http/1.1"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := clienthello.Parse(test.in.bytes())
			if err != nil {
				t.Fatal(err)
			}
			got.JA4 = "" // has a test of its own
			if got.ServerName != test.want.ServerName || !slices.Equal(got.ALPN, test.want.ALPN) || got.ECH != test.want.ECH {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestParseRefuses: every row is one way to make two readers disagree, or a lie.
func TestParseRefuses(t *testing.T) {
	ok := usual("x.org")
	two := append(append([]byte{0}, vec16([]byte("a.org"))...), append([]byte{0}, vec16([]byte("b.org"))...)...)
	longSession := usual("x.org")
	longSession.session = make([]byte, 33)
	noSuites := usual("x.org")
	noSuites.suites = nil
	noCompression := usual("x.org")
	noCompression.compression = nil
	body := ok.body()

	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"two server_name extensions", ok.with(sni("y.org")).bytes(), clienthello.ErrMalformed},
		{"the same server_name twice", ok.with(sni("x.org")).bytes(), clienthello.ErrMalformed},
		{"two extensions of a type that means nothing to us", ok.with(ext{51, nil}, ext{51, nil}).bytes(), clienthello.ErrMalformed},
		{"two host names in one list", ok.without(0).with(ext{0, vec16(two)}).bytes(), clienthello.ErrMalformed},
		{"a name of another type", ok.without(0).with(ext{0, vec16(append([]byte{7}, vec16([]byte("a.org"))...))}).bytes(), clienthello.ErrMalformed},
		{"an empty list of names", ok.without(0).with(ext{0, vec16(nil)}).bytes(), clienthello.ErrMalformed},
		{"an empty server_name", ok.without(0).with(ext{0, nil}).bytes(), clienthello.ErrMalformed},
		{"an empty name", usual("").bytes(), clienthello.ErrMalformed},
		{"only a dot", usual(".").bytes(), clienthello.ErrMalformed},
		{"two trailing dots", usual("x.org..").bytes(), clienthello.ErrMalformed},
		{"a NUL in the name", usual("evil.com\x00.x.org").bytes(), clienthello.ErrMalformed},
		{"a space in the name", usual("x.org ").bytes(), clienthello.ErrMalformed},
		{"a U-label", usual("bücher.example").bytes(), clienthello.ErrMalformed},
		{"a fullwidth dot", usual("evil.com\uff0ex.org").bytes(), clienthello.ErrMalformed},
		{"an escape sequence", usual("\x1b[2Jx.org").bytes(), clienthello.ErrMalformed},
		{"a name of 254 bytes", usual(strings.Repeat("a.", 127)).bytes(), nil},
		{"a name of 255 bytes", usual(strings.Repeat("a.", 127) + "a").bytes(), clienthello.ErrMalformed},
		{"an IPv4 address", usual("192.0.2.1").bytes(), clienthello.ErrMalformed},
		{"an IPv6 address", usual("2001:db8::1").bytes(), clienthello.ErrMalformed},
		{"an address in brackets", usual("[::1]").bytes(), clienthello.ErrMalformed},
		{"a decimal address", usual("2130706433").bytes(), clienthello.ErrMalformed},
		{"a hexadecimal address", usual("0x7f000001").bytes(), clienthello.ErrMalformed},
		{"server_name shorter than it says", ok.without(0).with(ext{0, []byte{0, 9, 0, 0, 1, 'x'}}).bytes(), clienthello.ErrMalformed},
		{"server_name longer than it says", ok.without(0).with(ext{0, append(vec16(append([]byte{0}, vec16([]byte("x"))...)), 0)}).bytes(), clienthello.ErrMalformed},
		{"an empty protocol", ok.without(16).with(ext{16, alpn("h2", "")}).bytes(), clienthello.ErrMalformed},
		{"no protocol", ok.without(16).with(ext{16, alpn()}).bytes(), clienthello.ErrMalformed},
		{"half a version", ok.without(43).with(ext{43, vec8([]byte{3, 4, 3})}).bytes(), clienthello.ErrMalformed},
		{"half a signature algorithm", ok.without(13).with(ext{13, vec16([]byte{3})}).bytes(), clienthello.ErrMalformed},
		{"a session id of 33 bytes", longSession.bytes(), clienthello.ErrMalformed},
		{"no cipher suites", noSuites.bytes(), clienthello.ErrMalformed},
		{"no compression method", noCompression.bytes(), clienthello.ErrMalformed},
		{"bytes after the extensions", records(message(append(bytes.Clone(body), 0)), 1<<14), clienthello.ErrMalformed},
		{"the last byte is missing", records(message(body[:len(body)-1]), 1<<14), clienthello.ErrMalformed},
		{"an empty message", records(message(nil), 1<<14), clienthello.ErrMalformed},
		{"a ServerHello", records(append([]byte{2}, message(body)[1:]...), 1<<14), clienthello.ErrMalformed},
		{"a second handshake message in the record", record(append(message(body), 0)), clienthello.ErrMalformed},
		{"an empty first record", append(record(nil), ok.bytes()...), clienthello.ErrMalformed},
		{"an empty record in between", append(records(message(body), 10)[:15], append(record(nil), records(message(body)[10:], 99)...)...), clienthello.ErrMalformed},
		{"a warning in between", append(records(message(body), 10)[:15], append([]byte{21, 3, 1, 0, 2, 1, 0}, records(message(body)[10:], 999)...)...), clienthello.ErrMalformed},
		{"a record of 16385 bytes", append([]byte{22, 3, 1, 0x40, 1}, make([]byte, 16385)...), clienthello.ErrMalformed},
		{"a hello of 64 KiB with its headers", records(message(make([]byte, 64<<10-4*5-4)), 1<<14)[:9], clienthello.ErrIncomplete},
		{"a hello of one byte more", records(message(make([]byte, 64<<10-4*5-3)), 1<<14)[:9], clienthello.ErrTooLarge},
		{"a hello of 16 MiB", []byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, clienthello.ErrTooLarge},
		{"too large by its record headers", records(message(make([]byte, 12000)), 1)[:6*11000], clienthello.ErrTooLarge},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), clienthello.ErrNotTLS},
		{"HTTP, its first byte", []byte("G"), clienthello.ErrNotTLS},
		{"SSH", []byte("SSH-2.0-x\r\n"), clienthello.ErrNotTLS},
		{"SSLv2", []byte{0x80, 0x2e, 1}, clienthello.ErrNotTLS},
		{"an alert before it", append([]byte{21, 3, 1, 0, 2, 1, 0}, ok.bytes()...), clienthello.ErrMalformed},
		{"a change_cipher_spec before it", append([]byte{20, 3, 1, 0, 1, 1}, ok.bytes()...), clienthello.ErrMalformed},
		{"application data before it", append([]byte{23, 3, 3, 0, 1, 0}, ok.bytes()...), clienthello.ErrMalformed},
		{"a heartbeat before it", append([]byte{24, 3, 3, 0, 3, 1, 0, 0}, ok.bytes()...), clienthello.ErrMalformed},
		{"the first byte of an alert", []byte{21}, clienthello.ErrIncomplete},
		{"an alert of no version of TLS", []byte{21, 0}, clienthello.ErrNotTLS},
		{"below the types of records", []byte{19, 3, 1}, clienthello.ErrNotTLS},
		{"above the types of records", []byte{25, 3, 1}, clienthello.ErrNotTLS},
		{"a record of no version of TLS", []byte{22, 4}, clienthello.ErrNotTLS},
		{"nothing", nil, clienthello.ErrIncomplete},
		{"the first byte", []byte{22}, clienthello.ErrIncomplete},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := clienthello.Parse(test.in)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestParseInAnyRecords: however the message is cut into records, the answer
// is the same.
func TestParseInAnyRecords(t *testing.T) {
	msg := message(usual("api.example.com").with(ext{51, make([]byte, 1300)}).body())
	want, err := clienthello.Parse(records(msg, 1<<14))
	if err != nil {
		t.Fatal(err)
	}
	for _, sizes := range [][]int{{1}, {2}, {3}, {4}, {5}, {1, 9999}, {3, 1, 9999}, {517}, {1000, 1}, {len(msg) - 1}} {
		got, err := clienthello.Parse(records(msg, sizes...))
		if err != nil || !equal(got, want) {
			t.Errorf("records of %v: got %+v, %v", sizes, got, err)
		}
	}
}

// TestAnswerComesAtTheFirstByteThatDecides checks the contract between Parse
// and Needed on every prefix, for good and bad hellos alike.
func TestAnswerComesAtTheFirstByteThatDecides(t *testing.T) {
	ok := usual("api.example.com")
	for name, in := range map[string][]byte{
		"one record":       ok.bytes(),
		"many records":     records(message(ok.body()), 7),
		"more behind it":   append(ok.bytes(), "anything"...),
		"duplicate":        ok.with(sni("y.org")).bytes(),
		"trailing message": record(append(message(ok.body()), 0)),
		"not TLS":          []byte("SSH-2.0-Go\r\n"),
		"too large":        {22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff, 0},
	} {
		t.Run(name, func(t *testing.T) { checkPrefixes(t, in) })
	}
}

// checkPrefixes parses every prefix of in: first ErrIncomplete, and from some
// byte on always the same.
func checkPrefixes(tb testing.TB, in []byte) {
	tb.Helper()
	want, wantErr := clienthello.Parse(in)
	decided, needed := false, 0
	for n := range len(in) + 1 {
		got, err := clienthello.Parse(in[:n])
		need := clienthello.Needed(in[:n])
		if errors.Is(err, clienthello.ErrIncomplete) {
			if decided {
				tb.Fatalf("%d bytes: incomplete again", n)
			}
			if need <= n || need > clienthello.MaxSize || need < needed {
				tb.Fatalf("%d bytes: Needed says %d after %d", n, need, needed)
			}
			needed = need
			continue
		}
		if err == nil && n < needed {
			tb.Fatalf("done with %d bytes, Needed had said %d", n, needed)
		}
		decided = true
		if need != 0 {
			tb.Fatalf("%d bytes: the answer is %v, and Needed says %d", n, err, need)
		}
		if !equal(got, want) || !sameError(err, wantErr) {
			tb.Fatalf("%d bytes: %+v, %v; in the end: %+v, %v", n, got, err, want, wantErr)
		}
	}
}

// TestTrickleIsNotQuadratic feeds the worst hello there is, almost 64 KiB in
// records of one byte, byte by byte, to the loop of the package comment.
func TestTrickleIsNotQuadratic(t *testing.T) {
	in := records(message(usual("x.org").with(ext{21, make([]byte, 10700)}).body()), 1)
	if len(in) < 60<<10 || len(in) > clienthello.MaxSize {
		t.Fatalf("the hello has %d bytes", len(in))
	}
	calls, work := 0, 0
	buf, n := make([]byte, clienthello.MaxSize), 0
	conn := iotest.OneByteReader(bytes.NewReader(in))
	for {
		calls++
		work += n
		_, err := clienthello.Parse(buf[:n])
		if err == nil {
			break
		}
		if !errors.Is(err, clienthello.ErrIncomplete) {
			t.Fatal(err)
		}
		m, err := io.ReadAtLeast(conn, buf[n:], clienthello.Needed(buf[:n])-n)
		n += m
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	if calls > 100 || work > 100*len(in) {
		t.Errorf("%d calls looked at %d bytes for a hello of %d", calls, work, len(in))
	}
}

func equal(a, b clienthello.Hello) bool {
	return a.ServerName == b.ServerName && slices.Equal(a.ALPN, b.ALPN) && a.JA4 == b.JA4 && a.ECH == b.ECH
}

func sameError(a, b error) bool {
	for _, class := range []error{clienthello.ErrIncomplete, clienthello.ErrNotTLS, clienthello.ErrTooLarge, clienthello.ErrMalformed} {
		if errors.Is(a, class) != errors.Is(b, class) {
			return false
		}
	}
	return (a == nil) == (b == nil)
}
