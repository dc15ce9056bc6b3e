package store

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockName is the file beside the database that a daemon holds locked.
const lockName = "exeat.lock"

// lockDir makes this process the only daemon of dir. The caller closes the
// file to give the directory free.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: the data directory %s can't be written (%w); check its owner and permissions, and that the file system is not mounted read-only", ErrUnavailable, dir, err)
	}
	ok, err := tryLock(f)
	if err == nil && ok {
		return f, nil
	}
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return nil, fmt.Errorf("%w: another exeat runs on %s; stop it, or choose another directory with --data", ErrInUse, dir)
}
