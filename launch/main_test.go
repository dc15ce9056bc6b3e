//go:build unix

package launch_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/exeat/exeat/launch"
)

// helperVariable makes the test binary a launcher: it runs its arguments as
// exeat run would and exits with what came of it.
const helperVariable = "LAUNCH_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperVariable) {
	case "run":
		os.Exit(runHelper())
	case "signals":
		os.Exit(signalsHelper())
	case "":
		goleak.VerifyTestMain(m)
	}
}

func runHelper() int {
	c := launch.Config{Command: os.Args[1:]}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, helperVariable+"=") {
			c.Env = append(c.Env, kv)
		}
	}
	if os.Args[1] == os.Args[0] {
		c.Env = append(c.Env, helperVariable+"=signals")
	}
	c.Started = func(p launch.Process) { fmt.Fprintf(os.Stderr, "started %d %d\n", p.PID, p.Start) }
	r, err := launch.Run(context.Background(), c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	fmt.Fprintf(os.Stderr, "ended %d\n", r.Code)
	return r.Code
}

// signalsHelper writes down each signal until its standard input ends.
func signalsHelper() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	fmt.Println("ready")
	for {
		select {
		case s := <-signals:
			fmt.Println(s)
		case <-ended:
			fmt.Println("end")
			return 7
		}
	}
}
