package detect

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	noon     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	serverID = uuid.MustParse("01930000-0000-7000-8000-000000000001")
	flowID   = uuid.MustParse("01930000-0000-7000-8000-000000000002")
	alertID  = uuid.MustParse("01930000-0000-7000-8000-0000000000aa")
	example  = flow.Place{ASN: 64500, Org: "Example Ltd", Country: "NL"}
	known    = Known{Approved: 4, Since: noon.Add(-20 * 24 * time.Hour)}
)

// event is what most rows differ from in a word or two: an allowed flow of an
// established server in alert mode.
func event(kind Kind, change func(e *Event)) Event {
	e := Event{
		Kind: kind, Now: noon, Known: known,
		Flow: flow.Flow{
			ID: flowID, ServerID: serverID, Server: "calendar", Mode: identity.ModeAlert,
			Method: flow.MethodConnect, Host: "api.example.net", Port: 443, Phase: "tool:list_events", Tool: "list_events",
			Verdict: flow.Allowed, Reason: flow.Reason(kind),
		},
	}
	if change != nil {
		change(&e)
	}
	return e
}

func refused(e *Event) { e.Flow.Verdict, e.Flow.Mode = flow.Refused, identity.ModeBlock }

func learning(e *Event) { e.Flow.Mode = identity.ModeLearn }

func fresh(e *Event) { e.Known.Approved = 0 }

func host(h string) func(*Event) { return func(e *Event) { e.Flow.Host = h } }

func all(changes ...func(*Event)) func(*Event) {
	return func(e *Event) {
		for _, c := range changes {
			c(e)
		}
	}
}

var cases = []struct {
	name string
	e    Event
	want Severity
}{
	{"new_destination", event(NewDestination, nil), High},
	{"new_destination_refused", event(NewDestination, refused), Medium},
	{"new_destination_first", event(NewDestination, all(fresh, func(e *Event) { e.Flow.Tool, e.Flow.Phase = "", "startup" })), Medium},
	{"new_destination_first_refused", event(NewDestination, all(fresh, refused, func(e *Event) { e.Known.Since = time.Time{} })), Low},
	{"new_destination_v6", event(NewDestination, all(host("2001:db8::1"), func(e *Event) { e.Flow.Owner = "ann@example.org" })), High},
	{"risky_destination", event(RiskyDestination, all(host("a1b2.webhook.site"), func(e *Event) { e.Risk = ClassRequestCatcher })), Critical},
	{"risky_destination_learning", event(RiskyDestination, all(host("home.duckdns.org"), learning, fresh, func(e *Event) { e.Risk = ClassDynamicDNS })), Medium},
	{"risky_destination_refused", event(RiskyDestination, all(host("api.telegram.org"), refused, func(e *Event) { e.Risk = ClassChatWebhook })), Low},
	{"sni_mismatch", event(SNIMismatch, func(e *Event) { e.Flow.SNI = "evil.example" }), Critical},
	{"sni_mismatch_refused", event(SNIMismatch, all(refused, func(e *Event) { e.Flow.SNI = "evil.example" })), High},
	{"sni_mismatch_same_family", event(SNIMismatch, all(learning, func(e *Event) { e.Flow.SNI = "CDN.example.net" })), Medium},
	{"sni_mismatch_hostile", event(SNIMismatch, func(e *Event) {
		e.Flow.SNI = "\x1b[2Jrm -rf\u202e" + strings.Repeat("é", 300)
		e.Flow.Tool = "a\"; \x07" + strings.Repeat("x", 200)
	}), Critical},
	{"no_sni", event(NoSNI, nil), Medium},
	{"no_sni_refused", event(NoSNI, refused), Low},
	{"not_tls", event(NotTLS, nil), High},
	{"not_tls_other_port", event(NotTLS, func(e *Event) { e.Flow.Port = 5432 }), Medium},
	{"not_tls_refused", event(NotTLS, refused), Medium},
	{"hidden_name", event(HiddenName, func(e *Event) { e.Flow.SNI, e.Flow.ECH = "cloudflare-ech.com", true }), Medium},
	{"hidden_name_refused", event(HiddenName, all(refused, func(e *Event) { e.Flow.SNI, e.Flow.ECH = "cloudflare-ech.com", true })), Low},
	{"ip_literal", event(IPLiteral, all(host("203.0.113.5"), learning, func(e *Event) {
		e.Flow.IP, e.Flow.Place = netip.MustParseAddr("203.0.113.5"), example
		e.Known.Approved = 1
	})), High},
	{"ip_literal_refused", event(IPLiteral, all(host("2001:db8::1"), refused)), Medium},
	{"private_address", event(PrivateAddress, all(host("192.168.1.10"), refused, func(e *Event) { e.Flow.Port = 8080 })), Medium},
	{"private_address_name", event(PrivateAddress, all(refused, func(e *Event) { e.Flow.IP = netip.MustParseAddr("10.0.0.5") })), High},
	{"private_address_local_name", event(PrivateAddress, all(host("printer"), refused)), Medium},
	{"metadata_access", event(MetadataAccess, all(host("169.254.169.254"), refused, func(e *Event) { e.Flow.Port = 80 })), High},
	{"self_access", event(SelfAccess, all(host("localtest.example.net"), refused, func(e *Event) {
		e.Flow.Port, e.Flow.IP = 7181, netip.MustParseAddr("127.0.0.1")
	})), High},
	{"unknown_kind", event("made_up", nil), Medium},
}

