package launch_test

import (
	"context"
	"fmt"
	"os"
	"strings"
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
	c.Started = func(p launch.Process) { fmt.Fprintf(os.Stderr, "started %d %d\n", p.PID, p.Start) }
	r, err := launch.Run(context.Background(), c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	fmt.Fprintf(os.Stderr, "ended %d\n", r.Code)
	return r.Code
}
