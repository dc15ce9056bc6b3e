package store_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/store/storetest"
)

// crashEnv makes the test binary a process that writes to the database it names
// until it is killed.
const crashEnv = "EXEAT_STORE_CRASH_DB"

// child runs as that process if asked to.
func child() bool {
	path := os.Getenv(crashEnv)
	if path == "" {
		return false
	}
	if err := writeForever(path); err != nil {
		fmt.Println("error", err)
	}
	return true
}

// crashServer is the one server of the children; every round finds it there.
func crashServer() identity.Server {
	return identity.Server{ID: uuid.NewSHA1(uuid.Nil, []byte("crash")), Name: "crash", Mode: identity.ModeLearn, Status: identity.StatusActive}
}

// writeForever writes what a busy day brings, 500 flows a second, and says of
// each thing once the store has acknowledged it, in one line: what, and its id.
func writeForever(path string) error {
	ctx := context.Background()
	d, err := store.Open(ctx, store.Config{Path: path, Logger: quiet(), Now: storetest.Now})
	if err != nil {
		return err
	}
	v := crashServer()
	if err := d.PutServer(ctx, v, nil, identity.Change{Action: "server.add"}); err != nil {
		return err
	}
	errs := make(chan error)
	run := func(pause time.Duration, what string, write func() (uuid.UUID, error)) {
		for range time.Tick(pause) {
			id, err := write()
			if err != nil {
				errs <- err
				return
			}
			fmt.Printf("%s %x\n", what, id[:]) // one write call: lines stay whole
		}
	}
	go run(10*time.Millisecond, "flow", func() (uuid.UUID, error) { return writeFlows(d, v) })
	go run(7*time.Millisecond, "alert", func() (uuid.UUID, error) {
		a := detect.Alert{ID: uuid.New(), ServerID: v.ID, Kind: detect.NewDestination, Status: detect.Open, First: time.Now()}
		return a.ID, d.InsertAlert(ctx, a)
	})
	go run(11*time.Millisecond, "entry", func() (uuid.UUID, error) {
		e := baseline.Entry{ID: uuid.New(), Host: baseline.Pattern(uuid.NewString() + ".example"), Port: 443, State: baseline.Approved}
		return e.ID, d.Decide(ctx, v.ID, 1, []baseline.Entry{e}, identity.Change{Action: "baseline.approve", Server: v.ID})
	})
	return <-errs
}

// writeFlows stores five flows as open and then one of them as closed, whose id
// it returns.
func writeFlows(d *store.DB, v identity.Server) (uuid.UUID, error) {
	flows := make([]flow.Flow, 5)
	for i := range flows {
		flows[i] = flow.Flow{ID: uuid.New(), ServerID: v.ID, Server: v.Name, Host: "api.example.com", Port: 443, Opened: time.Now(), Verdict: flow.Allowed}
	}
	if err := d.SaveBatch(context.Background(), record.Batch{Flows: flows}); err != nil {
		return uuid.UUID{}, err
	}
	f := flows[0]
	f.Closed, f.End, f.BytesUp = time.Now(), flow.EndClient, 10
	return f.ID, d.SaveBatch(context.Background(), record.Batch{Flows: []flow.Flow{f}})
}

// TestKill kills a writing process again and again. What it was told to be
// stored must be there.
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "exeat.db")
	acked := map[string][]uuid.UUID{}
	for round := range rounds {
		// A different moment in each round, well past start and migration.
		for what, ids := range writeAndKill(t, path, 20+7*round) {
			acked[what] = append(acked[what], ids...)
		}
		checkAfterKill(t, path, acked)
	}
	t.Logf("%d flows, %d alerts and %d approvals were acknowledged", len(acked["flow"]), len(acked["alert"]), len(acked["entry"]))
}

// writeAndKill starts a process that writes, kills it once it acknowledged n
// things, and returns all that it acknowledged.
func writeAndKill(t *testing.T, path string, n int) map[string][]uuid.UUID {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[string][]uuid.UUID{}
	lines := bufio.NewReader(out)
	for count := 0; ; count++ {
		line, err := lines.ReadString('\n')
		if err != nil { // also what was in the pipe when it died is read
			break
		}
		what, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if what == "error" {
			t.Errorf("the writing process failed: %s", id)
			break
		}
		acked[what] = append(acked[what], decodeID(t, id))
		if count == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // "signal: killed"
	return acked
}

func decodeID(t *testing.T, s string) uuid.UUID {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 {
		t.Fatalf("%q is not an id", s)
	}
	return uuid.UUID(b)
}

func checkAfterKill(t *testing.T, path string, acked map[string][]uuid.UUID) {
	t.Helper()
	d, err := store.Open(t.Context(), store.Config{Path: path, Logger: quiet(), Now: storetest.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		integrity(t, path)
	}()
	if _, err := d.MarkLost(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, id := range acked["flow"] {
		if f, err := d.Flow(t.Context(), id); err != nil || f.End != flow.EndClient {
			t.Errorf("flow %s was acknowledged and is %q now (%v)", id, f.End, err)
		}
	}
	for _, id := range acked["alert"] {
		if _, err := d.Alert(t.Context(), id); err != nil {
			t.Errorf("alert %s was acknowledged: %v", id, err)
		}
	}
	checkApprovals(t, d, acked["entry"])
	totals, err := d.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if have, want := totals[crashServer().ID].Flows, countFlows(t, path); have != want {
		t.Errorf("the totals count %d flows, and there are %d", have, want)
	}
}

func checkApprovals(t *testing.T, d *store.DB, acked []uuid.UUID) {
	t.Helper()
	entries, _, err := d.Baselines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	approved := map[uuid.UUID]bool{}
	for _, e := range entries {
		approved[e.ID] = e.State == baseline.Approved
	}
	for _, id := range acked {
		if !approved[id] {
			t.Errorf("approval %s was acknowledged and is not there", id)
		}
	}
}

// raw opens the database beside the store.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func countFlows(t *testing.T, path string) (n int64) {
	t.Helper()
	db := raw(t, path)
	defer func() { _ = db.Close() }()
	if err := db.QueryRow("SELECT count(*) FROM flows WHERE closed != 0").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func integrity(t *testing.T, path string) {
	t.Helper()
	db := raw(t, path)
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check says %q (%v)", verdict, err)
	}
	head, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(head, []byte("SQLite format 3\x00")) || binary.BigEndian.Uint32(head[68:]) != 0x45786561 {
		t.Error("the file does not carry the application id")
	}
}