func TestNew(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			a := New(tc.e)
			f := tc.e.Flow
			if a.Severity != tc.want {
				t.Errorf("severity %s, want %s", a.Severity, tc.want)
			}
			if a.Kind != tc.e.Kind || a.ServerID != serverID || a.Host != f.Host || a.Port != f.Port || a.Verdict != f.Verdict ||
				a.Status != Open || a.Count != 1 || !a.First.Equal(noon) || !a.Last.Equal(noon) || !slices.Equal(a.Flows, []uuid.UUID{flowID}) ||
				a.Family != Family(f.Host) {
				t.Errorf("wrong fields: %+v", a)
			}
			if sec, ns := a.ID.Time().UnixTime(); a.ID.Version() != 7 || !time.Unix(sec, ns).Truncate(time.Second).Equal(noon) {
				t.Errorf("id %s is not a UUID of version 7 of that time", a.ID)
			}
			golden(t, tc.name, a)
		})
		seen[tc.e.Kind] = true
	}
	for _, k := range Kinds() {
		if !seen[k] && k != AuthFailures {
			t.Errorf("kind %s has no row", k)
		}
	}
}

// golden compares the alert's texts with testdata/NAME.txt. They are read by a
// person who has just been woken up: read them as such before you update them.
func golden(t *testing.T, name string, a Alert) {
	t.Helper()
	a.ID = alertID
	a.write()
	printable(t, a.Title+a.Explanation+a.Next)
	got := "severity: " + string(a.Severity) + "\n\n" + a.Title + "\n\n" + a.Explanation + "\n\n" + a.Next + "\n"
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./detect -update writes it):\n%s", path, got)
	}
}

// printable fails if a text could control a terminal or turn its direction.
func printable(t interface {
	Helper()
	Errorf(string, ...any)
}, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (!unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Errorf("the text holds %U: %q", r, text)
		}
	}
	if len(text) > 4000 {
		t.Errorf("%d bytes of text", len(text))
	}
}

func TestNewAuthFailures(t *testing.T) {
	from := netip.MustParseAddr("::ffff:192.0.2.7")
	if _, due := NewAuthFailures("calendar", serverID, from, 4, noon); due {
		t.Error("four failures are a slip, and made an alert")
	}
	for _, tc := range []struct {
		name    string
		claimed identity.Name
		id      identity.ID
		count   int64
		want    Severity
	}{
		{"auth_failures", "calendar", serverID, 5, Medium},
		{"auth_failures_guessing", "calendar", serverID, 100, High},
		{"auth_failures_unknown_server", "calender", identity.ID{}, 7, Low},
		{"auth_failures_no_name", "", identity.ID{}, 1000, Low},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, due := NewAuthFailures(tc.claimed, tc.id, from, tc.count, noon)
			if !due || a.Severity != tc.want || a.Count != tc.count || a.Family != "192.0.2.7" || a.Kind != AuthFailures || a.Verdict != flow.Refused {
				t.Errorf("%v %+v", due, a)
			}
			golden(t, tc.name, a)
		})
	}
	a, _ := NewAuthFailures("calendar", serverID, from, 60, noon)
	b, _ := NewAuthFailures("calendar", serverID, from, 60, noon.Add(time.Hour))
	if a.Key() != b.Key() {
		t.Fatal("two alerts of one cause")
	}
	m := a.Merge(b)
	if m.Count != 120 || m.Severity != High {
		t.Errorf("merged into %d, %s", m.Count, m.Severity)
	}
	golden(t, "auth_failures_merged", m)
}

