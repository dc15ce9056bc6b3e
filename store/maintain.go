package store

import (
	"fmt"
	"os"
	"time"
)

const (
	// maintainEvery is the pause between rounds of maintenance, maintainSoon
	// the one before the next small step of a round that has more to do.
	maintainEvery = time.Minute
	maintainSoon  = 20 * time.Millisecond
	optimizeEvery = time.Hour
	// pruneStep bounds how many rows one transaction deletes, so that no write
	// waits long behind it.
	pruneStep = 1000
	// minTraffic is how long the roll-ups, and destinations since they were
	// last used, are kept at least.
	minTraffic = 90 * 24 * time.Hour
)

// maintain does one small step of what keeps the database small and quick, and
// returns when it wants to be called again. What fails now is tried again then.
func (w *writer) maintain() time.Duration {
	more, err := w.prune()
	if err != nil {
		w.cfg.Logger.Warn("old records could not be deleted", "err", err)
		return maintainEvery
	}
	if more {
		return maintainSoon
	}
	w.optimize()
	w.truncateWAL(walLimit)
	return maintainEvery
}

// prune deletes a step's worth of what is too old and reports whether there
// may be more.
func (w *writer) prune() (more bool, err error) {
	now := w.cfg.Now()
	if n, err := w.change("DELETE FROM sessions WHERE expires != 0 AND expires <= ?", micros(now)); err != nil || n > 0 {
		return n > 0, err
	}
	if w.cfg.Retain <= 0 {
		return false, nil
	}
	rollups := now.Add(-max(w.cfg.Retain, minTraffic))
	steps := []struct {
		query string
		limit int64
	}{
		{pruneFlows, micros(now.Add(-w.cfg.Retain))},
		{pruneTrafficServers, hourOf(rollups)},
		{pruneTrafficDestinations, hourOf(rollups)},
	}
	for _, s := range steps {
		n, err := w.change(s.query, s.limit, pruneStep)
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	n, err := w.step(func(t *tx) (int64, error) { return pruneDestinations(t, micros(rollups)) })
	return n > 0, err
}

const (
	pruneFlows = `DELETE FROM flows WHERE (opened, id) IN
		(SELECT opened, id FROM flows WHERE opened < ? AND closed != 0 ORDER BY opened LIMIT ?)`
	pruneTrafficServers = `DELETE FROM traffic_servers WHERE (hour, server) IN
		(SELECT hour, server FROM traffic_servers WHERE hour < ? ORDER BY hour LIMIT ?)`
	pruneTrafficDestinations = `DELETE FROM traffic_destinations WHERE (dest, hour) IN
		(SELECT dest, hour FROM traffic_destinations WHERE hour < ? ORDER BY hour LIMIT ?)`
)

// step runs f in a transaction of its own.
func (w *writer) step(f func(*tx) (int64, error)) (int64, error) {
	if _, err := w.tx.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, classify(err)
	}
	n, err := f(w.tx)
	if err == nil {
		_, err = w.tx.exec("COMMIT")
	}
	if err != nil {
		w.tx.forget()
		_, _ = w.tx.exec("ROLLBACK") // SQLite may have done so already
		return 0, classify(err)
	}
	return n, nil
}

// change runs one statement in a transaction of its own.
func (w *writer) change(query string, args ...any) (int64, error) {
	n, err := w.tx.exec(query, args...)
	return n, classify(err)
}

// optimize refreshes the planner's statistics where they have become stale;
// SQLite itself bounds the work.
func (w *writer) optimize() {
	now := time.Now()
	if now.Before(w.nextOptimize) {
		return
	}
	w.nextOptimize = now.Add(optimizeEvery)
	if err := w.tx.direct("PRAGMA optimize"); err != nil {
		w.cfg.Logger.Warn("the statistics of the database could not be refreshed", "err", err)
	}
}

// truncateWAL empties a WAL that grew beyond limit bytes, as it does while a
// reader is slow. It doesn't wait for readers that still need it.
func (w *writer) truncateWAL(limit int64) {
	info, err := os.Stat(w.cfg.Path + "-wal")
	if err != nil || info.Size() <= limit {
		return
	}
	if err := w.tx.direct("PRAGMA busy_timeout=0"); err != nil {
		return
	}
	var busy, frames, copied int64
	if err := w.tx.get("PRAGMA wal_checkpoint(TRUNCATE)", nil, &busy, &frames, &copied); err != nil {
		w.cfg.Logger.Warn("the write-ahead log could not be shortened", "err", err)
	}
	restore := fmt.Sprintf("PRAGMA busy_timeout=%d", w.cfg.BusyTimeout.Milliseconds())
	if err := w.tx.direct(restore); err != nil {
		w.cfg.Logger.Warn("the lock timeout could not be restored", "err", err)
	}
}
