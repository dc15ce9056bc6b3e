package clienthello_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/exeat/exeat/clienthello"
)

// digest is the hash of JA4 done the plain way, from the text in the
// specification's examples.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:12]
}

func TestJA4(t *testing.T) {
	base := usual("x.org")
	suites, exts := digest("1301,1302,c02b"), digest("000d,002b_0403,0804")
	manySuites := usual("x.org")
	for i := range uint16(200) {
		manySuites.suites = append(manySuites.suites, 0xc100+i)
	}
	bare := hello{version: 0x0301, suites: []uint16{0x2f}, compression: []byte{0}}
	onlyGREASE := bare
	onlyGREASE.suites = []uint16{0x0a0a}
	ssl3, odd := bare, bare
	ssl3.version, odd.version = 0x0300, 0x7777
	greased := base.without(13).without(43).with(
		ext{0x3a3a, nil}, ext{0xfafa, []byte{0}},
		ext{13, vec16(u16s(0x8a8a, 0x0403, 0x0804, 0x1a1a))},
		ext{43, vec8(u16s(0xeaea, 0x0303, 0x0304))})
	greased.suites = append([]uint16{0x5a5a}, greased.suites...)

	tests := []struct {
		name string
		in   hello
		want string
	}{
		{"plain", base, "t13d0304h2_" + suites + "_" + exts},
		{"GREASE counts nowhere", greased, "t13d0304h2_" + suites + "_" + exts},
		{"almost GREASE counts", base.with(ext{0x0a1a, nil}), "t13d0305h2_" + suites + "_" + digest("000d,002b,0a1a_0403,0804")},
		{"no SNI", base.without(0), "t13i0303h2_" + suites + "_" + exts},
		{"no ALPN", base.without(16), "t13d030300_" + suites + "_" + exts},
		{"ALPN http/1.1", base.without(16).with(ext{16, alpn("http/1.1", "h2")}), "t13d0304h1_" + suites + "_" + exts},
		{"ALPN of one letter", base.without(16).with(ext{16, alpn("Z")}), "t13d0304ZZ_" + suites + "_" + exts},
		{"ALPN of one odd byte", base.without(16).with(ext{16, alpn("\xab")}), "t13d0304ab_" + suites + "_" + exts},
		{"ALPN that ends oddly", base.without(16).with(ext{16, alpn("0\xab")}), "t13d03043b_" + suites + "_" + exts},
		{"ALPN that begins oddly", base.without(16).with(ext{16, alpn("\xab0")}), "t13d0304a0_" + suites + "_" + exts},
		{"ALPN odd only inside", base.without(16).with(ext{16, alpn("0\xab\xcd1")}), "t13d030401_" + suites + "_" + exts},
		{"no signature algorithms: no underscore", base.without(13), "t13d0303h2_" + suites + "_" + digest("002b")},
		{"legacy version", base.without(43), "t12d0303h2_" + suites + "_" + digest("000d_0403,0804")},
		{"no extensions", bare, "t10i010000_" + digest("002f") + "_000000000000"},
		{"SSL 3", ssl3, "ts3i010000_" + digest("002f") + "_000000000000"},
		{"unknown version", odd, "t00i010000_" + digest("002f") + "_000000000000"},
		{"nothing but GREASE", onlyGREASE, "t10i000000_000000000000_000000000000"},
		{"more than 99", manySuites, "t13d9904h2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := clienthello.Parse(test.in.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.JA4, test.want) {
				t.Errorf("got %s, want %s", got.JA4, test.want)
			}
			if len(got.JA4) != 36 {
				t.Errorf("%s has %d characters", got.JA4, len(got.JA4))
			}
		})
	}
}
