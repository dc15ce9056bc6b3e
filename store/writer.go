package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exeat/exeat/identity"
)

const (
	// queueLength bounds how many writes wait; more make their callers wait.
	queueLength = 1024
	// maxGroup bounds how many writes share a transaction, groupTime how long
	// a transaction goes on taking them.
	maxGroup  = 256
	groupTime = 50 * time.Millisecond
)

// The states of an op. Whoever moves it away from waiting owns what follows.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// op is one write on its way through the writer.
type op struct {
	run   func(*tx) error
	state atomic.Int32
	done  chan struct{} // closed once err is final
	err   error
}

func (o *op) finish(err error) {
	o.err = err
	close(o.done)
}

// tx is what an op sees of the writer's transaction. Statements are prepared
// once and kept, so the SQL must be one of a fixed set of texts.
type tx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	rows  int64 // flows written by the current group
	// dests has the row numbers of destinations that were used lately, counts
	// how many each server has. They go wrong when an insert is undone or rows
	// are deleted: forget then.
	dests  map[place]int64
	counts map[identity.ID]int64
}

func newTx(conn *sql.Conn) *tx {
	return &tx{conn: conn, stmts: map[string]*sql.Stmt{}, dests: map[place]int64{}, counts: map[identity.ID]int64{}}
}

// maxRemembered bounds tx.dests.
const maxRemembered = 50_000

func (t *tx) prepare(query string) (*sql.Stmt, error) {
	if s, ok := t.stmts[query]; ok {
		return s, nil
	}
	s, err := t.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	t.stmts[query] = s
	return s, nil
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.prepare(query) //nolint:sqlclosecheck // kept for the next use; writer.close closes it
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// get reads one row into dest; it returns sql.ErrNoRows if there is none.
func (t *tx) get(query string, args []any, dest ...any) error {
	s, err := t.prepare(query) //nolint:sqlclosecheck // kept for the next use; writer.close closes it
	if err != nil {
		return err
	}
	return s.QueryRowContext(context.Background(), args...).Scan(dest...)
}

// direct runs a statement that isn't worth keeping.
func (t *tx) direct(query string) error {
	_, err := t.conn.ExecContext(context.Background(), query)
	return err
}

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	s, err := t.prepare(query) //nolint:sqlclosecheck // kept for the next use; writer.close closes it
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// writer is the one goroutine that writes, and its queue.
type writer struct {
	cfg   Config
	db    *sql.DB
	tx    *tx
	queue chan *op
	ended chan struct{}

	mu     sync.RWMutex // held for writing while the queue is being closed
	closed bool

	nextOptimize time.Time
	counters     counters
}

func startWriter(cfg Config, db *sql.DB, conn *sql.Conn) *writer {
	w := &writer{
		cfg:   cfg,
		db:    db,
		tx:    newTx(conn),
		queue: make(chan *op, queueLength),
		ended: make(chan struct{}),
	}
	go w.loop()
	return w
}

// stop lets the writer finish what is queued and waits for it.
func (w *writer) stop() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.ended
}

func (w *writer) close() error {
	errs := []error{}
	for _, s := range w.tx.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.tx.conn.Close(), w.db.Close())...)
}

// write has the writer run f in a transaction, which may be shared with other
// writes but in which f fails alone, and returns once it is on disk.
//
// The outcome is never ambiguous: if ctx ends before the writer has taken f,
// f never runs and write returns ctx's error; once the writer has it, write
// waits for the outcome, however ctx fares.
func (d *DB) write(ctx context.Context, f func(*tx) error) error {
	if d.writer == nil {
		return ErrReadOnly
	}
	o := &op{run: f, done: make(chan struct{})}
	if err := d.writer.submit(ctx, o); err != nil {
		return err
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		if o.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		<-o.done
		return o.err
	}
}

func (w *writer) submit(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) loop() {
	defer close(w.ended)
	timer := time.NewTimer(maintainSoon)
	defer timer.Stop()
	for {
		select {
		case o, ok := <-w.queue:
			if !ok {
				return
			}
			w.serve(o)
		case <-timer.C:
			timer.Reset(w.maintain())
		}
	}
}

// serve commits first and everything that is waiting behind it, in as many
// transactions as that takes.
func (w *writer) serve(first *op) {
	for group := w.waiting([]*op{first}); len(group) > 0; {
		n, err := w.commit(group)
		if err != nil {
			// Those that came in meanwhile would only wait for the same.
			for _, o := range w.waiting(group) {
				w.answer(o, err)
			}
			return
		}
		group = group[n:]
	}
}

// waiting adds to group what is in the queue, up to maxGroup.
func (w *writer) waiting(group []*op) []*op {
	for len(group) < maxGroup {
		select {
		case o, ok := <-w.queue:
			if !ok {
				return group
			}
			group = append(group, o)
		default:
			return group
		}
	}
	return group
}

// answer finishes an op that never ran.
func (w *writer) answer(o *op, err error) {
	if o.state.Load() == taken || o.state.CompareAndSwap(waiting, taken) {
		o.finish(err)
	}
}

// commit runs the first ops of group in one transaction and answers them once
// it is on disk. It returns how many it took. An error means that nothing was
// written and nobody was answered.
func (w *writer) commit(group []*op) (int, error) {
	if _, err := w.tx.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, w.failed(err)
	}
	start := time.Now()
	w.tx.rows = 0
	errs := make([]error, 0, len(group))
	for _, o := range group {
		fatal, err := w.runOne(o)
		if fatal {
			return 0, w.abort(err)
		}
		errs = append(errs, err)
		if time.Since(start) > groupTime {
			break
		}
	}
	if _, err := w.tx.exec("COMMIT"); err != nil {
		return 0, w.abort(err)
	}
	w.counters.committed(len(errs), w.tx.rows)
	for i, err := range errs {
		if group[i].state.Load() == taken {
			group[i].finish(err)
		}
	}
	return len(errs), nil
}

// runOne runs one op in a savepoint. If it fails for reasons of its own, only
// its changes are undone; fatal means that the transaction is lost.
func (w *writer) runOne(o *op) (fatal bool, err error) {
	if !o.state.CompareAndSwap(waiting, taken) {
		return false, nil // withdrawn
	}
	if _, err := w.tx.exec("SAVEPOINT op"); err != nil {
		return true, err
	}
	if err := o.run(w.tx); err != nil {
		if cause(err) != "" {
			return true, err
		}
		w.tx.forget()
		if _, undo := w.tx.exec("ROLLBACK TO op"); undo != nil {
			return true, fmt.Errorf("%w (and undoing it: %w)", err, undo)
		}
		w.counters.refused.Add(1)
		_, undo := w.tx.exec("RELEASE op")
		return undo != nil, err
	}
	_, err = w.tx.exec("RELEASE op")
	return err != nil, err
}

// abort undoes the transaction. SQLite may have done so already, so that its
// own error says nothing.
func (w *writer) abort(err error) error {
	w.tx.forget()
	_, _ = w.tx.exec("ROLLBACK")
	return w.failed(err)
}

// failed counts a transaction that could not be written. Whatever its error,
// nothing of it is on disk, so to its callers the store was unavailable.
func (w *writer) failed(err error) error {
	w.counters.failed.Add(1)
	if err = classify(err); errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
