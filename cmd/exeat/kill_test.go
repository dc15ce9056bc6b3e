package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // to look into the database from outside

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/proxy/proxytest"
	"github.com/exeat/exeat/web"
)

// Bounds of the kill test.
const (
	killRounds   = 20
	killWorkers  = 14                     // 50 flows a second each
	killPerRound = 500 * time.Millisecond // at least, before the kill
	// promised is what may be missing of closed flows; slack is what a busy
	// machine may add before the test calls it broken rather than late.
	promised = 100 * time.Millisecond
	slack    = 900 * time.Millisecond
)

// TestKilledAtAnyInstant holds promise 3: a daemon that is killed under load
// loses no identity, approval or alert that it acknowledged, and of closed
// flows at most the last moments; what was open is marked as lost.
func TestKilledAtAnyInstant(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a daemon twenty times")
	}
	k := &killing{data: t.TempDir(), dns: loopbackDNS(t), hello: proxytest.Hello(t, loadHost(0))}
	// The race detector would make the daemon too slow for the load.
	k.program = filepath.Join(t.TempDir(), "exeat")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", k.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	k.port = proxytest.NewOrigin(t, answerOnce).Port()
	k.hold = proxytest.Echo(t).Port()
	for range killRounds {
		k.round(t)
	}
	k.inspect(t)
	t.Logf("%d rounds: %d flows (%.0f/s under load), %d of them closed within %v of a kill and missing, %d older than that and missing; %d alerts, %d approvals, %d servers, all there",
		killRounds, k.flows, float64(k.flows)/k.busy.Seconds(), k.missing-k.late, promised, k.late, k.alerts, k.approvals, k.servers)
}

// answerOnce is an origin that takes the hello, says one byte and leaves.
func answerOnce(c net.Conn) {
	if _, err := c.Read(make([]byte, 4096)); err == nil {
		_, _ = c.Write([]byte{0}) // the client may be gone
	}
}

func loadHost(n int) string { return fmt.Sprintf("f%07d.load.example", n) }

const heldHost = "held.load.example"

// killing is the state that outlives the rounds.
type killing struct {
	program    string
	data, dns  string
	port, hold string // origins that answer once, and that stay
	hello      []byte // with the SNI loadHost(0)
	server     string // of the last round
	killed     time.Time

	mu       sync.Mutex
	seq      int
	closed   map[string]time.Time // host → when its end was seen
	refused  []string             // hosts whose refusal was received
	approved []string             // hosts whose approval was acknowledged

	busy                       time.Duration
	flows, missing, late       int
	alerts, approvals, servers int
}

// round serves, loads and kills; what the round before left is checked first.
func (k *killing) round(t *testing.T) {
	t.Helper()
	s := k.serve(t)
	if k.server != "" {
		k.check(t, s)
	}
	k.server = "load" + strconv.Itoa(k.servers)
	issued := s.add(t, k.server, "block")
	k.servers++
	s.approve(t, k.server, "*.load.example:"+k.port, "*.load.example:"+k.hold)
	k.closed, k.refused, k.approved = make(map[string]time.Time), nil, nil

	held := proxytest.Connect(t, s.proxy, heldHost+":"+k.hold, k.server, issued.Token)
	_, err := held.Write(proxytest.Hello(t, heldHost))
	must(t, err)
	_, err = io.ReadFull(held, make([]byte, 1)) // the tunnel stands
	must(t, err)

	stop := make(chan struct{})
	var load sync.WaitGroup
	for range killWorkers {
		load.Go(func() { k.load(s.proxy, k.server, issued.Token, stop) })
	}
	load.Go(func() { k.decide(t, s, k.server, issued.Token, stop) })
	begun := time.Now()
	<-time.After(killPerRound + rand.N(killPerRound)) // any instant
	k.killed = time.Now()
	s.kill(t)
	close(stop)
	load.Wait()
	k.busy += k.killed.Sub(begun)
	for host, at := range k.closed {
		if !at.Before(k.killed) {
			delete(k.closed, host) // the kill may have been its end
		}
	}
}

func (k *killing) serve(t *testing.T) *served {
	t.Helper()
	return startProgram(t, k.program, k.data, "--dns-upstream", k.dns, "--network-allow-private", "127.0.0.0/8", "--limits-connects-per-second", "100000")
}

