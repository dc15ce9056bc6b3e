package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"slices"
	"time"
)

// bench is one run.
type bench struct {
	options
	progress io.Writer
	results  *results
	failures int
}

// subject is a running proxy.
type subject struct {
	name   string
	target target
	proc   *process
	clean  func() error // removes what the subject leaves behind; may be nil
}

func (s *subject) stop() error {
	s.proc.stop()
	if s.clean == nil {
		return nil
	}
	return s.clean()
}

// starter starts a subject in front of an origin. It returns errAbsent when
// there is no such program here.
type starter func(ctx context.Context, origin endpoints, t target) (*subject, error)

var errAbsent = errors.New("not installed")

// starters returns the subjects that were asked for, the reference first.
func (b *bench) starters() ([]string, map[string]starter, error) {
	known := map[string]starter{
		roleRelay:   startRole(roleRelay),
		roleGoproxy: startRole(roleGoproxy),
		"squid":     startSquid,
		"exeat":     exeatStarter(b.exeat),
	}
	names := []string{roleRelay}
	for _, name := range b.subjects {
		if known[name] == nil {
			return nil, nil, fmt.Errorf("no such subject: %q", name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, known, nil
}

// startRole starts a subject that this binary plays itself.
func startRole(role string) starter {
	return func(ctx context.Context, _ endpoints, t target) (*subject, error) {
		p, e, err := spawn(ctx, role)
		if err != nil {
			return nil, err
		}
		return &subject{name: role, target: t.at(e.Proxy), proc: p}, nil
	}
}

func (b *bench) run(ctx context.Context) error {
	names, known, err := b.starters()
	if err != nil {
		return err
	}
	originProc, origin, err := spawn(ctx, roleOrigin)
	if err != nil {
		return err
	}
	defer originProc.stop()
	t, err := newTarget(origin)
	if err != nil {
		return err
	}
	start := func(name string) (*subject, error) { return known[name](ctx, origin, t) }
	names = b.measureIdle(ctx, names, start)
	return b.measureLoad(ctx, names, start)
}

// measureIdle measures each subject's idle tunnels in a process of its own,
// and returns the names of those that could be started.
func (b *bench) measureIdle(ctx context.Context, names []string, start func(string) (*subject, error)) []string {
	var present []string
	for _, name := range names {
		s, err := start(name)
		switch {
		case errors.Is(err, errAbsent):
			fmt.Fprintf(b.progress, "%s: %v; left out\n", name, err)
			continue
		case err != nil:
			b.fail(name, "start", err)
			continue
		}
		present = append(present, name)
		if err := errors.Join(b.idleOf(ctx, s), s.stop()); err != nil {
			b.fail(name, "idle tunnels", err)
		}
	}
	return present
}

// idleOf measures what s holds for each idle tunnel.
func (b *bench) idleOf(ctx context.Context, s *subject) error {
	fmt.Fprintf(b.progress, "idle tunnels of %s\n", s.name)
	open := func() (net.Conn, error) { return s.target.openIdle(ctx) }
	first, err := open() // brings in the code, and leaves as little behind as can be
	if err != nil {
		return err
	}
	first.Close()
	before, err := settled(ctx, s.proc.pid())
	if err != nil {
		return err
	}
	conns, err := openMany(b.idle, 16, open)
	defer closeAll(conns)
	if err != nil {
		return fmt.Errorf("after %d tunnels: %w", len(conns), err)
	}
	after, err := settled(ctx, s.proc.pid())
	if err != nil {
		return err
	}
	n := float64(b.idle)
	b.results.add(idleMemory, s.name, float64(after.resident-before.resident)/1024/n)
	b.results.add(idleDescriptors, s.name, float64(after.descriptors-before.descriptors)/n)
	return nil
}

// settled waits until a process holds the same for half a second, five seconds
// at most, and returns that.
func settled(ctx context.Context, pid int) (usage, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last usage
	for i, same := 0, 0; i < 50 && same < 5; i++ {
		u, err := usageOf(pid)
		if err != nil {
			return u, err
		}
		if u.resident == last.resident && u.descriptors == last.descriptors {
			same++
		} else {
			same = 0
		}
		last = u
		select {
		case <-tick.C:
		case <-ctx.Done():
			return u, ctx.Err()
		}
	}
	return last, nil
}

// measureLoad starts all subjects and loads them in rounds.
func (b *bench) measureLoad(ctx context.Context, names []string, start func(string) (*subject, error)) error {
	var subjects []*subject
	defer func() {
		for _, s := range subjects {
			if err := s.stop(); err != nil {
				b.fail(s.name, "stop", err)
			}
		}
	}()
	for _, name := range names {
		s, err := start(name)
		if err != nil {
			b.fail(name, "start", err)
			continue
		}
		subjects = append(subjects, s)
	}
	for round := range b.rounds {
		if err := b.measureRound(ctx, round, subjects); err != nil {
			return fmt.Errorf("stopped in round %d: %w", round+1, err)
		}
		fmt.Fprintf(b.progress, "round %d of %d\n", round+1, b.rounds)
	}
	return nil
}

// measureRound takes every measurement of every subject once. Each goes from
// subject to subject, beginning with another one than the last, so that a
// drift of the machine meets all alike.
func (b *bench) measureRound(ctx context.Context, round int, subjects []*subject) error {
	for turn, m := range measurements() {
		for i := range subjects {
			if err := ctx.Err(); err != nil {
				return err
			}
			b.measure(ctx, round, m, subjects[(round+turn+i)%len(subjects)])
		}
	}
	return nil
}

func (b *bench) measure(ctx context.Context, round int, m measurement, s *subject) {
	if m.skip == s.name {
		return
	}
	l := load{target: s.target, workers: b.workers, duration: b.duration}
	values, err := m.take(ctx, l, s.proc.pid())
	if err != nil {
		b.fail(s.name, m.name, err)
		return
	}
	for metric, v := range values {
		b.results.set(metric, s.name, round, v)
	}
}

// fail says what could not be measured and why.
func (b *bench) fail(subject, what string, err error) {
	b.failures++
	fmt.Fprintf(b.progress, "FAILED %s, %s: %v\n", subject, what, err)
}

// measurement is one thing that is done to a subject.
type measurement struct {
	name string
	skip string // the subject that can't do it
	take func(ctx context.Context, l load, pid int) (map[metric]float64, error)
}

func measurements() []measurement {
	list := []measurement{
		{name: "raw tunnels", take: func(ctx context.Context, l load, pid int) (map[metric]float64, error) {
			return l.setupWithCPU(ctx, pid, l.target.openIdle, setupRaw, cpuRaw)
		}},
		{name: "tunnels with TLS", take: func(ctx context.Context, l load, pid int) (map[metric]float64, error) {
			return l.setupWithCPU(ctx, pid, l.target.openTLS, setupTLS, cpuTLS)
		}},
		{name: "round trip", take: func(ctx context.Context, l load, _ int) (map[metric]float64, error) {
			d, err := l.roundTrip(ctx)
			return map[metric]float64{roundTrip: float64(d.Nanoseconds()) / 1e3}, err
		}},
		{name: "HTTP requests", skip: roleRelay, take: func(ctx context.Context, l load, _ int) (map[metric]float64, error) {
			v, err := l.requests(ctx)
			return map[metric]float64{httpRequests: v}, err
		}},
	}
	for _, bulk := range []struct {
		metric  metric
		tunnels int
		move    func(load, context.Context, int) (float64, error)
	}{
		{down1, 1, load.down}, {up1, 1, load.up}, {down8, 8, load.down}, {up8, 8, load.up},
	} {
		list = append(list, measurement{name: string(bulk.metric), take: func(ctx context.Context, l load, _ int) (map[metric]float64, error) {
			v, err := bulk.move(l, ctx, bulk.tunnels)
			return map[metric]float64{bulk.metric: v / 1e6}, err
		}})
	}
	return list
}

// setupWithCPU measures setup and the CPU time that the subject spent on it.
func (l load) setupWithCPU(ctx context.Context, pid int, open func(context.Context) (net.Conn, error), rate, cpu metric) (map[metric]float64, error) {
	before, err1 := usageOf(pid)
	n, perSecond, err2 := l.setup(ctx, open)
	after, err3 := usageOf(pid)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("no tunnel was opened in time")
	}
	return map[metric]float64{
		rate: perSecond,
		cpu:  float64((after.cpu - before.cpu).Milliseconds()) * 1000 / float64(n),
	}, nil
}

// installed reports an absent program as errAbsent.
func installed(path string) (string, error) {
	full, err := exec.LookPath(path)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", path, errAbsent)
	}
	return full, err
}
