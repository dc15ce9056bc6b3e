package flow_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

func whole() flow.Flow {
	return flow.Flow{
		ID:       uuid.MustParse("01935a00-0000-7000-8000-000000000001"),
		ServerID: uuid.MustParse("01935a00-0000-7000-8000-000000000002"),
		Server:   "calendar", Owner: "ada", Mode: identity.ModeBlock,
		Opened: time.Date(2026, 11, 23, 13, 0, 0, 123456789, time.FixedZone("CET", 3600)),
		Closed: time.Date(2026, 11, 23, 12, 0, 1, 0, time.UTC),
		Method: flow.MethodConnect, Host: "api.example.com", Port: 443,
		Chain: []string{"edge.example.net"}, IP: netip.MustParseAddr("2001:db8::1"),
		Place: flow.Place{ASN: 64496, Org: "Example", Country: "DE"},
		SNI:   "api.example.com", ALPN: []string{"h2", "http/1.1"}, JA4: "t13d1312h2_f57a46bbacb6_ab7e3b40a677", ECH: true,
		Grade: flow.GradeVerified, Phase: "tool:add", Tool: "add",
		BytesUp: 1503, BytesDown: 1 << 40,
		Verdict: flow.Allowed, Reason: flow.ReasonApproved, End: flow.EndClient,
	}
}

// TestJSONIsTheContract holds the keys, their order and the form of their
// values: others build on them.
func TestJSONIsTheContract(t *testing.T) {
	open := flow.Flow{Opened: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for want, f := range map[string]flow.Flow{
		`{"id":"01935a00-0000-7000-8000-000000000001","server_id":"01935a00-0000-7000-8000-000000000002","server":"calendar","owner":"ada",` +
			`"opened":"2026-11-23T12:00:00.123456789Z","closed":"2026-11-23T12:00:01Z","method":"connect","host":"api.example.com","port":443,` +
			`"cname":["edge.example.net"],"ip":"2001:db8::1","sni":"api.example.com","alpn":["h2","http/1.1"],` +
			`"ja4":"t13d1312h2_f57a46bbacb6_ab7e3b40a677","ech":true,"grade":"verified","phase":"tool:add","tool":"add",` +
			`"asn":64496,"as_org":"Example","country":"DE","bytes_up":1503,"bytes_down":1099511627776,` +
			`"verdict":"allowed","reason":"approved","mode":"block","end":"client"}`: whole(),
		`{"id":"00000000-0000-0000-0000-000000000000","server_id":"00000000-0000-0000-0000-000000000000","server":"","owner":"",` +
			`"opened":"2026-11-23T12:00:00Z","closed":null,"method":"","host":"","port":0,` +
			`"cname":[],"ip":"","sni":"","alpn":[],"ja4":"","ech":false,"grade":"","phase":"","tool":"",` +
			`"asn":0,"as_org":"","country":"","bytes_up":0,"bytes_down":0,` +
			`"verdict":"","reason":"","mode":"","end":""}`: open,
	} {
		got, err := json.Marshal(f)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	open := whole()
	open.Closed, open.End, open.Chain, open.ALPN, open.IP = time.Time{}, "", nil, nil, netip.Addr{}
	for _, f := range []flow.Flow{whole(), open, {}} {
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var got flow.Flow
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		f.Opened = f.Opened.UTC()
		if !reflect.DeepEqual(got, f) {
			t.Errorf("got  %+v\nwant %+v", got, f)
		}
	}
}

// TestJSONHasEveryField: a field that is added to Flow must get a key.
func TestJSONHasEveryField(t *testing.T) {
	for field := range fields(reflect.TypeFor[flow.Flow]()) {
		f := whole()
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		reflect.ValueOf(&f).Elem().FieldByName(field).SetZero()
		without, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if string(text) == string(without) {
			t.Errorf("%s is not in the JSON", field)
		}
	}
}

func fields(t reflect.Type) map[string]bool {
	names := map[string]bool{}
	for i := range t.NumField() {
		names[t.Field(i).Name] = true
	}
	return names
}

// TestHostileTextStaysInItsString: whatever a client sent, the line stays one
// line of valid JSON.
func TestHostileTextStaysInItsString(t *testing.T) {
	f := whole()
	f.ALPN = []string{"\x00\xff\"\n", "\u2028</script>"}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) || strings.ContainsAny(string(text), "\n\x00<\u2028") {
		t.Errorf("got %s", text)
	}
	if err := new(flow.Flow).UnmarshalJSON([]byte(`{"port":65536}`)); err == nil {
		t.Error("a port of 65536 was read")
	}
}

func TestDestinationOfAFlow(t *testing.T) {
	f := whole()
	if got := f.Destination().String(); got != "api.example.com:443" {
		t.Errorf("got %s", got)
	}
}
