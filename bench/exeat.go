package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// exeatConfig is a configuration as in real use but for three things: the
// origin is on loopback, its name is known to the origin's DNS server only, and
// the limits of one server are far away.
const exeatConfig = `data: %q
proxy: {listen: %q}
web: {listen: %q}
dns: {upstream: [%q]}
network: {allow_private: [127.0.0.0/8]}
limits: {tunnels_per_server: 20000, connects_per_second: 1000000}
`

// exeatStarter starts "exeat serve" on a new data directory, with one server
// in mode block whose baseline holds the origin. Everything is then as in real
// use: authentication, DNS, ClientHello, policy, and every flow is stored.
func exeatStarter(binary string) starter {
	return func(ctx context.Context, origin endpoints, t target) (*subject, error) {
		path, err := installed(binary)
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "exeat-bench-")
		if err != nil {
			return nil, err
		}
		s, err := startExeat(ctx, path, dir, origin, t)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		s.clean = func() error { return os.RemoveAll(dir) }
		return s, nil
	}
}

func startExeat(ctx context.Context, path, dir string, origin endpoints, t target) (*subject, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "exeat.yaml")
	text := fmt.Sprintf(exeatConfig, filepath.Join(dir, "data"), ports[0], ports[1], origin.DNS)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	command := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, path, append(args, "--config", config)...)
	}
	daemon := command("serve")
	var said bytes.Buffer
	daemon.Stdout, daemon.Stderr = &said, &said
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	s := &subject{name: "exeat", proc: &process{cmd: daemon}}
	s.target, err = enrol(ctx, command, t.at(ports[0]))
	if err != nil {
		s.proc.stop()
		return nil, fmt.Errorf("%w; exeat serve says: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return s, nil
}

// enrol waits for the daemon, makes the server and its baseline, and returns t
// with its credential.
func enrol(ctx context.Context, command func(...string) *exec.Cmd, t target) (target, error) {
	if err := listening(ctx, t.proxy); err != nil {
		return t, err
	}
	added, err := output(command("server", "add", "bench", "--json"))
	if err != nil {
		return t, err
	}
	var server struct {
		ProxyURL string `json:"proxy_url"`
	}
	if err := json.Unmarshal(added, &server); err != nil {
		return t, err
	}
	proxy, err := url.Parse(server.ProxyURL)
	if err != nil {
		return t, err
	}
	if proxy.User == nil {
		return t, errors.New("the proxy URL has no credential")
	}
	_, err1 := output(command("baseline", "approve", "bench",
		originHost+":"+t.ports.raw, originHost+":"+t.ports.tls, originHost+":"+t.ports.http))
	_, err2 := output(command("server", "mode", "bench", "block"))
	return t.as(proxy.User), errors.Join(err1, err2)
}

// output runs a command and returns its standard output.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", cmd.Args[1:], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// freePorts returns loopback addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// listening waits until somebody accepts at addr.
func listening(ctx context.Context, addr string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", addr, err)
		}
	}
}
