package store

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/exeat/exeat/record"
)

// Errors that callers can tell apart with errors.Is.
var (
	// ErrUnavailable: nothing can be written for now, because the disk is
	// full, read-only or locked, or the file is damaged. Any other error of a
	// writing method concerns only what was to be written.
	ErrUnavailable = record.ErrUnavailable
	// ErrNotFound: there is no such flow, alert or session.
	ErrNotFound = errors.New("not found")
	// ErrBadCursor: the cursor was not made by the listing it was given to.
	ErrBadCursor = errors.New("the cursor is not one of this listing")
	// ErrBadQuery: a query asks for what can't be asked.
	ErrBadQuery = errors.New("the query is not valid")
	// ErrClosed: the DB was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrReadOnly: the DB was opened by OpenReadOnly.
	ErrReadOnly = errors.New("the store was opened for reading only")
)

// Errors of Open and OpenReadOnly.
var (
	// ErrInUse: another process has the data directory open.
	ErrInUse = errors.New("the data directory is in use")
	// ErrNewerSchema: the database was made by a newer version of Exeat.
	ErrNewerSchema = errors.New("the database was made by a newer Exeat")
	// ErrOlderSchema: the database must be migrated first, which
	// OpenReadOnly never does.
	ErrOlderSchema = errors.New("the database was made by an older Exeat")
	// ErrForeign: the file is a database of some other program.
	ErrForeign = errors.New("the file is not a database of Exeat")
	// ErrDamaged: the file is not a readable database.
	ErrDamaged = errors.New("the database is damaged")
	// ErrOldSQLite: the SQLite library can lose commits.
	ErrOldSQLite = errors.New("the SQLite library is too old to be safe")
)

// cause says what is wrong in a few words when err means that nothing can be
// written; it is empty for every other error. Only result codes are looked at:
// SQLite's texts may change with any version.
func cause(err error) string {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code {
	case sqlite3.ErrFull:
		return "the disk is full"
	case sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return "the database is read-only"
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrProtocol:
		return "the database is locked by another program"
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return "the database is damaged"
	case sqlite3.ErrCantOpen:
		return "the database can't be opened"
	case sqlite3.ErrIoErr:
		return "the disk reports an error"
	case sqlite3.ErrNomem:
		return "memory ran out"
	}
	return ""
}

// classify makes err an ErrUnavailable if that is what its code means.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	if c := cause(err); c != "" {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, c, err)
	}
	return err
}

// unique reports whether err is a violated UNIQUE constraint.
func unique(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrConstraintUnique
}

// openError turns what opening met into a sentence with the way out.
func openError(path string, err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("opening the database %s: %w", path, err)
	}
	switch e.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat:
		return fmt.Errorf("%w: %s can't be read (%w); move it aside together with its -wal and -shm files to start empty, or put back a copy of it", ErrDamaged, path, err)
	case sqlite3.ErrReadonly, sqlite3.ErrPerm, sqlite3.ErrCantOpen:
		return fmt.Errorf("%w: %s or its directory can't be written (%w); check their owner and permissions, and that the file system is not mounted read-only", ErrUnavailable, path, err)
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return fmt.Errorf("%w: %s is locked by another program (%w); close it and try again", ErrUnavailable, path, err)
	case sqlite3.ErrFull:
		return fmt.Errorf("%w: the disk of %s is full (%w); make room and try again", ErrUnavailable, path, err)
	}
	return fmt.Errorf("opening the database %s: %w", path, classify(err))
}
