package launch

import (
	"os"
	"os/exec"
	"os/signal"
)

// family is a child. On Windows the console sends Ctrl-C to every process that
// is attached to it, so there is nothing to pass on; we only have to outlive
// the child.
type family struct {
	cmd     *exec.Cmd
	signals chan os.Signal
}

func newFamily(cmd *exec.Cmd) *family {
	return &family{cmd: cmd, signals: make(chan os.Signal, 1)}
}

func (f *family) start() error {
	signal.Notify(f.signals, os.Interrupt)
	return f.cmd.Start()
}

func (f *family) end() error  { return f.cmd.Process.Kill() }
func (f *family) kill()       { _ = f.cmd.Process.Kill() }
func (f *family) wait() error { return f.cmd.Wait() }
func (f *family) close()      { signal.Stop(f.signals) }

// replace closes file: on Windows a descriptor can't be pointed elsewhere.
func replace(file, _ *os.File) error { return file.Close() }

func statusOf(s *os.ProcessState) int {
	if s == nil {
		return 1
	}
	return s.ExitCode()
}
