package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// TestAlertMovesOn: between looking at an alert and pressing its button, the
// server reaches for another host of the family. What wasn't shown isn't
// decided on.
func TestAlertMovesOn(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeAlert, true, identity.NewServer{})
	reach := func(host string) string {
		f := h.flow(s, host, 0, func(f *flow.Flow) { f.Reason = flow.ReasonNewDestination })
		h.alarm(f, flow.ReasonNewDestination)
		h.sync()
		p, err := h.db.Alerts(t.Context(), store.AlertQuery{Status: detect.Open, Limit: 2})
		must(t, err)
		if len(p.Items) != 1 {
			t.Fatalf("%d open alerts", len(p.Items))
		}
		return p.Items[0].ID.String()
	}
	state := func(host string) baseline.State {
		return h.book.Match(s.ID, flow.Destination{Host: host, Port: 443}).State
	}
	shown := regexp.MustCompile(`name="target" value="([^"]*)"`)
	c := h.signIn()
	look := func(id string) string {
		m := shown.FindStringSubmatch(c.get("/alerts/" + id).body)
		if m == nil {
			t.Fatal("the form doesn't say what it shows")
		}
		return m[1]
	}
	for do, decided := range map[string]baseline.State{"approve": baseline.Approved, "reject": baseline.Rejected} {
		t.Run(do, func(t *testing.T) {
			good, evil := "good."+do+".example", "evil."+do+".example"
			id := reach(good)
			press := func(target string, want int) {
				t.Helper()
				if res := c.form("/alerts/"+id, url.Values{"do": {do}, "target": {target}, "back": {"/alerts"}}); res.StatusCode != want {
					t.Errorf("%s with %q: %s", do, target, res.Status)
				}
			}
			old := look(id)
			if reach(evil) != id {
				t.Fatal("another host of the family made another alert")
			}
			press(old, http.StatusConflict)
			press("", http.StatusBadRequest)
			press("*."+do+".example:443", http.StatusConflict)
			if state(good) == decided || state(evil) == decided {
				t.Errorf("%s was done: %s is %q, %s is %q", do, good, state(good), evil, state(evil))
			}
			press(look(id), http.StatusSeeOther)
			if state(good) == decided || state(evil) != decided {
				t.Errorf("%s: %s is %q, %s is %q", do, good, state(good), evil, state(evil))
			}
		})
	}
}
