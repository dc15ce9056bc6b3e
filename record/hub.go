package record

import (
	"sync"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// Event is one thing that a live page wants to know. One of its fields is set.
type Event struct {
	Flow   *flow.Flow
	Alert  *detect.Alert
	Server identity.ID // a server or its baseline changed
	// Missed is how many events were skipped because the subscriber was slow.
	Missed int
}

// Hub hands events to whoever is looking. A subscriber that doesn't keep up
// misses events and is told how many; it never slows the record down. The zero
// value is ready to use. Its methods are safe for concurrent use.
type Hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

type subscriber struct {
	ch     chan Event
	missed int
}

// Subscribe returns a channel that carries the events from now on and holds up
// to buffer of them. cancel ends the subscription and closes the channel; it
// must be called, and may be called twice.
func (h *Hub) Subscribe(buffer int) (events <-chan Event, cancel func()) {
	s := &subscriber{ch: make(chan Event, max(buffer, 1))}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	return s.ch, func() { h.remove(s) }
}

func (h *Hub) remove(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.ch)
	}
}

// Publish hands e to every subscriber that has room for it.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		s.send(e)
	}
}

func (s *subscriber) send(e Event) {
	if s.missed > 0 {
		select {
		case s.ch <- Event{Missed: s.missed}:
			s.missed = 0
		default:
			s.missed++
			return
		}
	}
	select {
	case s.ch <- e:
	default:
		s.missed++
	}
}

// watched reports whether anybody is looking.
func (h *Hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) > 0
}
