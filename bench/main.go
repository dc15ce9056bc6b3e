// Command bench is Exeat's load benchmark. It prints one table of ratios
// against the smallest Go relay that can exist, measured in the same run on
// the same machine: figures of different runs or machines must never be
// compared. docs/performance.md has the method and the goals.
//
// It starts every subject (the relay, goproxy, squid where installed, exeat),
// and the origin behind them, as child processes on loopback and loads one
// after the other in interleaved rounds. It is bounded in count and time and
// leaves nothing behind.
//
// It is a module of its own so that what it compares with is no dependency of
// Exeat.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		if err := runChild(role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", role, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds   int
	duration time.Duration // of one measurement
	workers  int           // clients at the same time
	idle     int           // idle tunnels
	limit    time.Duration // of the whole run
	exeat    string        // path of the binary
	subjects []string
	out      string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "a first look: 2 rounds of 300 ms, 500 idle tunnels")
	flags.IntVar(&o.rounds, "rounds", 7, "how often everything is measured; medians are printed")
	flags.DurationVar(&o.duration, "duration", time.Second, "how long one measurement lasts")
	flags.IntVar(&o.workers, "workers", 32, "clients at the same time")
	flags.IntVar(&o.idle, "idle", 3000, "idle tunnels whose cost is measured; the relay needs 6 descriptors each")
	flags.DurationVar(&o.limit, "limit", 20*time.Minute, "the run ends after this, finished or not")
	flags.StringVar(&o.exeat, "exeat", "../bin/exeat", "the exeat binary")
	subjects := flags.String("subjects", "relay,goproxy,squid,exeat", "what to measure; relay is always measured")
	flags.StringVar(&o.out, "out", "", "also write the table to this file, as Markdown: between the lines\n"+
		tableBegin+" and "+tableEnd+" where it has them")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		o.rounds, o.duration, o.idle = 2, 300*time.Millisecond, 500
	}
	if flags.NArg() > 0 || o.rounds < 1 || o.workers < 1 || o.idle < 1 || o.duration < 10*time.Millisecond {
		return o, errors.New("takes no arguments, and counts from 1 and durations from 10ms on")
	}
	o.subjects = strings.Split(*subjects, ",")
	return o, nil
}

// run measures and prints. What could not be measured is said on stderr and
// makes run return an error, after everything else was done and printed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	b := &bench{options: o, progress: stderr, results: newResults()}
	err = b.run(ctx)
	if err == nil && b.failures > 0 {
		err = fmt.Errorf("%d measurements failed, see above", b.failures)
	}
	table := b.results.table(time.Now(), o)
	fmt.Fprint(stdout, table)
	if o.out != "" {
		err = errors.Join(err, writeTable(o.out, table))
	}
	return err
}

// The lines of a document between which writeTable puts the table.
const (
	tableBegin = "<!-- bench -->"
	tableEnd   = "<!-- /bench -->"
)

// writeTable replaces what stands between the two lines in the file, or the
// whole file where they are not both in it.
func writeTable(path, table string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before, rest, begins := strings.Cut(string(old), tableBegin+"\n")
	_, after, ends := strings.Cut(rest, tableEnd)
	if begins && ends {
		table = before + tableBegin + "\n\n" + table + "\n" + tableEnd + after
	}
	return os.WriteFile(path, []byte(table), 0o644)
}
