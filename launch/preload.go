package launch

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed preload.cjs
var preload string

// WritePreload puts the Node preload into dir and returns its path. dir is
// made, for its owner only, when it isn't there. The file's name holds a hash
// of its content, so that servers started by an older Exeat keep theirs; it is
// written whole or not at all, because Node refuses to start when a preload is
// missing or broken. A file that was changed is written anew.
func WritePreload(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	sum := sha256.Sum256([]byte(preload))
	path := filepath.Join(dir, "exeat-preload-"+hex.EncodeToString(sum[:8])+".cjs")
	if intact(path) {
		return path, nil
	}
	if err := writeWhole(path, preload); err != nil {
		return "", fmt.Errorf("launch: writing the Node preload: %w", err)
	}
	return path, nil
}

// intact reports whether path is the preload. A link is not followed.
func intact(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && bytes.Equal(b, []byte(preload))
}

func writeWhole(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".exeat-preload-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
