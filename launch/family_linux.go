package launch

import (
	"encoding/binary"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const termiosRequest = unix.TCGETS

func procAttr(own bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: own, Pdeathsig: syscall.SIGKILL}
}

func dup(from, to int) error { return unix.Dup3(from, to, 0) }

// adopt makes this process the parent of whatever the server's tree leaves
// behind, so that a process can't leave the tree by forking twice: Inside
// finds it by its parents. It comes before the child, which may be quick. A
// kernel that refuses leaves the orphans to init.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reap reaps the adopted until done is closed, and leaves those that os/exec
// waits for alone.
func reap(waited []int, done <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(ended)
		for {
			select {
			case <-ended:
				reapOrphans(waited)
			case <-done:
				return
			}
		}
	}()
}

// reapOrphans reaps ended children until it meets one that is waited for.
func reapOrphans(waited []int) {
	for {
		pid := endedChild()
		if pid <= 0 || slices.Contains(waited, pid) {
			return
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// endedChild returns the ID of a child that ended, without reaping it, or 0.
func endedChild() int {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0
	}
	// si_pid is the first field of the union, which is aligned as a pointer is
	// (include/uapi/asm-generic/siginfo.h).
	const union = 12 + unsafe.Sizeof(uintptr(0)) - 4
	raw := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
	return int(int32(binary.NativeEndian.Uint32(raw[union:])))
}
