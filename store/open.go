package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Config is what Open needs.
type Config struct {
	// Path is the database file. Its directory is made with mode 0700 if it
	// doesn't exist, the file with 0600. It must not be empty.
	Path string
	// Logger gets what happens in the background. It must not be nil.
	Logger *slog.Logger
	// Retain is how long flows are kept, from their opening. Older ones are
	// deleted in the background, a few at a time. 0 keeps all. The totals of
	// servers are never deleted; the hourly roll-ups, and destinations since
	// they were last used, are kept for Retain, but at least 90 days.
	Retain time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// BusyTimeout is how long a write waits for another program's lock before
	// it fails with ErrUnavailable. 0 means 2 seconds.
	BusyTimeout time.Duration
	// Readers bounds how many queries run at once. 0 means 8.
	Readers int
}

func (c Config) withDefaults() (Config, error) {
	if c.Path == "" {
		return c, errors.New("store: the path of the database is empty")
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return c, fmt.Errorf("store: %w", err)
	}
	c.Path = path
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BusyTimeout <= 0 {
		c.BusyTimeout = 2 * time.Second
	}
	if c.Readers <= 0 {
		c.Readers = 8
	}
	return c, nil
}

// DB is the store in one SQLite database. Its methods may be called from
// several goroutines at once. Writing methods return once their change is on
// disk; see write for what a cancelled context does.
type DB struct {
	cfg     Config
	lock    *os.File // nil when read-only
	readers *sql.DB
	writer  *writer // nil when read-only
}

// Open opens the database, makes it if there is none, and brings its schema
// up to date. Only one process can have a data directory open this way. It
// refuses a database that is damaged, foreign or made by a newer Exeat, and
// says what to do.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkVersion(libraryVersion()); err != nil {
		return nil, err
	}
	dir := filepath.Dir(cfg.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	d, err := open(ctx, cfg)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	d.lock = lock
	return d, nil
}

func open(ctx context.Context, cfg Config) (*DB, error) {
	if err := makeFile(cfg.Path); err != nil {
		return nil, err
	}
	db := openWriter(cfg.Path, cfg.BusyTimeout)
	if err := migrate(ctx, db, cfg.Logger); err != nil {
		_ = db.Close()
		return nil, openError(cfg.Path, err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, openError(cfg.Path, err)
	}
	d := &DB{cfg: cfg, readers: openReaders(cfg.Path, "ro", cfg.Readers)}
	d.writer = startWriter(cfg, db, conn)
	return d, nil
}

// makeFile makes the database file before SQLite does, since SQLite would give
// it the mode of the umask. The -wal and -shm files then get the same mode.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("%w: the database can't be opened for writing (%w); check the owner and permissions of %s", ErrUnavailable, err, path)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return fmt.Errorf("making the database private: %w", err)
	}
	return nil
}

// OpenReadOnly opens an existing database to read it while no daemon runs. It
// neither migrates nor writes; writing methods return ErrReadOnly. The schema
// must be this version's own.
func OpenReadOnly(ctx context.Context, path string) (*DB, error) {
	cfg, err := Config{Path: path, Logger: slog.New(slog.DiscardHandler), Readers: 2}.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(cfg.Path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no database at %s yet: %w", cfg.Path, fs.ErrNotExist)
		}
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db := openReaders(cfg.Path, "ro", cfg.Readers)
	err = checkSchema(ctx, db)
	if unopenable(err) && noWAL(cfg.Path) {
		// SQLite can't make its -shm file in a directory that it can't write.
		// Without a -wal file nobody is writing either, so none is needed.
		_ = db.Close()
		db = openReaders(cfg.Path, "ro&immutable=1", cfg.Readers)
		err = checkSchema(ctx, db)
	}
	if err != nil {
		_ = db.Close()
		return nil, openError(cfg.Path, err)
	}
	return &DB{cfg: cfg, readers: db}, nil
}

func unopenable(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrCantOpen || e.Code == sqlite3.ErrReadonly)
}

func noWAL(path string) bool {
	_, err := os.Stat(path + "-wal")
	return errors.Is(err, fs.ErrNotExist)
}

// Close finishes what was submitted, then closes the database. Calls that come
// later return ErrClosed. It may be called once.
func (d *DB) Close() error {
	var errs []error
	if d.writer != nil {
		d.writer.stop()
	}
	errs = append(errs, d.readers.Close())
	if d.writer != nil {
		errs = append(errs, d.writer.close(), d.lock.Close())
	}
	return errors.Join(errs...)
}
