package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// event is one server-sent event.
type event struct{ id, kind, data string }

// follow opens an event stream. The channel is closed when the stream ends.
func (c *client) follow(query, last string) <-chan event {
	c.h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req := c.request("GET", "/api/v1/events"+query, "", "").WithContext(ctx)
	req.AddCookie(c.cookie)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	tr := &http.Transport{}
	res, err := (&http.Client{Transport: tr}).Do(req)
	must(c.h.t, err)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		c.h.t.Fatalf("events: %s", res.Status)
	}
	out := make(chan event, 1000)
	read := make(chan struct{})
	c.h.t.Cleanup(func() { cancel(); <-read; tr.CloseIdleConnections() })
	go func() {
		defer close(read)
		defer close(out)
		defer func() { _ = res.Body.Close() }()
		var e event
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == "" && e.kind != "":
				out <- e
				e = event{}
			case key == "id":
				e.id = value
			case key == "event":
				e.kind = value
			case key == "data":
				e.data = value
			}
		}
	}()
	return out
}

// next returns the next event, which must be of a kind.
func next(t *testing.T, events <-chan event, kind string) event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok || e.kind != kind {
			t.Fatalf("%s event expected, got %+v (%v)", kind, e, ok)
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s event came", kind)
	}
	return event{}
}

func TestEvents(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeAlert, true, identity.NewServer{})
	other := h.add("other", identity.ModeAlert, true, identity.NewServer{})
	c := h.signIn()
	all, one := c.follow("", ""), c.follow("?server=calendar", "")

	h.flow(other, "api.github.com", 0, nil)
	f := h.flow(s, "collector.metrics.test", 0, nil)
	h.sync()
	var got flow.Flow
	next(t, all, "flow")
	decodeInto(t, []byte(next(t, all, "flow").data), &got)
	if got.Host != f.Host || got.Place.Org == "" {
		t.Errorf("flow %+v", got)
	}
	decodeInto(t, []byte(next(t, one, "flow").data), &got)
	if got.ServerID != s.ID {
		t.Errorf("a reader of calendar is told of %s", got.Server)
	}
	a := h.alarm(f, flow.ReasonNewDestination)
	var alert detect.Alert
	decodeInto(t, []byte(next(t, one, "alert").data), &alert)
	if alert.ID != a.ID || alert.Title == "" {
		t.Errorf("alert %+v", alert)
	}
	next(t, all, "alert")
	h.call("POST", "/api/v1/servers/calendar/mode", `{"mode":"block"}`, 200, nil)
	var changed web.ServerEvent
	decodeInto(t, []byte(next(t, one, "server").data), &changed)
	if changed.Name != "calendar" {
		t.Errorf("server %+v", changed)
	}
	h.journal.Hub().Publish(record.Event{Missed: 7})
	if e := next(t, one, "missed"); e.data != `{"missed":7}` {
		t.Errorf("missed %+v", e)
	}
}

// TestEventsResume comes back after a while.
func TestEventsResume(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeLearn, true, identity.NewServer{})
	c := h.signIn()
	events := c.follow("", "")
	h.flow(s, "api.github.com", 0, nil)
	h.sync()
	e := next(t, events, "flow")
	h.clock.Advance(time.Second)
	for i := range 3 {
		h.flow(s, fmt.Sprintf("h%d.example.com", i), 0, nil)
		h.clock.Advance(time.Second)
	}
	h.sync()
	again := c.follow("", e.id)
	for i := 0; i < 3; i++ {
		var f flow.Flow
		decodeInto(t, []byte(next(t, again, "flow").data), &f)
		if f.Host == "api.github.com" { // opened in the same second: told again
			i--
			continue
		}
		if want := fmt.Sprintf("h%d.example.com", i); f.Host != want {
			t.Errorf("%s came, not %s", f.Host, want)
		}
	}
}

// TestEventsEnd: a stream outlives neither its session nor the server.
func TestEventsEnd(t *testing.T) {
	h := newHouse(t)
	c, other := h.signIn(), h.signIn()
	mine, theirs := c.follow("", ""), other.follow("", "")
	sessions, err := h.db.Sessions(t.Context(), store.SessionBrowser)
	must(t, err)
	must(t, h.db.DeleteSession(t.Context(), sessions[0].ID))
	must(t, h.db.DeleteSession(t.Context(), sessions[1].ID))
	for _, ch := range []<-chan event{mine, theirs} {
		select {
		case _, open := <-ch:
			if open {
				t.Error("an event came")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the stream outlived its session")
		}
	}
	third := h.signIn().follow("", "")
	h.web.Close()
	select {
	case <-third:
	case <-time.After(10 * time.Second):
		t.Fatal("the stream outlived the server")
	}
}
