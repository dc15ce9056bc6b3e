package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The exit statuses of POSIX shells for commands that never ran.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// StartError says why a command could not be started.
type StartError struct {
	Command string
	// Code is the status to exit with: 127 when the command was not found, 126
	// when it can't be executed.
	Code int
	// Reason is what is wrong, for people.
	Reason string
	// Try is the command or the step that helps, for the line after the error.
	Try string
	// Err is the cause; it may be nil.
	Err error
}

func (e *StartError) Error() string { return fmt.Sprintf("cannot run %q: %s", e.Command, e.Reason) }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Lookup returns the path of the program that name starts: name itself when it
// holds a path separator, otherwise the first match on PATH. The error is a
// *StartError that tells "not found" from "found, but not executable".
func Lookup(name string) (string, error) {
	if name == "" {
		return "", &StartError{Code: codeNotFound, Reason: "the command is empty", Try: "exeat run NAME -- COMMAND ARGUMENTS", Err: exec.ErrNotFound}
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if errors.Is(err, exec.ErrDot) {
		return "", &StartError{Command: name, Code: codeNotFound, Err: err,
			Reason: "it is only in the current directory", Try: "exeat run NAME -- ." + string(filepath.Separator) + name}
	}
	if !strings.ContainsRune(name, filepath.Separator) {
		if found := foundButPlain(name); found != "" {
			return "", notExecutable(name, found, err)
		}
		return "", notFound(name, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", &StartError{Command: name, Code: codeNotFound, Reason: "no such file", Try: "ls " + filepath.Dir(name), Err: err}
	}
	return "", notExecutable(name, name, err)
}

// foundButPlain returns the first regular file of that name on PATH. A shell
// answers 126 for it.
func foundButPlain(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

func notFound(name string, err error) error {
	e := &StartError{Command: name, Code: codeNotFound, Err: err,
		Reason: "no such command on PATH",
		Try:    "exeat doctor   (lists the runtimes on PATH; or give the full path of the command)"}
	if fields := strings.Fields(name); len(fields) > 1 {
		e.Reason = "no such command on PATH: it holds spaces, so the arguments are part of the name"
		e.Try = "exeat run NAME -- " + strings.Join(fields, " ")
	}
	return e
}

func notExecutable(name, path string, err error) error {
	e := &StartError{Command: name, Code: codeNotExecutable, Reason: path + " is not executable", Try: "chmod +x " + path, Err: err}
	if info, serr := os.Stat(path); serr == nil && info.IsDir() {
		e.Reason = path + " is a directory"
		e.Try = "exeat run NAME -- COMMAND ARGUMENTS"
	}
	return e
}

// startError explains what only starting a program can show.
func startError(name string, err error) error {
	e := &StartError{Command: name, Code: codeNotExecutable, Reason: err.Error(), Try: "exeat doctor", Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Code = codeNotFound
		e.Reason = "the interpreter in its first line, or its working directory, does not exist"
		e.Try = "head -1 " + name
	case errors.Is(err, fs.ErrPermission):
		e.Reason = "permission denied"
		e.Try = "ls -l " + name
	case errors.Is(err, syscall.ENOEXEC):
		e.Reason = "it is not a program for this machine, and has no #! line"
		e.Try = "exeat run NAME -- sh " + name
	case errors.Is(err, syscall.E2BIG):
		e.Reason = "its arguments and environment are too long"
	}
	return e
}
