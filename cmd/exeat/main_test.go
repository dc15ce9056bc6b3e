package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/web"
)

// TestMain puts this very program on the path as "exeat": what the tests start
// are real processes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"exeat": main})
}

// patience ends a test that would hang; nothing is decided by it.
const patience = 30 * time.Second

// served is a daemon in a process of its own.
type served struct {
	cmd    *exec.Cmd
	cfg    *config
	client *client
	proxy  string // host:port
	ended  chan error
}

// startServe starts "exeat serve" on a data directory and returns when it has
// said where it listens, which is when it accepts connections.
func startServe(t *testing.T, data string, args ...string) *served {
	t.Helper()
	return startProgram(t, "exeat", data, args...)
}

// startProgram is startServe for another build of this program.
func startProgram(t *testing.T, program, data string, args ...string) *served {
	t.Helper()
	args = append([]string{"serve", "--data", data, "--proxy-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0"}, args...)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "EXEAT_CONFIG="+os.DevNull)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	must(t, cmd.Start())
	s := &served{cmd: cmd, cfg: defaults(), ended: make(chan error, 1)}
	s.cfg.Data = data
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "proxy "); ok {
			u, err := url.Parse(strings.TrimSpace(address))
			must(t, err)
			s.proxy = u.Host
		}
		if strings.HasPrefix(lines.Text(), "next:") {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout) // until it ends
		s.ended <- cmd.Wait()
	}()
	if s.proxy == "" {
		t.Fatalf("exeat serve did not come up: %v\n%s", <-s.ended, stderr.String())
	}
	s.client, err = need(t.Context(), s.cfg)
	must(t, err)
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop asks the daemon to end and waits for it. It may be called after kill.
func (s *served) stop(t *testing.T) {
	t.Helper()
	_ = s.client.close() // idle connections only
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		s.ended <- err
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		t.Error("exeat serve did not end on SIGTERM")
	}
}

// kill is kill -9.
func (s *served) kill(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Kill())
	s.ended <- <-s.ended
}

func (s *served) call(t *testing.T, method, path string, in, out any) {
	t.Helper()
	must(t, s.client.call(t.Context(), method, path, in, out))
}

// add makes a server and returns its credential.
func (s *served) add(t *testing.T, name, mode string) web.Issued {
	t.Helper()
	var issued web.Issued
	s.call(t, http.MethodPost, "/servers", web.NewServerRequest{Name: name, Mode: mode}, &issued)
	return issued
}

func (s *served) approve(t *testing.T, name string, targets ...string) {
	t.Helper()
	s.call(t, http.MethodPost, "/baselines/"+name+"/approve", web.DecideRequest{Targets: targets}, nil)
}

// flows returns all flows of a server, newest first.
func (s *served) flows(t *testing.T, name string) []flow.Flow {
	t.Helper()
	var all []flow.Flow
	must(t, each(t.Context(), s.client, "/flows", url.Values{"server": {name}, "limit": {"1000"}}, 0, func(f flow.Flow) error {
		all = append(all, f)
		return nil
	}))
	return all
}

// exeat runs one command line of this program on s's data and returns what it
// printed.
func (s *served) exeat(t *testing.T, args ...string) (stdout string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "exeat", append(args[:1:1], append([]string{"--data", s.cfg.Data}, args[1:]...)...)...)
	cmd.Env = append(os.Environ(), "EXEAT_CONFIG="+os.DevNull)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if status := cmd.ProcessState.ExitCode(); status >= 0 {
		if errs.Len() > 0 {
			t.Logf("exeat %s: %s", strings.Join(args, " "), errs.String())
		}
		return string(out), status
	}
	t.Fatalf("exeat %s: %v", strings.Join(args, " "), err)
	return "", 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loopbackDNS answers every name with 127.0.0.1.
func loopbackDNS(t *testing.T) string {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	started := make(chan struct{})
	server := &dns.Server{
		PacketConn: packets, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
			reply := new(dns.Msg).SetReply(query)
			if q := query.Question[0]; q.Qtype == dns.TypeA {
				reply.Answer = []dns.RR{&dns.A{
					Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
					A:   net.IPv4(127, 0, 0, 1),
				}}
			}
			_ = w.WriteMsg(reply) // the client asks again
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = server.ShutdownContext(ctx)
		<-done
	})
	return packets.LocalAddr().String()
}

// decodeLines reads one JSON object a line.
func decodeLines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	for dec.More() {
		var m map[string]any
		must(t, dec.Decode(&m))
		all = append(all, m)
	}
	return all
}
