package record

import (
	"context"
	"sync"
	"time"

	"github.com/exeat/exeat/flow"
)

// queue holds the flows that wait to be written. Its bound is soft on purpose:
// push never blocks, since a flow that ended must be recorded whatever happens;
// instead nobody new is admitted while it is full. What can still come is then
// bounded by the tunnels that are open.
type queue struct {
	limit int

	mu    sync.Mutex
	items []flow.Flow
	ready chan struct{} // holds a token while there is something to take
	room  chan struct{} // closed and renewed whenever room comes free
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), room: make(chan struct{})}
}

func (q *queue) push(f flow.Flow) {
	q.mu.Lock()
	q.items = append(q.items, f)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take removes and returns up to limit of what waits.
func (q *queue) take(limit int) []flow.Flow {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.items))
	taken := q.items[:n:n]
	if n == len(q.items) {
		q.items = nil
	} else {
		q.items = q.items[n:]
	}
	if n > 0 && len(q.items) < q.limit {
		close(q.room)
		q.room = make(chan struct{})
	}
	return taken
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// admit returns at once while there is room, waits for it otherwise, and
// reports whether it had to wait.
func (q *queue) admit(ctx context.Context, patience time.Duration) (waited bool, err error) {
	full, room := q.full()
	if !full {
		return false, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for full {
		select {
		case <-room:
		case <-timer.C:
			return true, ErrOverloaded
		case <-ctx.Done():
			return true, ctx.Err()
		}
		full, room = q.full()
	}
	return true, nil
}

func (q *queue) full() (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) >= q.limit, q.room
}
