package clienthello_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exeat/exeat/clienthello"
)

// TestAgreesWithCryptoTLS mutates real hellos and asks both readers. 20,000 of
// them each time, a million with EXEAT_LONG=1.
func TestAgreesWithCryptoTLS(t *testing.T) {
	rounds := 20_000
	if os.Getenv("EXEAT_LONG") == "1" {
		rounds = 1_000_000
	}
	seeds := realHellos(t)
	m := mutator{rand.New(rand.NewPCG(1, 2))}
	accepted, refused := 0, map[string]int{}
	for range rounds {
		in := m.mutate(seeds[m.IntN(len(seeds))])
		switch verdict := compare(t, in); verdict {
		case "both":
			accepted++
		default:
			refused[verdict]++
		}
	}
	t.Logf("%d hellos: both accept %d, otherwise %v", rounds, accepted, refused)
	// Mutations that break every hello would compare nothing.
	if accepted < rounds/4 || refused["neither"] < rounds/20 {
		t.Errorf("the mutations are lopsided: of %d both accept %d, otherwise %v", rounds, accepted, refused)
	}
}

func FuzzAgainstCryptoTLS(f *testing.F) {
	for _, in := range realHellos(f) {
		f.Add(in, uint64(1))
		f.Add(in, uint64(2))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		compare(t, in)
		compare(t, (&mutator{rand.New(rand.NewPCG(seed, 0))}).mutate(in))
	})
}

func FuzzParse(f *testing.F) {
	for _, in := range realHellos(f) {
		f.Add(in)
	}
	f.Add(usual("x.org").with(sni("y.org")).bytes())
	f.Add(records(message(usual("x.org").body()), 3))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := clienthello.Parse(in)
		if len(in) <= 4096 { // every prefix of more would take too long
			checkPrefixes(t, in)
		}
		if err != nil {
			if !equal(got, clienthello.Hello{}) {
				t.Errorf("%v, and yet %+v", err, got)
			}
			return
		}
		if !ja4Form.MatchString(got.JA4) && !strings.HasPrefix(got.JA4, "t00") && !strings.HasPrefix(got.JA4, "td") && !strings.HasPrefix(got.JA4, "ts2") {
			t.Errorf("JA4 %q", got.JA4)
		}
		if strings.Trim(got.ServerName, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || len(got.ServerName) > 253 {
			t.Errorf("server name %q", got.ServerName)
		}
	})
}

// stricter are the reasons for which we refuse what crypto/tls takes. Whatever
// else we refused would be a fault.
var stricter = []string{
	"the server name is not a DNS name",
	"the server name is an address",
	"server_name does not hold exactly one host name",
	"the session id is longer than 32 bytes",
	"no list of cipher suites",
	"no compression method",
	"something follows the hello in its record",
	"another record within the hello",
	"another record before the hello",
}

// compare checks that we read in it what crypto/tls's server does, and says who
// accepted it.
func compare(t *testing.T, in []byte) string {
	t.Helper()
	got, err := clienthello.Parse(in)
	info := serverSees(in)
	switch {
	case info == nil && err != nil:
		return "neither"
	case info == nil:
		return "only we" // it looks into more extensions, and forbids a trailing dot
	case err != nil:
		reason, listed := strings.TrimPrefix(err.Error(), clienthello.ErrMalformed.Error()+": "), false
		listed = slices.Contains(stricter, reason)
		// crypto/tls takes record versions up to 15.255, and any number of
		// record headers.
		listed = listed || errors.Is(err, clienthello.ErrNotTLS) || errors.Is(err, clienthello.ErrTooLarge) && len(in) > clienthello.MaxSize
		if !listed {
			t.Fatalf("crypto/tls reads %q, we say %v of\n%x", info.ServerName, err, in)
		}
		return "only crypto/tls"
	}
	if got.ServerName != strings.ToLower(info.ServerName) || !slices.Equal(got.ALPN, info.SupportedProtos) {
		t.Fatalf("crypto/tls reads %q %q, we read %q %q in\n%x", info.ServerName, info.SupportedProtos, got.ServerName, got.ALPN, in)
	}
	return "both"
}

// serverSees is what crypto/tls's server reads in a hello, or nil if it refuses
// it.
func serverSees(in []byte) *tls.ClientHelloInfo {
	var seen *tls.ClientHelloInfo
	conn := &capture{reply: *strings.NewReader(string(in))}
	_ = tls.Server(conn, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = info
		return nil, errors.New("seen enough")
	}}).Handshake()
	return seen
}

// realHellos are those kept in testdata, and some of crypto/tls.
func realHellos(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.hello"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no hellos in testdata: %v", err)
	}
	var all [][]byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b)
	}
	for _, c := range []*tls.Config{
		{ServerName: "api.example.com", NextProtos: []string{"h2", "http/1.1"}},
		{ServerName: "API.Example.com", MaxVersion: tls.VersionTLS12},
		{ServerName: "192.0.2.1", InsecureSkipVerify: true},
	} {
		all = append(all, goHello(tb, c))
	}
	return all
}

// mutator changes hellos: most often in their parts, with all lengths right
// again afterwards, so that what comes out is worth reading.
type mutator struct{ *rand.Rand }

func (m mutator) mutate(in []byte) []byte {
	msg, ok := unpack(in)
	if !ok {
		return m.scratch(in)
	}
	h, ok := takeApart(msg)
	if !ok || m.IntN(8) == 0 {
		return m.repack(m.scratch(msg))
	}
	for range m.IntN(4) {
		m.change(&h)
	}
	out := message(h.body())
	if m.IntN(6) == 0 {
		out = m.scratch(out)
	}
	return m.repack(out)
}

