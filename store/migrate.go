package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks our databases in their header; it is set by the first
// migration.
const applicationID = 0x45786561 // "Exea"

// schema is what is known of a database file.
type schema struct {
	empty   bool // no table at all
	ours    bool
	version int64
}

func readSchema(ctx context.Context, db *sql.DB) (schema, error) {
	var tables, id int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return schema{}, err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return schema{}, err
	}
	s := schema{empty: tables == 0, ours: id == applicationID}
	if !s.ours {
		return s, nil
	}
	err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&s.version)
	return s, err
}

func newProvider(db *sql.DB, logger *slog.Logger) (*goose.Provider, int64, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, 0, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(logger))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the migrations: %w", err)
	}
	var latest int64
	for _, s := range p.ListSources() {
		latest = max(latest, s.Version)
	}
	return p, latest, nil
}

// migrate brings the schema up to date, or says why it can't.
func migrate(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	p, latest, err := newProvider(db, logger)
	if err != nil {
		return err
	}
	s, err := readSchema(ctx, db)
	switch {
	case err != nil:
		return err
	case !s.ours && !s.empty && !halfMade(ctx, db):
		return ErrForeign
	case s.version > latest:
		return newer(s.version, latest)
	case s.version == latest:
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the schema: %w", err)
	}
	return nil
}

// halfMade reports whether the only table is the migrations' own: a first start
// that was killed before its first migration.
func halfMade(ctx context.Context, db *sql.DB) bool {
	var others int64
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE tbl_name NOT IN ('goose_db_version', 'sqlite_sequence')").Scan(&others)
	return err == nil && others == 0
}

// checkSchema accepts the schema of this version and nothing else.
func checkSchema(ctx context.Context, db *sql.DB) error {
	_, latest, err := newProvider(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	s, err := readSchema(ctx, db)
	switch {
	case err != nil:
		return err
	case !s.ours && !s.empty:
		return ErrForeign
	case s.version > latest:
		return newer(s.version, latest)
	case s.version < latest:
		return fmt.Errorf("%w (schema %d, this one needs %d); start exeat serve once to bring it up to date", ErrOlderSchema, s.version, latest)
	}
	return nil
}

func newer(have, know int64) error {
	return fmt.Errorf("%w (schema %d, this one knows %d); install that version, or choose another directory with --data", ErrNewerSchema, have, know)
}
