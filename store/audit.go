package store

import (
	"context"
	"fmt"

	"github.com/exeat/exeat/identity"
)

// audit adds a record to the audit trail.
func audit(t *tx, c identity.Change) error {
	_, err := t.exec("INSERT INTO changes (at, actor, action, server, name, detail) VALUES (?,?,?,?,?,?)",
		micros(c.At), c.Actor, c.Action, blob(c.Server), string(c.Name), c.Detail)
	return err
}

// recorded is an audit record with its number.
type recorded struct {
	identity.Change
	seq int64
}

// Audit returns a page of the audit trail, newest first.
func (d *DB) Audit(ctx context.Context, q AuditQuery) (Page[identity.Change], error) {
	limit := limitOf(q.Limit)
	after, paged, err := parseCursor(auditCursor, q.Cursor)
	if err != nil {
		return Page[identity.Change]{}, err
	}
	var c conditions
	if q.Server != (identity.ID{}) {
		c.add("server = %s", blob(q.Server))
	}
	if !q.Since.IsZero() {
		c.add("at >= %s", micros(q.Since))
	}
	if paged {
		c.add("(at, seq) < (%s, %s)", after.at, after.number())
	}
	query := fmt.Sprintf("SELECT seq, at, actor, action, server, name, detail FROM changes%s ORDER BY at DESC, seq DESC LIMIT %d", c.where(), limit+1)
	found, err := readAll(ctx, d, query, c.args, func(s scanner) (recorded, error) {
		var r recorded
		var at int64
		err := s.Scan(&r.seq, &at, &r.Actor, &r.Action, &r.Server, &r.Name, &r.Detail)
		r.At = fromMicros(at)
		return r, err
	})
	if err != nil {
		return Page[identity.Change]{}, err
	}
	p := page(found, limit, auditCursor, func(r *recorded) key { return numberKey(micros(r.At), r.seq) })
	changes := make([]identity.Change, len(p.Items))
	for i := range p.Items {
		changes[i] = p.Items[i].Change
	}
	return Page[identity.Change]{Items: changes, Next: p.Next}, nil
}
