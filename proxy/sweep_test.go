package proxy

import (
	"testing"
	"time"
)

// TestStale walks one flow past the sweeper. Each row is what has happened by
// then, and whether the flow has been quiet for too long.
func TestStale(t *testing.T) {
	s := &session{p: &Proxy{limits: Limits{IdleTimeout: time.Hour, DrainTimeout: 30 * time.Second}}}
	start := time.Now()
	for _, step := range []struct {
		at    time.Duration
		bytes int64
		half  bool
		stale bool
	}{
		{0, 0, false, false},
		{50 * time.Minute, 0, false, false},
		{59 * time.Minute, 1, false, false},
		{61 * time.Minute, 1, false, false},
		{90 * time.Minute, 1, true, false}, // one side closed just now, after a long silence
		{90*time.Minute + 20*time.Second, 1, true, false},
		{90*time.Minute + 29*time.Second, 2, true, false},
		{90*time.Minute + 58*time.Second, 2, true, false},
		{90*time.Minute + 59*time.Second, 2, true, true},
	} {
		s.down.Store(step.bytes)
		s.half.Store(step.half)
		if got := s.stale(start.Add(step.at)); got != step.stale {
			t.Errorf("after %v: stale is %t", step.at, got)
		}
	}
	whole := &session{p: s.p}
	if whole.stale(start) || whole.stale(start.Add(time.Hour-1)) || !whole.stale(start.Add(time.Hour)) {
		t.Error("a flow of which neither side closed has the idle timeout")
	}
}