// change does one thing to a hello.
func (m mutator) change(h *hello) {
	one := func() *ext { return &h.exts[m.IntN(len(h.exts))] }
	switch n := m.IntN(14); {
	case len(h.exts) == 0 || n == 0:
		h.exts = append(h.exts, sni(m.host()))
	case n == 1: // other name
		*h = h.without(0).with(sni(m.host()))
	case n == 2: // a list of names
		var list []byte
		for range 1 + m.IntN(2) {
			list = append(append(list, byte(m.IntN(4)/3)), vec16([]byte(m.host()))...)
		}
		*h = h.without(0).with(ext{0, vec16(list)})
	case n == 3: // an extension twice
		*h = h.with(*one())
	case n == 4: // an extension less
		*h = h.without(one().typ)
	case n == 5:
		m.Shuffle(len(h.exts), func(i, j int) { h.exts[i], h.exts[j] = h.exts[j], h.exts[i] })
	case n == 6: // an extension becomes another
		one().typ = uint16(m.IntN(60))
	case n == 7: // damage within one
		e := one()
		e.data = m.scratch(e.data)
	case n == 8: // other protocols
		*h = h.without(16).with(ext{16, alpn(m.word(), m.word())})
	case n == 9: // padding beyond a record
		*h = h.with(ext{21, make([]byte, m.IntN(20000))})
	case n == 10:
		h.session = make([]byte, m.IntN(40))
	case n == 11:
		h.version = uint16(m.IntN(1 << 16))
	case n == 12:
		*h = h.with(ext{0xfe0d, []byte{byte(m.IntN(2)), 0, 1}})
	case n == 13:
		h.suites = h.suites[:m.IntN(len(h.suites)+1)]
	}
}

func (m mutator) host() string {
	hosts := []string{
		"a.example", "b.example.org", "A.Example", "a.example.", "a..example", "192.0.2.1", "::1", "1", "0x1", "_dmarc.a.example",
		"-a.example", "a-.example", "a.example\x00.b.example", "a.example b", "", ".", "xn--a", "ä.example", strings.Repeat("a.", 100) + "b",
	}
	return hosts[m.IntN(len(hosts))]
}

func (m mutator) word() string {
	words := []string{"h2", "http/1.1", "", "\x00", "acme-tls/1", strings.Repeat("x", 255)}
	return words[m.IntN(len(words))]
}

// scratch changes, cuts out or inserts a few bytes.
func (m mutator) scratch(in []byte) []byte {
	b := bytes.Clone(in)
	for range 1 + m.IntN(3) {
		if len(b) == 0 {
			return []byte{byte(m.IntN(256))}
		}
		i := m.IntN(len(b))
		switch m.IntN(4) {
		case 0:
			b[i] ^= 1 << m.IntN(8)
		case 1:
			b[i] = byte(m.IntN(256))
		case 2:
			b = slices.Delete(b, i, min(i+1+m.IntN(4), len(b)))
		case 3:
			b = slices.Insert(b, i, byte(m.IntN(256)))
		}
	}
	return b
}

// repack puts a message into records of any sizes, and now and then damages
// those.
func (m mutator) repack(msg []byte) []byte {
	if m.IntN(2) == 0 && len(msg) > 4 { // the length in the header fits again
		copy(msg, message(msg[4:]))
	}
	out := records(msg, [][]int{{1 << 14}, {1 << 14}, {1 << 14}, {100}, {1, 1 << 14}, {5, 3, 1 << 14}, {1 + m.IntN(300)}}[m.IntN(7)]...)
	switch m.IntN(40) {
	case 0:
		return m.scratch(out)
	case 1: // a warning before it
		return append([]byte{21, 3, 1, 0, 2, 1, 90}, out...)
	case 2: // more after it
		return append(out, record(msg)...)
	case 3: // more in its record
		return record(append(bytes.Clone(msg[:min(len(msg), 1<<13)]), 1, 2, 3))
	case 4: // cut off
		return out[:m.IntN(len(out)+1)]
	}
	return out
}

// unpack returns the handshake message in records.
func unpack(in []byte) (msg []byte, ok bool) {
	for len(in) >= 5 {
		n := 5 + int(in[3])<<8 + int(in[4])
		if n > len(in) {
			return nil, false
		}
		msg, in = append(msg, in[5:n]...), in[n:]
	}
	return msg, len(msg) > 4 && len(in) == 0
}

// takeApart reads a well-formed message the plain way.
func takeApart(msg []byte) (h hello, ok bool) {
	defer func() { ok = recover() == nil }() // lengths that lie
	b := msg[4:]
	cut := func(n int) []byte { p := b[:n:n]; b = b[n:]; return p }
	length := func() int { p := cut(2); return int(p[0])<<8 | int(p[1]) }
	h.version = uint16(length())
	cut(32)
	h.session = cut(int(cut(1)[0]))
	for suites := cut(length()); len(suites) > 0; suites = suites[2:] {
		h.suites = append(h.suites, uint16(suites[0])<<8|uint16(suites[1]))
	}
	h.compression = cut(int(cut(1)[0]))
	if len(b) == 0 {
		return h, true
	}
	for b = cut(length()); len(b) > 0; {
		h.exts = append(h.exts, ext{uint16(length()), cut(length())})
	}
	return h, true
}
