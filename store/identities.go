package store

import (
	"context"
	"fmt"
	"time"

	"github.com/exeat/exeat/identity"
)

// Identities implements identity.Store.
func (d *DB) Identities(ctx context.Context) ([]identity.Server, []identity.Credential, error) {
	servers, err := readAll(ctx, d, `SELECT id, name, formerly, owner, mode, status, command, package, version, created, learn_until, launched, listen
		FROM servers ORDER BY owner, name`, nil, scanServer)
	if err != nil {
		return nil, nil, err
	}
	creds, err := readAll(ctx, d, "SELECT id, server, hash, created, expires, revoked FROM credentials ORDER BY created, id", nil, scanCredential)
	return servers, creds, err
}

func scanServer(s scanner) (identity.Server, error) {
	var v identity.Server
	var command, formerly string
	var created, learn, launched int64
	err := s.Scan(&v.ID, &v.Name, &formerly, &v.Owner, &v.Mode, &v.Status, &command, &v.Package, &v.Version, &created, &learn, &launched, &v.Listen)
	if err != nil {
		return v, err
	}
	v.Created, v.LearnUntil, v.Launched = fromMicros(created), fromMicros(learn), fromMicros(launched)
	if v.Formerly, err = fromList[identity.Name](formerly); err != nil {
		return v, err
	}
	v.Command, err = fromList[string](command)
	return v, err
}

func scanCredential(s scanner) (identity.Credential, error) {
	var c identity.Credential
	var hash []byte
	var created, expires, revoked int64
	err := s.Scan(&c.ID, &c.Server, &hash, &created, &expires, &revoked)
	copy(c.Hash[:], hash)
	c.Created, c.Expires, c.Revoked = fromMicros(created), fromMicros(expires), fromMicros(revoked)
	return c, err
}

// PutServer implements identity.Store. It returns identity.ErrExists if
// another server of the same owner has that name. The server's credentials
// that had expired by c.At, given ones included, are gone afterwards.
func (d *DB) PutServer(ctx context.Context, s identity.Server, creds []identity.Credential, c identity.Change) error {
	return d.write(ctx, func(t *tx) error {
		if err := putServer(t, &s); err != nil {
			return err
		}
		for i := range creds {
			if err := putCredential(t, s.ID, &creds[i]); err != nil {
				return fmt.Errorf("storing a credential of %s: %w", s.Name, err)
			}
		}
		if err := forgetExpired(t, s.ID, c.At); err != nil {
			return fmt.Errorf("deleting the expired credentials of %s: %w", s.Name, err)
		}
		return audit(t, c)
	})
}

func putServer(t *tx, s *identity.Server) error {
	command, err := list(s.Command)
	if err != nil {
		return err
	}
	formerly, err := list(s.Formerly)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO servers (id, name, formerly, owner, mode, status, command, package, version, created, learn_until, launched, listen)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, formerly = excluded.formerly, owner = excluded.owner, mode = excluded.mode,
			status = excluded.status, command = excluded.command, package = excluded.package, version = excluded.version,
			created = excluded.created, learn_until = excluded.learn_until, launched = excluded.launched, listen = excluded.listen`,
		blob(s.ID), string(s.Name), formerly, s.Owner, string(s.Mode), string(s.Status), command, s.Package, s.Version,
		micros(s.Created), micros(s.LearnUntil), micros(s.Launched), s.Listen)
	if unique(err) {
		return fmt.Errorf("%s: %w", s.Name, identity.ErrExists)
	}
	return err
}

// forgetExpired deletes the credentials that can't prove anything from at on.
func forgetExpired(t *tx, server identity.ID, at time.Time) error {
	_, err := t.exec("DELETE FROM credentials WHERE server = ? AND expires > 0 AND expires <= ?", blob(server), micros(at))
	return err
}

func putCredential(t *tx, server identity.ID, c *identity.Credential) error {
	_, err := t.exec(`INSERT INTO credentials (id, server, hash, created, expires, revoked) VALUES (?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, created = excluded.created,
			expires = excluded.expires, revoked = excluded.revoked`,
		blob(c.ID), blob(server), c.Hash[:], micros(c.Created), micros(c.Expires), micros(c.Revoked))
	return err
}

// RemoveServer implements identity.Store. It returns
// identity.ErrUnknownServer if there is no such server.
func (d *DB) RemoveServer(ctx context.Context, id identity.ID, c identity.Change) error {
	return d.write(ctx, func(t *tx) error {
		// The name it had last stays with what stays.
		_, err := t.exec("UPDATE destinations SET name = (SELECT name FROM servers WHERE id = ?1) WHERE server = ?1 AND EXISTS (SELECT 1 FROM servers WHERE id = ?1)", blob(id))
		if err != nil {
			return err
		}
		// Credentials and baseline go with it, by their foreign keys.
		n, err := t.exec("DELETE FROM servers WHERE id = ?", blob(id))
		if err != nil {
			return err
		}
		if n == 0 {
			return identity.ErrUnknownServer
		}
		return audit(t, c)
	})
}
