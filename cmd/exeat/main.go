// Command exeat is the egress gate for MCP servers: a forward proxy that knows
// which MCP server each outbound connection belongs to, learns where that
// server legitimately goes, and warns or refuses the moment that changes.
//
// This package is flags, configuration and wiring; it alone knows every room of
// the house, and main alone exits.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses, part of the contract with scripts.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitOutside = 3 // the server left its baseline
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs one command line and returns its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return report(err, stderr)
}

// hint is an error with the command that helps.
type hint struct {
	err error
	try string
}

func (h *hint) Error() string { return h.err.Error() }
func (h *hint) Unwrap() error { return h.err }

// try wraps err with the command that helps.
func try(err error, command string) error { return &hint{err: err, try: command} }

// exitError is the exit status to end with when everything there is to say was
// said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// statusError is an error with an exit status of its own.
type statusError struct {
	err    error
	status int
}

func (s *statusError) Error() string { return s.err.Error() }
func (s *statusError) Unwrap() error { return s.err }

// usageError is wrong usage of a command.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

// report prints err for a person and returns the exit status that it means.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	var silent exitError
	if errors.As(err, &silent) {
		return int(silent)
	}
	fmt.Fprintf(stderr, "exeat: %s\n", clean(err.Error()))
	var h *hint
	if errors.As(err, &h) {
		fmt.Fprintf(stderr, "try: %s\n", h.try)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	return exitFailed
}
