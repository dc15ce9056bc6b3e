package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// roleEnv makes this binary play one role as a child process.
const roleEnv = "EXEAT_BENCH_ROLE"

// The roles.
const (
	roleOrigin  = "origin"
	roleRelay   = "relay"
	roleGoproxy = "goproxy"
)

// endpoints is what a child says of itself, as one line of JSON, when it is
// ready. A proxy has only the first.
type endpoints struct {
	Proxy string `json:"proxy,omitempty"`
	Raw   string `json:"raw,omitempty"`
	TLS   string `json:"tls,omitempty"`
	HTTP  string `json:"http,omitempty"`
	DNS   string `json:"dns,omitempty"`
	// Root is the DER of the certificate of the TLS origin.
	Root []byte `json:"root,omitempty"`
}

// runChild plays role until stdin ends, which it does with the parent at the
// latest.
func runChild(role string, stdin io.Reader, stdout io.Writer) error {
	start, ok := map[string]func() (endpoints, error){
		roleOrigin:  startOrigin,
		roleRelay:   startRelay,
		roleGoproxy: startGoproxy,
	}[role]
	if !ok {
		return fmt.Errorf("no such role: %q", role)
	}
	e, err := start()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(e); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdin)
	return err
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // its end asks our own children to end
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the child and waits for it. It is killed when it doesn't end.
func (p *process) stop() {
	if p.stdin != nil {
		p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(os.Interrupt) // it fails when it has ended already
	}
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // how it ended says nothing about what was measured
}

// spawn starts this binary in role.
func spawn(ctx context.Context, role string) (*process, endpoints, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, endpoints{}, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, endpoints{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, endpoints{}, err
	}
	if err := cmd.Start(); err != nil {
		return nil, endpoints{}, err
	}
	p := &process{cmd: cmd, stdin: stdin}
	var e endpoints
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&e); err != nil {
		p.stop()
		return nil, endpoints{}, fmt.Errorf("%s does not start: %w", role, err)
	}
	return p, e, nil
}
