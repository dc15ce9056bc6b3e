package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/launch"
)

// launchedRoots are the launchers (processes of exeat run) below which servers
// run. They are kept in a file too: a server outlives a restart of the daemon,
// and must not be able to approve itself afterwards. Its methods are safe for
// concurrent use.
type launchedRoots struct {
	path string // empty: kept in memory only
	boot string // of this boot: process numbers start anew with each

	mu    sync.Mutex
	roots map[launch.Process]identity.ID
}

// maxRoots is how many launchers are remembered before the dead are forgotten.
const maxRoots = 256

// rootsFile is the form in which they are kept.
type rootsFile struct {
	Boot  string `json:"boot"`
	Roots []root `json:"roots"`
}

type root struct {
	PID    int         `json:"pid"`
	Start  uint64      `json:"start"`
	Server identity.ID `json:"server"`
}

// loadRoots reads what an earlier daemon kept. A file that can't be read is an
// error: without it a server could pass for a person.
func loadRoots(path string) (*launchedRoots, error) {
	l := &launchedRoots{path: path, boot: bootID(), roots: make(map[launch.Process]identity.ID)}
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the list of launched servers: %w", err)
	}
	var file rootsFile
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, try(fmt.Errorf("the list of launched servers, %s: %w", path, err), "end all launched servers and remove that file")
	}
	if file.Boot != l.boot {
		return l, nil // none of those processes is alive
	}
	for _, r := range file.Roots {
		l.roots[launch.Process{PID: r.PID, Start: r.Start}] = r.Server
	}
	l.forgetDead()
	return l, nil
}

// bootID tells one boot from the next; empty where the system doesn't.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// add remembers that server id runs below pid.
func (l *launchedRoots) add(id identity.ID, pid int) error {
	p, err := launch.Identify(pid)
	if err != nil {
		return nil //nolint:nilerr // it ended already, and nothing runs below it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.roots) >= maxRoots {
		l.forgetDead()
	}
	l.roots[p] = id
	return l.save()
}

func (l *launchedRoots) forgetDead() {
	for p := range l.roots {
		if now, err := launch.Identify(p.PID); err != nil || now != p {
			delete(l.roots, p)
		}
	}
}

// save writes the file anew, so that a crash leaves the old one or the new one.
func (l *launchedRoots) save() error {
	file := rootsFile{Boot: l.boot}
	for p, id := range l.roots {
		file.Roots = append(file.Roots, root{PID: p.PID, Start: p.Start, Server: id})
	}
	content, err := json.Marshal(file)
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(l.path), "."+filepath.Base(l.path)+".new")
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, l.path)
}

// any reports whether a launcher is alive.
func (l *launchedRoots) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetDead()
	return len(l.roots) > 0
}

// inside reports whether pid runs below a launcher. What can't be told counts
// as inside, except on systems where it never can be.
func (l *launchedRoots) inside(pid int) bool {
	_, in, err := l.owner(pid)
	return in || err != nil && !errors.Is(err, launch.ErrNoTree)
}

// owner returns the server in whose tree pid runs, if it runs in one.
func (l *launchedRoots) owner(pid int) (identity.ID, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed error
	for p, id := range l.roots {
		in, err := launch.Inside(pid, []launch.Process{p})
		if in {
			return id, true, nil
		}
		failed = errors.Join(failed, err)
	}
	return identity.ID{}, false, failed
}
