package identity

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// Store keeps servers and credentials. An implementation returns only after
// what it was given is durable, and writes the Change in the same transaction.
type Store interface {
	// Identities returns everything there is, revoked ones included.
	Identities(ctx context.Context) ([]Server, []Credential, error)
	// PutServer inserts or replaces a server together with the given
	// credentials of it (inserted or replaced by ID). It may delete credentials
	// of s that had expired by c.At: they can't prove anything any more.
	PutServer(ctx context.Context, s Server, creds []Credential, c Change) error
	// RemoveServer deletes a server, its credentials and its baseline. Its
	// flows and alerts stay, under the name it had.
	RemoveServer(ctx context.Context, id ID, c Change) error
}

// Errors of Registry.
var (
	ErrUnknownServer = errors.New("no such server")
	// ErrExists: the name is taken, by a server that has it or that had it.
	ErrExists = errors.New("a server of that name exists already")
	// ErrAmbiguous: several owners have a server of that name.
	ErrAmbiguous = errors.New("several servers have that name: say owner/name")
	// ErrBadCredential covers every way in which a credential can be wrong, so
	// that a refusal tells a guesser nothing.
	ErrBadCredential = errors.New("unknown server or wrong token")
	// ErrRevoked is returned with the server, for a right token of a server
	// that was revoked: the refusal may then say so.
	ErrRevoked = errors.New("the server was revoked")
	// ErrThrottled means too many failed attempts from one address; the right
	// token is still let through.
	ErrThrottled = errors.New("too many failed attempts")
)

// Grant is what a right credential proves. Its Server's Command and Formerly
// are shared and must not be written to.
type Grant struct {
	Server     Server
	Credential uuid.UUID // the zero UUID for a listener that needs none
}
