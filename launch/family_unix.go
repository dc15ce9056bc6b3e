//go:build unix

package launch

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// family is a child and what it starts.
type family struct {
	cmd *exec.Cmd
	// own says that the child leads a process group of its own.
	own     bool
	signals chan os.Signal
	done    chan struct{} // closed when the child ended
	stopped chan struct{} // closed when no signal will be passed on any more
	guard   *guard        // nil without a guard
}

func newFamily(cmd *exec.Cmd) *family {
	in, _ := cmd.Stdin.(*os.File)
	f := &family{
		cmd:     cmd,
		own:     !isTerminal(in),
		signals: make(chan os.Signal, 16),
		done:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	cmd.SysProcAttr = procAttr(f.own)
	return f
}

// start holds the thread: on Linux the kernel sends the parent-death signal
// when the thread that started the child ends, not when the process does.
func (f *family) start() error {
	runtime.LockOSThread()
	// Signals are taken over before the child exists, or one that arrives in
	// between would end us and not the child.
	signal.Notify(f.signals, f.passed()...)
	adopt()
	if err := f.cmd.Start(); err != nil {
		close(f.stopped)
		return err
	}
	if f.own {
		f.guard = startGuard(f.cmd.Process.Pid)
		reap(f.cmd.Process.Pid, f.done)
	}
	go f.pass()
	return nil
}

// passed lists the signals that are passed on. SIGWINCH and the job control
// signals are not among them: a terminal sends those to the whole group.
func (f *family) passed() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

func (f *family) pass() {
	defer close(f.stopped)
	for {
		select {
		case s := <-f.signals:
			sig := s.(syscall.Signal)
			if f.own || (sig != syscall.SIGINT && sig != syscall.SIGQUIT) {
				f.send(sig)
			}
		case <-f.done:
			return
		}
	}
}

// send signals the child's group where it has one. The group's ID is free for
// reuse only after its last process ended, and done stops us before.
func (f *family) send(s syscall.Signal) {
	if f.own {
		_ = syscall.Kill(-f.cmd.Process.Pid, s)
		return
	}
	_ = f.cmd.Process.Signal(s)
}

func (f *family) end() error {
	f.send(syscall.SIGTERM)
	return nil
}

func (f *family) kill() { f.send(syscall.SIGKILL) }

func (f *family) wait() error {
	err := f.cmd.Wait()
	close(f.done)
	<-f.stopped
	return err
}

// close gives signals and thread back.
func (f *family) close() {
	signal.Stop(f.signals)
	f.guard.dismiss()
	runtime.UnlockOSThread()
}

// guard is a shell that kills the process group when this process is gone
// without having dismissed it. The parent-death signal reaches only the direct
// child, but with npx the server is a grandchild.
type guard struct {
	shell *exec.Cmd
	alive *os.File // ends for the shell when this process does
}

// startGuard returns nil where there is no shell: then there is no guard.
func startGuard(group int) *guard {
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	// No context: it must outlive whatever is cancelled.
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", `read -r _ || kill -s KILL -- "-$1"`, "exeat-guard", strconv.Itoa(group))
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin = r
	// A session of its own keeps signals to our group away from it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil
	}
	return &guard{shell: cmd, alive: w}
}

// dismiss ends the guard before it could see an end of file.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_ = g.shell.Process.Kill()
	_ = g.shell.Wait()
	_ = g.alive.Close()
}

// replace makes file's descriptor another name of with.
func replace(file, with *os.File) error {
	return dup(int(with.Fd()), int(file.Fd()))
}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), termiosRequest)
	return err == nil
}

// statusOf returns the exit status as a shell would show it.
func statusOf(s *os.ProcessState) int {
	if s == nil {
		return 1
	}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
