package launch_test

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exeat/exeat/launch"
)

// The pipe ends when nobody holds its other end: that is the proof that no
// process was left.
func TestKillingTheLauncherLeavesNobody(t *testing.T) {
	l := start(t, "sh", "-c", "sleep 1000 & echo ready; trap '' TERM HUP INT; wait")
	l.line(t, "ready")
	l.started(t)
	if err := l.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(l.out); err != nil || len(rest) != 0 {
		t.Fatalf("after the launcher was killed: %q, %v", rest, err)
	}
}

func TestEndingLeavesNoGuard(t *testing.T) {
	l := start(t, "sh", "-c", "read -r go; ps -o pid= --ppid $PPID; cat")
	child := l.started(t)
	if _, err := l.in.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	guard := 0
	for range 2 {
		line, err := l.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if pid != child.PID {
			guard = pid
		}
	}
	if guard == 0 {
		t.Fatal("there is no guard")
	}
	l.in.Close()
	if code := l.code(t); code != 0 {
		t.Errorf("status %d", code)
	}
	eventually(t, "the guard ends", func() bool { return gone(guard) })
}

func TestInside(t *testing.T) {
	// The parentheses start a shell that ends at once: its child is an orphan.
	l := start(t, "sh", "-c", "(sleep 1000 & echo $!); cat")
	child := l.started(t)
	line, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	root, err := launch.Identify(l.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := launch.Process{PID: root.PID, Start: root.Start + 1}
	for _, tt := range []struct {
		name  string
		pid   int
		roots []launch.Process
		want  bool
	}{
		{"the child", child.PID, []launch.Process{root}, true},
		{"an orphan", orphan, []launch.Process{other, root}, true},
		{"the launcher itself", root.PID, []launch.Process{root}, false},
		{"this test", os.Getpid(), []launch.Process{root}, false},
		{"nobody's", child.PID, nil, false},
		{"an ID used again", child.PID, []launch.Process{other}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := launch.Inside(tt.pid, tt.roots); err != nil || got != tt.want {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	l.in.Close()
	l.code(t)
	if _, err := launch.Inside(child.PID, []launch.Process{root}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that is gone can't be told: %v", err)
	}
	_ = syscall.Kill(orphan, syscall.SIGKILL)
}

func TestRunReapsOrphans(t *testing.T) {
	l := start(t, "sh", "-c", "(sh -c 'echo $$' &); cat")
	line, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan is reaped", func() bool { return gone(pid) })
	l.in.Close()
	if code := l.code(t); code != 0 {
		t.Errorf("status %d", code)
	}
}

func gone(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return errors.Is(err, fs.ErrNotExist)
}

// eventually asks again and again, since the kernel tells nobody.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// On a terminal, Ctrl-C reaches the child by itself, so the launcher must keep
// still: two would make many programs give up their tidying.
func TestTerminal(t *testing.T) {
	master, terminal := openTerminal(t)
	cmd := exec.Command(os.Args[0], os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"=run")
	errR, errW := pipe(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, errW
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	errW.Close()
	terminal.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); errR.Close() })
	out := bufio.NewReader(master)
	expect := func(want string) {
		t.Helper()
		line, err := out.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("got %q, %v; want %q", line, err, want)
		}
	}
	expect("ready")
	for range 2 {
		if _, err := master.Write([]byte{3}); err != nil { // Ctrl-C
			t.Fatal(err)
		}
		expect("interrupt")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("terminated")
	if _, err := master.Write([]byte{4}); err != nil { // Ctrl-D
		t.Fatal(err)
	}
	expect("end")
}

// openTerminal returns both sides of a new terminal that doesn't echo.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	attr, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	attr.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, attr); err != nil {
		t.Fatal(err)
	}
	if err := master.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