func TestMerge(t *testing.T) {
	a := New(event(NewDestination, fresh))
	a.Status = Acknowledged
	b := New(event(NewDestination, func(e *Event) {
		e.Now = noon.Add(90 * time.Minute)
		e.Flow.ID = uuid.MustParse("01930000-0000-7000-8000-000000000003")
		e.Flow.Host = "www.example.net"
		e.Flow.Port = 8443
		e.Flow.IP, e.Flow.Place = netip.MustParseAddr("203.0.113.5"), example
	}))
	kept := slices.Clone(a.Flows)
	for name, m := range map[string]Alert{"in order": a.Merge(b), "out of order": b.Merge(a)} {
		if m.Count != 2 || !m.First.Equal(noon) || !m.Last.Equal(b.Last) || m.Host != "www.example.net" || m.Port != 8443 ||
			m.Place != example || m.Severity != High || m.Evidence != b.Evidence || len(m.Flows) != 2 || m.Flows[0] != b.Flows[0] {
			t.Errorf("%s: %+v", name, m)
		}
	}
	m := a.Merge(b)
	if m.ID != a.ID || m.Status != Acknowledged || !slices.Equal(a.Flows, kept) {
		t.Errorf("id, status or flows of the first changed: %+v", m)
	}
	golden(t, "new_destination_merged", m)

	// A refusal after a connection: it has no address, and the severity stays.
	c := New(event(NewDestination, all(refused, host("www.example.net"), func(e *Event) { e.Now = noon.Add(3 * time.Hour) })))
	m = m.Merge(c)
	if m.Verdict != flow.Refused || m.Severity != High || m.Place != example || m.Evidence.IP != b.Evidence.IP || m.Count != 3 {
		t.Errorf("after a refusal: %+v", m)
	}
	// Another host of the family doesn't inherit the place.
	d := New(event(NewDestination, all(refused, func(e *Event) { e.Now = noon.Add(4 * time.Hour) })))
	if m = m.Merge(d); m.Place != (flow.Place{}) || m.Evidence.IP.IsValid() {
		t.Errorf("another host inherited a place: %+v", m)
	}
	m.Family = AllFamilies
	m = m.Merge(d)
	golden(t, "new_destination_all_families", m)
}

