package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/exeat/exeat/flow"
)

func TestParseHead(t *testing.T) {
	line := "CONNECT api.test:443 HTTP/1.1\r\n"
	many := strings.Repeat("X: y\r\n", 101)
	for _, test := range []struct {
		name, in   string
		err        error
		target     string
		auth       string
		proven     bool
		keep       bool
		incomplete bool
	}{
		{name: "smallest", in: line + "\r\n", target: "api.test:443", keep: true},
		{name: "HTTP/1.0", in: "CONNECT api.test:443 HTTP/1.0\r\n\r\n", target: "api.test:443"},
		{name: "credential", in: line + "proxy-AUTHORIZATION: \t Basic YTpi \r\n\r\n", target: "api.test:443", auth: "Basic YTpi", proven: true, keep: true},
		{name: "empty credential", in: line + "Proxy-Authorization:\r\n\r\n", target: "api.test:443", proven: true, keep: true},
		{name: "close", in: line + "Proxy-Connection: Close\r\n\r\n", target: "api.test:443"},
		{name: "Content-Length 0", in: line + "Content-Length: 0\r\n\r\n", target: "api.test:443", keep: true},
		{name: "early bytes", in: line + "\r\n\x16\x03\x01\n", target: "api.test:443", keep: true},
		{name: "no end yet", in: line + "Host: a\r\n", incomplete: true},

		{name: "two credentials", in: line + "Proxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi\r\n\r\n", err: errHeadAuth},
		{name: "two credentials, the first empty", in: line + "Proxy-Authorization:\r\nProxy-Authorization: Basic YTpi\r\n\r\n", err: errHeadAuth},
		{name: "two hosts", in: line + "Host: a\r\nhost: b\r\n\r\n", err: errHeadHost},
		{name: "body by length", in: line + "Content-Length: 5\r\n\r\n", err: errHeadBody},
		{name: "body by chunks", in: line + "Transfer-Encoding: chunked\r\n\r\n", err: errHeadBody},
		{name: "bare LF", in: "CONNECT api.test:443 HTTP/1.1\n\n", err: errHeadLineEnd},
		{name: "bare LF in a field", in: line + "A: b\nC: d\r\n\r\n", err: errHeadLineEnd},
		{name: "bare CR in a field", in: line + "A: b\rC: d\r\n\r\n", err: errHeadField},
		{name: "NUL in a field", in: line + "A: b\x00\r\n\r\n", err: errHeadField},
		{name: "NUL in the target", in: "CONNECT a\x00.test:443 HTTP/1.1\r\n\r\n", err: errHeadLine},
		{name: "fold", in: line + "A: b\r\n c\r\n\r\n", err: errHeadFold},
		{name: "space before the colon", in: line + "Proxy-Authorization : Basic YTpi\r\n\r\n", err: errHeadField},
		{name: "no colon", in: line + "A\r\n\r\n", err: errHeadField},
		{name: "no name", in: line + ": a\r\n\r\n", err: errHeadField},
		{name: "two spaces", in: "CONNECT  api.test:443 HTTP/1.1\r\n\r\n", err: errHeadLine},
		{name: "tab", in: "CONNECT\tapi.test:443 HTTP/1.1\r\n\r\n", err: errHeadLine},
		{name: "no target", in: "CONNECT HTTP/1.1\r\n\r\n", err: errHeadLine},
		{name: "empty target", in: "CONNECT  HTTP/1.1\r\n\r\n", err: errHeadLine},
		{name: "more after the version", in: "CONNECT api.test:443 HTTP/1.1 x\r\n\r\n", err: errHeadLine},
		{name: "HTTP/2.0", in: "CONNECT api.test:443 HTTP/2.0\r\n\r\n", err: errHeadLine},
		{name: "version in lower case", in: "CONNECT api.test:443 http/1.1\r\n\r\n", err: errHeadLine},
		{name: "too many fields", in: line + many + "\r\n", err: errHeadFields},
	} {
		t.Run(test.name, func(t *testing.T) {
			var scan headScan
			n, err := scan.end([]byte(test.in), 100)
			if test.incomplete {
				if n != 0 || err != nil {
					t.Fatalf("end = %d, %v; want more", n, err)
				}
				return
			}
			var h head
			if err == nil {
				h, err = parseHead([]byte(test.in)[:n])
			}
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if string(h.target) != test.target || string(h.auth) != test.auth || h.proven != test.proven || h.keep != test.keep {
				t.Errorf("got %q, %q, proven %v, keep %v", h.target, h.auth, h.proven, h.keep)
			}
		})
	}
}

