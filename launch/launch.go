// Package launch starts a command as an MCP server: with an environment that
// brings its traffic through the proxy, with its standard input and output
// untouched byte for byte, and with signals and exit status passed on.
//
// What a runtime does with the proxy variables differs widely. Most clients
// honour HTTPS_PROXY; Node does so only in newer versions and when asked by
// NODE_USE_ENV_PROXY, so a small preload (preload.cjs, carried in the binary)
// brings Node's http, https and fetch through in older ones. Java and Chromium
// can't send the credentials that are part of the proxy URL and stay outside.
// Nothing here is enforcement: a program that opens its own sockets still goes
// direct. Runtimes says what each runtime found on this machine does.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"
)

// Config is what Run needs.
type Config struct {
	// Command is the program and its arguments. It must not be empty. The
	// program is found as Lookup finds it.
	Command []string
	// Env is the whole environment of the child, as Environment.Apply returns
	// it. Nil means an empty environment, unlike in os/exec: a launcher that
	// forgot its variables must not start a server that goes direct.
	Env []string
	// Dir is the working directory; empty means the caller's.
	Dir string
	// Stdin, Stdout and Stderr are given to the child as they are, never
	// relayed. Nil means this process's own, and then Run gives up this
	// process's standard input and output once the child holds them, so that
	// the other side sees the child's end of file and broken pipe and not
	// ours. Standard error is kept, for our own messages.
	Stdin, Stdout, Stderr *os.File
	// Started is called once, after the child started and before Run waits
	// for it. It may be nil.
	Started func(Process)
	// Grace is the time between asking the child to end when the context is
	// done and killing it. Zero means 5 seconds.
	Grace time.Duration
}

// Result is how a command ended.
type Result struct {
	// Code is the exit status to pass on: the child's own; 128 plus the number
	// of the signal that ended it; 127 when the command was not found and 126
	// when it could not be executed, as in POSIX shells.
	Code int
	// Duration is the time from start to end; zero when it never started.
	Duration time.Duration
}

const defaultGrace = 5 * time.Second

// Run starts the command of c, passes on the signals that this process gets
// until the command ends, and returns how it ended. A command that ran and
// failed is a Result and not an error; a command that never ran is a
// *StartError, with the status to exit with in both.
//
// When standard input is not a terminal, the child leads a process group of
// its own: INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the group, so
// each process of the server gets each signal once, wherever it came from.
// When standard input is a terminal, the child stays in our process group, so
// that the terminal's job control works as if it were run directly; INT and
// QUIT are then not passed on, because the terminal sent them to the child
// already.
//
// When this process is killed, the child is too: on Linux by the kernel
// (PR_SET_PDEATHSIG), and on every Unix where the child leads its own group,
// the group is, by a waiting shell. When ctx is done the child is asked to end
// by SIGTERM and killed after c.Grace.
//
// Run holds its operating-system thread while the child lives. Of several at
// once, each passes on all signals.
func Run(ctx context.Context, c Config) (Result, error) {
	if len(c.Command) == 0 {
		return Result{Code: 2}, errors.New("launch: no command to run")
	}
	path, err := Lookup(c.Command[0])
	if err != nil {
		return Result{Code: exitCode(err)}, err
	}
	cmd := command(ctx, path, c)
	return run(cmd, c)
}

// command builds the child. Its files are *os.File, so that os/exec passes the
// descriptors on instead of copying.
func command(ctx context.Context, path string, c Config) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, c.Command[1:]...)
	cmd.Args[0] = c.Command[0]
	cmd.Env = c.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Dir = c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	cmd.WaitDelay = c.Grace
	if c.Grace == 0 {
		cmd.WaitDelay = defaultGrace
	}
	return cmd
}

func run(cmd *exec.Cmd, c Config) (Result, error) {
	f := newFamily(cmd)
	defer f.close()
	cmd.Cancel = func() error { return f.end() }
	begun := time.Now()
	if err := f.start(); err != nil {
		err = startError(c.Command[0], err)
		return Result{Code: exitCode(err)}, err
	}
	if err := release(c.Stdin == nil, c.Stdout == nil); err != nil {
		f.kill()
	}
	if c.Started != nil {
		// A child that ended at once can't be described; its ID still can.
		p, err := Identify(cmd.Process.Pid)
		if err != nil {
			p = Process{PID: cmd.Process.Pid}
		}
		c.Started(p)
	}
	err := f.wait()
	r := Result{Code: statusOf(cmd.ProcessState), Duration: time.Since(begun)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, exec.ErrWaitDelay) {
		return r, fmt.Errorf("launch: waiting for %s: %w", c.Command[0], err)
	}
	return r, nil
}

// release points this process's standard input and output at the null device.
func release(in, out bool) error {
	if !in && !out {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	defer null.Close()
	if in {
		if err := replace(os.Stdin, null); err != nil {
			return fmt.Errorf("launch: giving up standard input: %w", err)
		}
	}
	if out {
		if err := replace(os.Stdout, null); err != nil {
			return fmt.Errorf("launch: giving up standard output: %w", err)
		}
	}
	return nil
}

func exitCode(err error) int {
	var s *StartError
	switch {
	case errors.As(err, &s):
		return s.Code
	case errors.Is(err, fs.ErrPermission):
		return codeNotExecutable
	}
	return 1
}
