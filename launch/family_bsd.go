//go:build unix && !linux

package launch

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const termiosRequest = unix.TIOCGETA

func procAttr(own bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: own} }

func dup(from, to int) error { return unix.Dup2(from, to) }

// adopt does nothing: only Linux lets a process adopt its descendants.
func adopt() {}

func reap(int, <-chan struct{}) {}
