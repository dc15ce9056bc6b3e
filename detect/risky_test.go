package detect

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

func loadRisky(t testing.TB) *Risky {
	t.Helper()
	r, err := LoadRisky()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRiskyClass(t *testing.T) {
	r := loadRisky(t)
	for host, want := range map[string]string{
		"webhook.site":                      ClassRequestCatcher,
		"a1b2.webhook.site":                 ClassRequestCatcher,
		"c23b2la0kl1krjcrdj10.oast.pro":     ClassRequestCatcher,
		"eo1n5x.m.pipedream.net":            ClassRequestCatcher,
		"abc.ngrok-free.app":                ClassTunnel,
		"five-words.trycloudflare.com":      ClassTunnel,
		"pastebin.com":                      ClassPaste,
		"gist.githubusercontent.com":        ClassPaste,
		"transfer.sh":                       ClassFileDrop,
		"g.api.mega.co.nz":                  ClassFileDrop,
		"hooks.slack.com":                   ClassChatWebhook,
		"api.telegram.org":                  ClassChatWebhook,
		"contoso.webhook.office.com":        ClassChatWebhook,
		"home.duckdns.org":                  ClassDynamicDNS,
		"cam.ddns.net":                      ClassDynamicDNS,
		"dns.google":                        ClassDoHResolver,
		"mozilla.cloudflare-dns.com":        ClassDoHResolver,
		"rrkah-fqaaa.raw.icp0.io":           ClassAnonymousGateway,
		"something.onion.ly":                ClassAnonymousGateway,
		"bafybeigdyrzt5sfp7u.dweb.link":     ClassAnonymousGateway,
		"xwebhook.site":                     "",
		"webhook.site.example.com":          "",
		"site":                              "",
		"":                                  "",
		"203.0.113.5":                       "",
		"2001:db8::1":                       "",
		"slack.com":                         "",
		"files.slack.com":                   "",
		"discord.com":                       "",
		"telegram.org":                      "",
		"web.telegram.org":                  "",
		"github.com":                        "",
		"api.github.com":                    "",
		"raw.githubusercontent.com":         "",
		"googleapis.com":                    "",
		"www.googleapis.com":                "",
		"maps.googleapis.com":               "",
		"storage.googleapis.com":            "",
		"office.com":                        "",
		"graph.microsoft.com":               "",
		"cloudflare.com":                    "",
		"api.cloudflare.com":                "",
		"a.workers.dev":                     "",
		"ngrok.com":                         "",
		"tailscale.com":                     "",
		"adguard.com":                       "",
		"opendns.com":                       "",
		"zapier.com":                        "",
		"api.notion.com":                    "",
		"api.search.brave.com":              "",
		"api.tavily.com":                    "",
		"context7.com":                      "",
		"api.firecrawl.dev":                 "",
		"api.figma.com":                     "",
		"sentry.io":                         "",
		"api.perplexity.ai":                 "",
		"gitlab.com":                        "",
		"us.i.posthog.com":                  "",
		"update.googleapis.com":             "",
		"s3.amazonaws.com":                  "",
		"api.openai.com":                    "",
		"api.anthropic.com":                 "",
		"bucket.s3.eu-west-1.amazonaws.com": "",
	} {
		if got := r.Class(host); got != want {
			t.Errorf("%s is of class %q, want %q", host, got, want)
		}
	}
	if got := (*Risky)(nil).Class("webhook.site"); got != "" {
		t.Errorf("a nil list knows class %q", got)
	}
}

func TestRiskyList(t *testing.T) {
	r := loadRisky(t)
	count := make(map[string]int)
	for host, h := range r.hosts {
		count[h.class]++
		suffix, icann := publicsuffix.PublicSuffix(host)
		if strings.Contains(h.source, "publicsuffix.org") {
			// A rule "*.x" makes x itself no suffix, but what is below it.
			below, belowICANN := publicsuffix.PublicSuffix("a." + host)
			if (icann || suffix != host) && (belowICANN || below != "a."+host) {
				t.Errorf("%s is not on the Public Suffix List's private section, which it cites", host)
			}
		}
	}
	for _, c := range Classes() {
		if count[c.Class] < 10 {
			t.Errorf("class %s has only %d lines", c.Class, count[c.Class])
		}
		if c.Severity.Rank() < Medium.Rank() || !strings.HasPrefix(c.Name, "a ") || !strings.HasSuffix(c.Why, ".") {
			t.Errorf("class %s: %+v", c.Class, c)
		}
	}
	if r.Len() < 400 {
		t.Errorf("%d lines", r.Len())
	}
	if got := r.Source("x.webhook.site"); got != "https://docs.webhook.site/" {
		t.Errorf("source %q", got)
	}
	if r.Note("x.webhook.site") == "" || r.Note("example.com") != "" || r.Source("example.com") != "" {
		t.Error("note or source of the wrong host")
	}
	if !strings.HasPrefix(riskyTSV, "# ") || !strings.Contains(riskyTSV, "Apache-2.0") {
		t.Error("the file doesn't say what it is")
	}
}

func TestParseRiskyRefuses(t *testing.T) {
	const good = "webhook.site\trequest_catcher\thttps://docs.webhook.site/\tnote\n"
	if r, err := parseRisky("# comment\n\n" + good); err != nil || r.Len() != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	for name, data := range map[string]string{
		"twice":            good + good,
		"covered":          good + strings.Replace(good, "webhook", "a.webhook", 1),
		"three fields":     "webhook.site\trequest_catcher\thttps://docs.webhook.site/\n",
		"five fields":      strings.TrimSuffix(good, "\n") + "\tmore\n",
		"unknown class":    strings.Replace(good, "request_catcher", "bad_stuff", 1),
		"empty class":      strings.Replace(good, "request_catcher", "", 1),
		"no source":        strings.Replace(good, "https://docs.webhook.site/", "", 1),
		"plain source":     strings.Replace(good, "https", "http", 1),
		"no note":          strings.Replace(good, "note", "", 1),
		"padded note":      strings.Replace(good, "note", "note ", 1),
		"upper case":       strings.Replace(good, "webhook.site\t", "Webhook.site\t", 1),
		"trailing dot":     strings.Replace(good, "webhook.site\t", "webhook.site.\t", 1),
		"wildcard":         strings.Replace(good, "webhook.site\t", "*.webhook.site\t", 1),
		"address":          strings.Replace(good, "webhook.site\t", "192.0.2.1\t", 1),
		"registry suffix":  strings.Replace(good, "webhook.site\t", "co.uk\t", 1),
		"top-level domain": strings.Replace(good, "webhook.site\t", "zip\t", 1),
		"space":            strings.Replace(good, "webhook.site\t", " webhook.site\t", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseRisky(data); !errors.Is(err, ErrRiskyData) {
				t.Errorf("error %v", err)
			}
		})
	}
	// One class may have an exception inside another one's domain.
	other := strings.Replace(strings.Replace(good, "webhook", "a.webhook", 1), ClassRequestCatcher, ClassPaste, 1)
	r, err := parseRisky(good + other)
	if err != nil || r.Class("b.a.webhook.site") != ClassPaste || r.Class("b.webhook.site") != ClassRequestCatcher {
		t.Errorf("the longest line doesn't count: %v", err)
	}
}

func TestClassAllocatesNothing(t *testing.T) {
	r := loadRisky(t)
	for _, host := range []string{"a.b.c.webhook.site", "api.example.com", "203.0.113.5"} {
		if n := testing.AllocsPerRun(100, func() { r.Class(host) }); n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}

func BenchmarkClass(b *testing.B) {
	r := loadRisky(b)
	for _, host := range []string{"api.example.com", "a1b2.webhook.site"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Class(host)
			}
		})
	}
}
