package launch

import (
	"encoding/binary"
	"os"
	"os/signal"
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

// reap reaps the adopted that are in the child's group until done is closed,
// and leaves the child itself to os/exec. An orphan that left the group stays
// a zombie until this process ends: it can't be told from what others in this
// process may have started and wait for.
func reap(child int, done <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(ended)
		for {
			for pid := endedIn(child); pid > 0 && pid != child; pid = endedIn(child) {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
			select {
			case <-ended:
			case <-done:
				return
			}
		}
	}()
}

// endedIn returns the ID of a child of ours in that process group that ended,
// without reaping it, or 0.
func endedIn(group int) int {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PGID, group, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0
	}
	// si_pid is the first field of the union, which is aligned as a pointer is
	// (include/uapi/asm-generic/siginfo.h).
	const union = 12 + unsafe.Sizeof(uintptr(0)) - 4
	raw := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
	return int(int32(binary.NativeEndian.Uint32(raw[union:])))
}
