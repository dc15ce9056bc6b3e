package baseline_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
	"pgregory.net/rapid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
)

func TestParsePattern(t *testing.T) {
	for in, want := range map[string]baseline.Pattern{
		"api.example.com":         "api.example.com",
		"API.Example.COM.":        "api.example.com",
		"*.example.com":           "*.example.com",
		"*.Example.com.":          "*.example.com",
		"*.a.b.example.co.uk":     "*.a.b.example.co.uk",
		"*.me.workers.dev":        "*.me.workers.dev",
		"*.me.github.io":          "*.me.github.io",
		"*.own.someone.ck":        "*.own.someone.ck",
		"*.corp.internal":         "*.corp.internal",
		"*.api.githubcopilot.com": "*.api.githubcopilot.com",
		"1.2.3.4":                 "1.2.3.4",
		"2606:4700::1":            "2606:4700::1",
		"2606:4700:0::1":          "2606:4700::1",
		"localhost":               "localhost",
		"workers.dev":             "workers.dev",
		"com":                     "com",
	} {
		if got, err := baseline.ParsePattern(in); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"*.com", "*.co.uk", "*.uk", "*.workers.dev", "*.WORKERS.dev.", "*.s3.amazonaws.com", "*.github.io", "*.vercel.app", "*.pages.dev",
		"*.herokuapp.com", "*.web.app", "*.ngrok.io", "*.compute.amazonaws.com", "*.us-east-1.amazonaws.com", "*.amazonaws.com",
		"*.amazonaws.com.cn", "*.windows.net", "*.core.windows.net", "*.blob.core.windows.net", "*.kawasaki.jp",
		"*.ck", "*.internal", "*.localhost", "*.a", "*.on.aws", "*.lambda-url.us-east-1.on.aws", "*.supabase.co", "*.googleapis.com",
	} {
		p, err := baseline.ParsePattern(in)
		if !errors.Is(err, baseline.ErrSharedHosting) {
			t.Errorf("%s: %q, %v, want ErrSharedHosting", in, p, err)
		}
	}
	for _, in := range []string{
		"", "*", "*.", "*..", ".", "**.example.com", "*.*.example.com", "a.*.example.com", "*example.com", "*.1.2.3.4", "*.::1", "*.[::1]", "[::1]",
		"a b", "a/b", "a..b", "-a.com", "http://a.com", "a.com:443", "*.a.com:443", "1.2.3", "0x7f.1", "é.com", "a\x00.com", "::1%eth0",
		"*. example.com", " *.example.com", strings.Repeat("a", 64) + ".com", "*." + strings.Repeat("a.", 127) + "com",
	} {
		if p, err := baseline.ParsePattern(in); !errors.Is(err, baseline.ErrBadPattern) {
			t.Errorf("%q: %q, %v, want ErrBadPattern", in, p, err)
		}
	}
}

func TestPatternMatches(t *testing.T) {
	rows := []struct {
		p     baseline.Pattern
		hosts string
		want  bool
	}{
		{"*.example.com", "a.example.com a.b.example.com x-y.example.com", true},
		{"*.example.com", "example.com aexample.com .example.com a.example.com.evil.net example.com.evil.net a.example.org com", false},
		{"api.example.com", "api.example.com", true},
		{"api.example.com", "a.api.example.com example.com xapi.example.com", false},
		{"1.2.3.4", "1.2.3.4", true},
		{"1.2.3.4", "1.2.3.40 11.2.3.4", false},
	}
	for _, r := range rows {
		for _, host := range strings.Fields(r.hosts) {
			if got := r.p.Matches(host); got != r.want {
				t.Errorf("%s matches %s: %v", r.p, host, got)
			}
		}
	}
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"api.example.com":      "api.example.com:443",
		"api.example.com:8443": "api.example.com:8443",
		"*.example.com:443":    "*.example.com:443",
		"*.example.com":        "*.example.com:443",
		"1.2.3.4:53":           "1.2.3.4:53",
		"[2606:4700::1]:8443":  "[2606:4700::1]:8443",
		"[2606:4700::1]":       "[2606:4700::1]:443",
		"2606:4700::1":         "[2606:4700::1]:443",
		"2606:4700::1:8443":    "[2606:4700::1:8443]:443",
		"Example.com.:1":       "example.com:1",
		"[::ffff:1.2.3.4]:443": "[::ffff:1.2.3.4]:443",
	} {
		if got, err := baseline.ParseTarget(in); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":443", "a.com:", "a.com:0", "a.com:65536", "a.com:0443", "a.com:+1", "a.com:https", "[::1", "[::1]443", "[::1]:", "::1]:443", "[]:443",
		"[a.com]:443", "[1.2.3.4]:443", "a.com:1:2", "*.com:443", "[*.a.com]:1", "[::1%lo]:443",
	} {
		if got, err := baseline.ParseTarget(in); err == nil {
			t.Errorf("%q is %s", in, got)
		}
	}
}

// TestNeverWidened: whatever wildcard is accepted, no name that it covers
// directly is a public suffix, and it is none itself.
func TestNeverWidened(t *testing.T) {
	label := rapid.SampledFrom([]string{
		"com", "uk", "co", "amazonaws", "s3", "us-east-1", "workers", "dev", "github", "io", "jp", "kawasaki", "ck", "net", "windows", "core",
		"blob", "app", "x", "example", "www", "cloudfront", "on", "aws", "platform", "sh", "cn", "execute-api", "bd", "compute",
	})
	rapid.Check(t, func(t *rapid.T) {
		base := strings.Join(rapid.SliceOfN(label, 1, 5).Draw(t, "labels"), ".")
		p, err := baseline.ParsePattern("*." + base)
		if err != nil {
			return
		}
		for range 20 {
			host := label.Draw(t, "below") + "." + base
			if suffix, _ := publicsuffix.PublicSuffix(host); suffix == host {
				t.Fatalf("%s covers the public suffix %s", p, host)
			}
			if !p.Matches(host) || p.Matches(base) {
				t.Fatalf("%s: does not cover %s, or covers %s", p, host, base)
			}
		}
	})
}

// TestSuffixesInStep: the generated list is that of the publicsuffix package
// that we are built with.
func TestSuffixesInStep(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the generator")
	}
	out, err := exec.Command("go", "run", "./internal/suffixgen", "-o", "-").Output()
	if err != nil {
		t.Skipf("the generator can't run here: %v", err)
	}
	have, err := os.ReadFile("data/above_suffixes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != string(have) {
		t.Error("data/above_suffixes.txt is not what go generate makes of golang.org/x/net: run go generate ./baseline")
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"a.example.com:443", "*.example.com", "[::1]:443", "::1", "*.com", "1.2.3.4", "[::ffff:1.2.3.4]:1", "a.com.:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := baseline.ParseTarget(s)
		if err != nil {
			return
		}
		again, err := baseline.ParseTarget(target.String())
		if err != nil || again != target {
			t.Fatalf("%q is %q, which is %q, %v", s, target, again, err)
		}
		base, wild := strings.CutPrefix(string(target.Host), "*.")
		canonical, err := flow.ParseHost(base)
		if err != nil || canonical != base {
			t.Fatalf("%q: host %q is not canonical", s, target.Host)
		}
		if suffix, _ := publicsuffix.PublicSuffix(base); wild && suffix == base {
			t.Fatalf("%q covers a public suffix", s)
		}
	})
}
