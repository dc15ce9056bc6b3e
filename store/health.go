package store

import (
	"context"
	"os"
	"sync/atomic"
)

type counters struct {
	batches, writes, rows, refused, failed atomic.Int64
}

func (c *counters) committed(writes int, rows int64) {
	c.batches.Add(1)
	c.writes.Add(int64(writes))
	c.rows.Add(rows)
}

// Stats are the store's own figures, for metrics and the doctor.
type Stats struct {
	Batches int64 // transactions committed
	Writes  int64 // writes in them: a transaction takes all that wait
	Rows    int64 // flows inserted or updated
	Refused int64 // writes that failed alone
	Failed  int64 // transactions that could not be written
	Queue   int   // writes waiting now
	Bytes   int64 // size of the database with its WAL
}

// Stats returns the figures since Open. It costs two stat calls.
func (d *DB) Stats() Stats {
	s := Stats{Bytes: fileSize(d.cfg.Path) + fileSize(d.cfg.Path+"-wal")}
	if w := d.writer; w != nil {
		s.Batches, s.Writes, s.Rows = w.counters.batches.Load(), w.counters.writes.Load(), w.counters.rows.Load()
		s.Refused, s.Failed = w.counters.refused.Load(), w.counters.failed.Load()
		s.Queue = len(w.queue)
	}
	return s
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Health writes to the disk and reads back, and returns what went wrong.
func (d *DB) Health(ctx context.Context) error {
	at := micros(d.cfg.Now())
	err := d.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE probe SET at = ? WHERE id = 1", at)
		return err
	})
	if err != nil {
		return err
	}
	return d.readOne(ctx, "SELECT at FROM probe WHERE id = 1", nil, &at)
}
