package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// readTimeout bounds every query: a reader that never ends would keep the WAL
// from being emptied.
const readTimeout = 30 * time.Second

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// readAll runs a query and reads every row with scan.
func readAll[T any](ctx context.Context, d *DB, query string, args []any, scan func(scanner) (T, error)) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := d.readers.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, readError(err)
	}
	defer func() { _ = rows.Close() }()
	var items []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, readError(err)
		}
		items = append(items, item)
	}
	return items, readError(rows.Err())
}

// readOne reads one row; ErrNotFound if there is none.
func (d *DB) readOne(ctx context.Context, query string, args []any, dest ...any) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return readError(d.readers.QueryRowContext(ctx, query, args...).Scan(dest...))
}

func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	}
	return fmt.Errorf("reading the store: %w", err)
}

// conditions collects WHERE terms and their arguments. Arguments are numbered,
// so that a term may be used several times in one query.
type conditions struct {
	terms []string
	args  []any
}

// bind adds an argument and returns its placeholder.
func (c *conditions) bind(v any) string {
	c.args = append(c.args, v)
	return "?" + strconv.Itoa(len(c.args))
}

// add adds a term; each %s in it stands for one of args.
func (c *conditions) add(term string, args ...any) {
	marks := make([]any, len(args))
	for i, a := range args {
		marks[i] = c.bind(a)
	}
	c.terms = append(c.terms, fmt.Sprintf(term, marks...))
}

// where returns the terms and the extra ones as a WHERE clause.
func (c *conditions) where(extra ...string) string {
	terms := append(extra[:len(extra):len(extra)], c.terms...)
	if len(terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(terms, " AND ")
}
