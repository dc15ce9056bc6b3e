package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// checkpointPages is after how many pages of 4 KiB in the WAL a commit
	// also copies them into the database.
	checkpointPages = 4000
	// walLimit is what the WAL is cut back to once it was copied.
	walLimit = 64 << 20
)

// connector opens connections that all get the same pragmas: those that the
// driver knows come with the DSN, the others from its connect hook. (An Exec
// on a pool would reach one connection only.)
type connector struct {
	drv *sqlite3.SQLiteDriver
	dsn string
}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.drv.Open(c.dsn) }

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.drv }

// openWriter returns a pool of the one connection that writes. It is used by one
// goroutine at a time, so SQLite needn't lock it.
func openWriter(path string, busy time.Duration) *sql.DB {
	dsn := dsn(path, "rw", fmt.Sprintf("_mutex=no&_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on&_cache_size=-65536&_busy_timeout=%d", busy.Milliseconds()))
	db := sql.OpenDB(connector{dsn: dsn, drv: &sqlite3.SQLiteDriver{ConnectHook: writerPragmas}})
	db.SetMaxOpenConns(1)
	return db
}

func writerPragmas(c *sqlite3.SQLiteConn) error {
	// fullfsync makes fsync reach the disk on macOS; elsewhere it does nothing.
	_, err := c.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint=%d; PRAGMA journal_size_limit=%d; PRAGMA fullfsync=1; PRAGMA temp_store=MEMORY",
		checkpointPages, walLimit), nil)
	return err
}

// openReaders returns a pool of n connections that can't write. mode is the
// URI parameter of SQLite.
func openReaders(path, mode string, n int) *sql.DB {
	dsn := dsn(path, mode, "_query_only=on&_busy_timeout=2000&_cache_size=-16384&_stmt_cache_size=64")
	db := sql.OpenDB(connector{dsn: dsn, drv: &sqlite3.SQLiteDriver{ConnectHook: readerPragmas}})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

func readerPragmas(c *sqlite3.SQLiteConn) error {
	_, err := c.Exec("PRAGMA temp_store=MEMORY", nil)
	return err
}

// dsn returns the URI of a database file. Whatever the path holds ('?', '#',
// '%', blanks) stays part of the path.
func dsn(path, mode, params string) string {
	path = strings.ReplaceAll(path, `\`, "/")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/… on Windows
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=" + mode + "&" + params
}

func libraryVersion() string {
	v, _, _ := sqlite3.Version()
	return v
}
