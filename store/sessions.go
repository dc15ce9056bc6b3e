package store

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const sessionColumns = "id, hash, kind, label, created, expires, seen"

func scanSession(s scanner) (Session, error) {
	var v Session
	var hash []byte
	var created, expires, seen int64
	err := s.Scan(&v.ID, &hash, &v.Kind, &v.Label, &created, &expires, &seen)
	copy(v.Hash[:], hash)
	v.Created, v.Expires, v.Seen = fromMicros(created), fromMicros(expires), fromMicros(seen)
	return v, err
}

// PutSession inserts or replaces a session by its ID. A zero Expires never
// ends.
func (d *DB) PutSession(ctx context.Context, s Session) error {
	return d.write(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO sessions (`+sessionColumns+`) VALUES (?,?,?,?,?,?,?)
			ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, kind = excluded.kind, label = excluded.label,
				created = excluded.created, expires = excluded.expires, seen = excluded.seen`,
			blob(s.ID), s.Hash[:], string(s.Kind), s.Label, micros(s.Created), micros(s.Expires), micros(s.Seen))
		return err
	})
}

// SessionByHash returns the session whose secret has that SHA-256. ErrNotFound
// if there is none or it has expired.
func (d *DB) SessionByHash(ctx context.Context, hash [32]byte) (Session, error) {
	found, err := readAll(ctx, d, "SELECT "+sessionColumns+" FROM sessions WHERE hash = ? AND (expires = 0 OR expires > ?)",
		[]any{hash[:], micros(d.cfg.Now())}, scanSession)
	if err != nil {
		return Session{}, err
	}
	if len(found) == 0 {
		return Session{}, ErrNotFound
	}
	return found[0], nil
}

// Sessions returns the sessions of a kind that have not expired, newest first;
// the empty kind means all.
func (d *DB) Sessions(ctx context.Context, kind SessionKind) ([]Session, error) {
	return readAll(ctx, d, "SELECT "+sessionColumns+` FROM sessions
		WHERE (?1 = '' OR kind = ?1) AND (expires = 0 OR expires > ?2) ORDER BY created DESC, id DESC`,
		[]any{string(kind), micros(d.cfg.Now())}, scanSession)
}

// TouchSession notes when a session was last used. It is no error if the
// session is gone.
func (d *DB) TouchSession(ctx context.Context, id uuid.UUID, at time.Time) error {
	return d.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE sessions SET seen = max(seen, ?) WHERE id = ?", micros(at), blob(id))
		return err
	})
}

// DeleteSession ends a session. ErrNotFound if there is none.
func (d *DB) DeleteSession(ctx context.Context, id uuid.UUID) error {
	return d.write(ctx, func(t *tx) error {
		n, err := t.exec("DELETE FROM sessions WHERE id = ?", blob(id))
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
}