func TestMergeKeepsTheLatestFlows(t *testing.T) {
	a := New(event(NewDestination, nil))
	var last uuid.UUID
	for i := range 30 {
		b := New(event(NewDestination, func(e *Event) {
			e.Now = noon.Add(time.Duration(i) * time.Minute)
			e.Flow.ID = newID(e.Now)
			last = e.Flow.ID
		}))
		a = a.Merge(b).Merge(b) // the same flow twice is one
	}
	if len(a.Flows) != 20 || a.Flows[0] != last || a.Count != 61 {
		t.Errorf("%d flows, newest %s, count %d", len(a.Flows), a.Flows[0], a.Count)
	}
	unique := slices.Clone(a.Flows)
	slices.SortFunc(unique, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	if len(slices.Compact(unique)) != 20 {
		t.Error("a flow is there twice")
	}
}

func TestLocated(t *testing.T) {
	a := New(event(NewDestination, nil))
	b := a.Located(netip.MustParseAddr("203.0.113.5"), example)
	if b.Place != example || !strings.Contains(b.Explanation, "203.0.113.5, lies in AS64500 Example Ltd (NL)") {
		t.Errorf("%s", b.Explanation)
	}
	if strings.Contains(a.Explanation, "AS64500") {
		t.Error("the first alert changed")
	}
	golden(t, "new_destination_located", b)
	if c := a.WithPlace(example); !strings.Contains(c.Explanation, "The address it led to lies in AS64500 Example Ltd (NL)") {
		t.Errorf("%s", c.Explanation)
	}
	if c := a.WithPlace(flow.Place{Org: "Evil\u202e \x1bOrg", Country: "X\n"}); strings.ContainsAny(c.Explanation, "\u202e\x1b") {
		t.Errorf("%q", c.Explanation)
	}
}

func TestFamily(t *testing.T) {
	for host, want := range map[string]string{
		"api.example.com":            "example.com",
		"example.com":                "example.com",
		"a.b.example.co.uk":          "example.co.uk",
		"a.workers.dev":              "a.workers.dev",
		"x.a.workers.dev":            "a.workers.dev",
		"workers.dev":                "workers.dev",
		"bucket.s3.amazonaws.com":    "bucket.s3.amazonaws.com",
		"me.github.io":               "me.github.io",
		"co.uk":                      "co.uk",
		"localhost":                  "localhost",
		"db.internal":                "db.internal",
		"x.db.internal":              "db.internal",
		"192.0.2.1":                  "192.0.2.1",
		"2001:db8::1":                "2001:db8::1",
		"_dmarc.example.com":         "example.com",
		"xn--bcher-kva.example":      "xn--bcher-kva.example",
		"shop.xn--bcher-kva.example": "xn--bcher-kva.example",
		"":                           "",
	} {
		if got := Family(host); got != want {
			t.Errorf("%s is of family %q, want %q", host, got, want)
		}
	}
}

func TestKindsAndSeverities(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); err != nil || got != k {
			t.Errorf("%s: %v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "made_up", "New_Destination", "other"} {
		if _, err := ParseKind(s); err == nil {
			t.Errorf("%q was taken as a kind", s)
		}
	}
	rank := -1
	for _, s := range []Severity{Info, Low, Medium, High, Critical} {
		got, err := ParseSeverity(string(s))
		if err != nil || got != s || s.Rank() != rank+1 {
			t.Errorf("%s: %v, %v, rank %d", s, got, err, s.Rank())
		}
		rank++
	}
	if _, err := ParseSeverity("urgent"); err == nil || Severity("urgent").Rank() != -1 {
		t.Error("urgent was taken as a severity")
	}
}

func TestJSON(t *testing.T) {
	a := New(event(NewDestination, func(e *Event) {
		e.Flow.Owner = "ann"
		e.Now = e.Now.In(time.FixedZone("CET", 3600))
	})).Located(netip.MustParseAddr("203.0.113.5"), example)
	a.ID = alertID
	a.write()
	got, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "alert.json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("alert.json differs:\n%s", got)
	}
	var keys map[string]any
	if err := json.Unmarshal(got, &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range strings.Fields("id kind severity server host port first last count status title explanation next flows" +
		" owner family verdict asn as_org country server_id evidence") {
		if _, ok := keys[k]; !ok {
			t.Errorf("no key %s", k)
		}
	}
	if got, err := json.Marshal(Alert{}); err != nil || !strings.Contains(string(got), `"flows":[]`) || !strings.Contains(string(got), `"known_since":null`) {
		t.Errorf("the zero alert: %s, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"count":"many"}`), &a); err == nil {
		t.Error("a count in words was read")
	}
}

// Whatever a server sends, an alert about it survives JSON and prints safely.
func TestHostileTextIsHarmless(t *testing.T) {
	kinds := Kinds()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		e := event(rapid.SampledFrom(kinds).Draw(t, "kind"), func(e *Event) {
			e.Flow.SNI = text.Draw(t, "sni")
			e.Flow.Tool = text.Draw(t, "tool")
			e.Flow.Place = flow.Place{ASN: 64500, Org: text.Draw(t, "org"), Country: text.Draw(t, "country")}
			e.Risk = text.Draw(t, "risk")
		})
		a := New(e)
		printable(t, a.Title+a.Explanation+a.Next)
		data, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b Alert
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatal(err)
		}
		// The place comes from our own data, which is valid text.
		b.Place = a.Place
		if !reflect.DeepEqual(normal(a), normal(b)) {
			t.Fatalf("%+v became %+v", a, b)
		}
	})
}

// normal makes times comparable.
func normal(a Alert) Alert {
	a.First, a.Last = a.First.UTC(), a.Last.UTC()
	a.Evidence.Known.Since = a.Evidence.Known.Since.UTC()
	return a
}

func BenchmarkNew(b *testing.B) {
	e := event(NewDestination, nil)
	b.ReportAllocs()
	for b.Loop() {
		New(e)
	}
}
