package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
)

const (
	eventBuffer  = 256
	heartbeat    = 15 * time.Second
	writeTimeout = 10 * time.Second // a reader that takes longer is gone
	replayLimit  = 500
)

// ServerEvent is the data of a "server" event: a server or its baseline
// changed.
type ServerEvent struct {
	ID   identity.ID   `json:"id"`
	Name identity.Name `json:"server"` // empty when it was removed
}

// MissedEvent is the data of a "missed" event: so many events were skipped for
// this reader. What happened meanwhile is in the listings.
type MissedEvent struct {
	Missed int `json:"missed"`
}

// apiEvents streams what happens as server-sent events (WHATWG HTML, section
// 9.2): flow, alert, server and missed. An event's id is the time at which it
// was sent, so that a reader who comes back with Last-Event-ID is first told
// of the flows that opened since.
func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request) {
	q := s.query(r)
	only := q.server()
	if q.err != nil {
		s.fail(w, r, q.err)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Code: "too_many_streams",
			Detail: "Too many event streams are open."})
		return
	}
	events, cancel := s.cfg.Events.Subscribe(eventBuffer)
	defer cancel()
	out := &stream{w: w, c: http.NewResponseController(w), only: only, name: s.nameOf, now: s.now}
	// The server's ReadTimeout would end the stream with the request's context.
	_ = out.c.SetReadDeadline(time.Time{})
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if out.comment("retry: 2000\n: welcome\n\n") != nil || s.replay(out, r) != nil {
		return
	}
	s.follow(out, r, events)
}

// follow writes events until the reader, the session or the server ends.
func (s *Server) follow(out *stream, r *http.Request, events <-chan record.Event) {
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-s.closing.Done():
			return
		case e, open := <-events:
			if !open {
				return
			}
			err = out.event(e)
		case <-beat.C:
			if !s.stillKnown(r) {
				return
			}
			err = out.comment(": beat\n\n")
		}
		if err != nil {
			return
		}
	}
}

// stillKnown reports whether the session of a long request still stands.
func (s *Server) stillKnown(r *http.Request) bool {
	v := visitorOf(r)
	if v.peer != nil {
		return true
	}
	now, err := s.cfg.Sessions.SessionByHash(r.Context(), v.session.Hash)
	return err == nil && s.now().Before(now.Expires)
}

func (s *Server) nameOf(id identity.ID) identity.Name {
	srv, _ := s.cfg.Servers.Server(id)
	return srv.Name
}

// replay tells a reader who comes back of the flows that opened meanwhile.
func (s *Server) replay(out *stream, r *http.Request) error {
	ms, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		return nil // a new reader
	}
	p, err := s.cfg.Store.Flows(r.Context(), store.FlowQuery{Server: out.only, Since: time.UnixMilli(ms), Limit: replayLimit})
	if err != nil {
		s.log.Warn("events can't be replayed", "err", err)
		return out.event(record.Event{Missed: 1})
	}
	if p.Next != "" {
		if err := out.event(record.Event{Missed: replayLimit}); err != nil {
			return err
		}
	}
	for _, f := range slices.Backward(p.Items) {
		if err := out.event(record.Event{Flow: &f}); err != nil {
			return err
		}
	}
	return nil
}

// stream writes server-sent events to one reader.
type stream struct {
	w    http.ResponseWriter
	c    *http.ResponseController
	only identity.ID
	name func(identity.ID) identity.Name
	now  func() time.Time
}

func (o *stream) event(e record.Event) error {
	switch {
	case e.Missed > 0:
		return o.send("missed", MissedEvent{Missed: e.Missed})
	case e.Flow != nil && o.wants(e.Flow.ServerID):
		return o.send("flow", e.Flow)
	case e.Alert != nil && o.wants(e.Alert.ServerID):
		return o.send("alert", e.Alert)
	case e.Flow == nil && e.Alert == nil && o.wants(e.Server):
		return o.send("server", ServerEvent{ID: e.Server, Name: o.name(e.Server)})
	}
	return nil
}

func (o *stream) wants(id identity.ID) bool { return o.only == (identity.ID{}) || o.only == id }

// send writes one event. JSON holds no line break, so that one data line is
// all it takes.
func (o *stream) send(kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("web: encode event: %w", err)
	}
	return o.comment(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", o.now().UnixMilli(), kind, data))
}

// comment writes text as it is and sees that it leaves.
func (o *stream) comment(text string) error {
	// Not every ResponseWriter has a deadline; then the server's own holds.
	_ = o.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := o.w.Write([]byte(text)); err != nil {
		return err
	}
	return o.c.Flush()
}