func (k *killing) next() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seq++
	return k.seq
}

// load makes 50 flows a second until stop.
func (k *killing) load(proxy, name, token string, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second / 50)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		host := loadHost(k.next())
		if err := k.one(proxy, host, name, token); err != nil {
			continue // the kill came in between
		}
		k.mu.Lock()
		k.closed[host] = time.Now()
		k.mu.Unlock()
	}
}

// one makes a whole flow, from CONNECT to the origin's end of file.
func (k *killing) one(proxy, host, name, token string) error {
	conn, err := net.DialTimeout("tcp", proxy, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, proxytest.Head(host+":"+k.port, name, token)); err != nil {
		return err
	}
	head := make([]byte, 0, 512)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		head = append(head, b...)
	}
	if !bytes.Contains(head[:16], []byte(" 200 ")) {
		return fmt.Errorf("refused: %s", head)
	}
	if _, err := conn.Write(bytes.Replace(k.hello, []byte(loadHost(0)), []byte(host), 1)); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) != 1 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decide makes refusals, each of a cause of its own, and approvals, until stop.
func (k *killing) decide(t *testing.T, s *served, name, token string, stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		host := fmt.Sprintf("attacker%d.example", k.next())
		if err := k.one(s.proxy, host, name, token); err != nil && bytes.Contains([]byte(err.Error()), []byte("new_destination")) {
			k.refused = append(k.refused, host)
		}
		host = fmt.Sprintf("approved%d.example", k.next())
		err := s.client.call(t.Context(), http.MethodPost, "/baselines/"+name+"/approve", web.DecideRequest{Targets: []string{host}}, nil)
		if err == nil {
			k.approved = append(k.approved, host)
		}
	}
}

// check holds what the killed daemon left to what it had acknowledged.
func (k *killing) check(t *testing.T, s *served) {
	t.Helper()
	stored := make(map[string]flow.Flow)
	for _, f := range s.flows(t, k.server) {
		stored[f.Host] = f
	}
	for host, at := range k.closed {
		k.flows++
		if f := stored[host]; !f.Closed.IsZero() && f.End != flow.EndLost {
			continue
		}
		k.missing++
		if before := k.killed.Sub(at); before > promised {
			k.late++
			if before > promised+slack {
				t.Errorf("%s ended %v before the kill and is stored as %+v", host, before, stored[host])
			}
		}
	}
	if f := stored[heldHost]; f.End != flow.EndLost || f.Closed.IsZero() {
		t.Errorf("the tunnel that was open ended as %q, closed %v; want lost", f.End, f.Closed)
	}
	k.checkDecisions(t, s)
}

func (k *killing) checkDecisions(t *testing.T, s *served) {
	t.Helper()
	alerts := make(map[string]bool)
	must(t, each(t.Context(), s.client, "/alerts", url.Values{"server": {k.server}, "limit": {"1000"}}, 0, func(a detect.Alert) error {
		alerts[a.Host] = true
		return nil
	}))
	for _, host := range k.refused {
		k.alerts++
		if !alerts[host] {
			t.Errorf("the alert about %s is lost", host)
		}
	}
	var b web.BaselineJSON
	s.call(t, http.MethodGet, "/baselines/"+k.server, nil, &b)
	entries := make(map[string]bool)
	for _, e := range b.Items {
		entries[string(e.Host)] = e.State == "approved"
	}
	for _, host := range k.approved {
		k.approvals++
		if !entries[host] {
			t.Errorf("the approval of %s is lost", host)
		}
	}
}

// inspect checks the last round, and the database from outside.
func (k *killing) inspect(t *testing.T) {
	t.Helper()
	s := k.serve(t)
	k.check(t, s)
	var list web.List[web.ServerJSON]
	s.call(t, http.MethodGet, "/servers?limit=1000", nil, &list)
	if len(list.Items) != k.servers {
		t.Errorf("%d servers of %d are there", len(list.Items), k.servers)
	}
	s.stop(t)
	path := filepath.Join(k.data, "exeat.db")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	must(t, err)
	defer db.Close()
	var verdict string
	must(t, db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("integrity_check: %s", verdict)
	}
}