func TestHeadScanGivesTheSameInPieces(t *testing.T) {
	in := []byte("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\nA: b\r\n\r\nearly")
	var scan headScan
	for i := range len(in) {
		n, err := scan.end(in[:i+1], 100)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if want := len(in) - len("early"); n != want || i+1 != want {
				t.Errorf("the head ends at %d, found after %d bytes; want %d", n, i+1, want)
			}
			return
		}
	}
	t.Error("no end")
}

// FuzzConnectHead checks that whatever is accepted means the same to net/http.
func FuzzConnectHead(f *testing.F) {
	f.Add([]byte("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n\x16\x03\x01"))
	f.Add([]byte("CONNECT [::1]:443 HTTP/1.0\r\n\r\n"))
	f.Add([]byte("CONNECT a.test:1 HTTP/1.1\r\nContent-Length: 0\r\nProxy-Connection: close\r\nproxy-authorization:\tx \r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !maybeConnect(b) {
			return
		}
		var scan headScan
		n, err := scan.end(b, 100)
		if err != nil || n == 0 {
			return
		}
		if n > len(b) || !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
			t.Fatalf("end at %d of %d", n, len(b))
		}
		h, err := parseHead(b[:n])
		if err != nil {
			return
		}
		if _, err := flow.ParseDestination(string(h.target)); err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("net/http refuses what was accepted: %v", err)
		}
		if r.Method != http.MethodConnect || r.RequestURI != string(h.target) {
			t.Errorf("target %q, net/http reads %s %q", h.target, r.Method, r.RequestURI)
		}
		auth := r.Header["Proxy-Authorization"]
		if (len(auth) == 1) != h.proven || (h.proven && auth[0] != string(h.auth)) {
			t.Errorf("credential %q (%v), net/http reads %q", h.auth, h.proven, auth)
		}
		if r.ContentLength > 0 || len(r.TransferEncoding) > 0 {
			t.Errorf("net/http reads a body")
		}
	})
}

func TestParseBasic(t *testing.T) {
	for _, test := range []struct {
		in          string
		name, token string
		basic, ok   bool
	}{
		{"Basic YTpi", "a", "b", true, true},
		{"bAsIc YTpi", "a", "b", true, true},
		{"Basic   YTpi", "a", "b", true, true},
		{"Basic YTpiOmM=", "a", "b:c", true, true},
		{"Basic YSUyRTpi", "a%2E", "b", true, true}, // as it is: no percent-decoding
		{"Basic YSA6IGI=", "a ", " b", true, true},
		{"Basic YTo=", "a", "", true, false},
		{"Basic OmI=", "", "b", true, false},
		{"Basic YQ==", "a", "", true, false},
		{"Basic YTpi=", "", "", true, false},
		{"Basic YTp", "", "", true, false},
		{"Basic YTpiOmN=", "", "", true, false}, // stray bits: two spellings of one credential
		{"Basic Y Tpi", "", "", true, false},
		{"Basic ", "", "", true, false},
		{"Basic " + strings.Repeat("YTpi", 1000), "", "", true, false},
		{"Bearer YTpi", "", "", false, false},
		{"Basic", "", "", false, false},
		{"", "", "", false, false},
	} {
		t.Run(fmt.Sprintf("%.20q", test.in), func(t *testing.T) {
			name, token, basic, ok := parseBasic([]byte(test.in))
			if basic != test.basic || ok != test.ok {
				t.Fatalf("basic %v, ok %v", basic, ok)
			}
			if ok && (name != test.name || token != test.token) {
				t.Errorf("got %q and %q", name, token)
			}
		})
	}
}
