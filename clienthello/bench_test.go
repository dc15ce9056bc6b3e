package clienthello_test

import (
	"crypto/tls"
	"testing"

	"github.com/exeat/exeat/clienthello"
)

func BenchmarkParse(b *testing.B) {
	one := goHello(b, &tls.Config{ServerName: "api.example.com", NextProtos: []string{"h2", "http/1.1"}})
	for name, in := range map[string][]byte{
		"Go":           one,
		"Go10records":  records(one[5:], len(one)/10),
		"incomplete":   one[:len(one)-1],
		"64KiB":        usual("x.org").with(ext{21, make([]byte, 65000)}).bytes(),
		"16000types":   manyTypes().bytes(),
		"1byteRecords": records(message(usual("x.org").with(ext{21, make([]byte, 10700)}).body()), 1),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				_, _ = clienthello.Parse(in)
			}
		})
	}
}

// manyTypes is the hello that has most to sort: 16,000 empty extensions.
func manyTypes() hello {
	h := usual("x.org")
	for i := range 16000 {
		h.exts = append(h.exts, ext{typ: uint16(60000 - i)})
	}
	return h
}
