package main

import (
	"database/sql"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/proxy/proxytest"
	"github.com/exeat/exeat/web"
)

// TestStoreLocked holds promise 4 against a database that somebody locks:
// approved connections go on, unapproved ones are refused except in learn
// mode, no mode is lowered, and the gap is told afterwards.
func TestStoreLocked(t *testing.T) {
	echo := proxytest.Echo(t)
	s := startServe(t, t.TempDir(), "--dns-upstream", loopbackDNS(t), "--network-allow-private", "127.0.0.0/8")
	known, unknown := "api.known.example:"+echo.Port(), "api.unknown.example:"+echo.Port()
	tokens := make(map[string]string)
	for _, mode := range []string{"learn", "alert", "block"} {
		tokens[mode] = s.add(t, mode, mode).Token
		s.approve(t, mode, known)
	}

	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.cfg.Data, "exeat.db")+"?_txlock=immediate")
	must(t, err)
	defer db.Close()
	lock, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = lock.ExecContext(t.Context(), "UPDATE servers SET owner = owner")
	must(t, err)

	ask := func(mode, target string) proxytest.Answer {
		_, a := proxytest.Send(t, s.proxy, proxytest.Head(target, mode, tokens[mode]))
		return a
	}
	ask("learn", known) // something to write
	wait := time.NewTicker(20 * time.Millisecond)
	defer wait.Stop()
	for deadline := time.Now().Add(patience); ; <-wait.C {
		var status web.StatusJSON
		s.call(t, http.MethodGet, "/status", nil, &status)
		if status.Record.Degraded {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody noticed that the store can't be written")
		}
	}
	for _, c := range []struct {
		mode, target string
		status       int
		reason       flow.Reason
	}{
		{"learn", known, http.StatusOK, ""},
		{"alert", known, http.StatusOK, ""},
		{"block", known, http.StatusOK, ""},
		{"learn", unknown, http.StatusOK, ""},
		{"alert", unknown, http.StatusServiceUnavailable, flow.ReasonStoreUnavailable},
		{"block", unknown, http.StatusForbidden, flow.ReasonNewDestination},
	} {
		if a := ask(c.mode, c.target); a.Status != c.status || a.Reason != string(c.reason) {
			t.Errorf("locked, mode %s, %s: %d %q, want %d %q", c.mode, c.target, a.Status, a.Reason, c.status, c.reason)
		}
	}
	err = s.client.call(t.Context(), http.MethodPost, "/servers/block/mode", web.ModeRequest{Mode: "learn"}, nil)
	if err == nil {
		t.Error("a mode was changed that can't have been stored")
	}
	must(t, lock.Rollback())

	for deadline := time.Now().Add(patience); ; <-wait.C {
		var status web.StatusJSON
		s.call(t, http.MethodGet, "/status", nil, &status)
		if !status.Record.Degraded && len(status.Gaps) == 1 && status.Record.UnsavedAlerts == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the lock: %+v, gaps %+v", status.Record, status.Gaps)
		}
	}
	if a := ask("alert", unknown); a.Status != http.StatusOK {
		t.Errorf("afterwards, in alert mode: %s", a.Phrase)
	}
	if a := ask("block", unknown); a.Status != http.StatusForbidden {
		t.Errorf("afterwards, in block mode: %s", a.Phrase)
	}
	if out, _ := s.exeat(t, "alerts"); strings.Count(out, "api.unknown.example") != 2 {
		t.Errorf("the alerts that were raised meanwhile:\n%s", out)
	}
}

// TestOneDaemonADirectory: a second daemon is turned away and the first goes on.
func TestOneDaemonADirectory(t *testing.T) {
	s := startServe(t, t.TempDir())
	cmd := exec.CommandContext(t.Context(), "exeat", "serve", "--data", s.cfg.Data, "--proxy-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "exeat: ") {
		t.Errorf("the second daemon: %v\n%s", err, out)
	}
	if _, status := s.exeat(t, "server", "add", "still"); status != exitOK {
		t.Error("the first daemon does not answer any more")
	}
}

// TestSocketOfAnother: nor is the socket of a running daemon taken over when
// only the store lies elsewhere.
func TestSocketOfAnother(t *testing.T) {
	s := startServe(t, t.TempDir())
	cmd := exec.CommandContext(t.Context(), "exeat", "serve", "--data", s.cfg.Data, "--store-url", "sqlite:"+filepath.Join(t.TempDir(), "x.db"),
		"--proxy-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "another daemon") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, status := s.exeat(t, "server", "add", "still"); status != exitOK {
		t.Error("the first daemon does not answer any more")
	}
}

// TestForeignDataDirectory: a directory that others may write to is refused.
func TestForeignDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Chmod(dir, 0o777))
	out, err := exec.CommandContext(t.Context(), "exeat", "serve", "--data", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "\ntry: chmod 700 ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPortTaken: the error names the way out.
func TestPortTaken(t *testing.T) {
	s := startServe(t, t.TempDir())
	cmd := exec.CommandContext(t.Context(), "exeat", "serve", "--data", t.TempDir(), "--proxy-listen", s.proxy, "--web-listen", "127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "\ntry: exeat serve --proxy-listen") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFromAnotherMachine uses the API with a token, as EXEAT_URL does.
func TestFromAnotherMachine(t *testing.T) {
	s := startServe(t, t.TempDir())
	token, status := s.exeat(t, "token", "add", "laptop")
	if status != exitOK {
		t.Fatalf("token add: %d", status)
	}
	var st web.StatusJSON
	s.call(t, http.MethodGet, "/status", nil, &st)
	t.Setenv("EXEAT_URL", st.WebURL)
	t.Setenv("EXEAT_TOKEN", strings.TrimSpace(token))
	other := &served{cfg: defaults()}
	other.cfg.Data = t.TempDir()
	if out, status := other.exeat(t, "server", "add", "cal", "--owner", "alice", "--json"); status != exitOK || decodeLines(t, out)[0]["proxy_url"] == "" {
		t.Errorf("server add: %d\n%s", status, out)
	}
	if out, status := other.exeat(t, "server", "list"); status != exitOK || !strings.Contains(out, "alice/cal") {
		t.Errorf("server list: %d\n%s", status, out)
	}
	t.Setenv("EXEAT_TOKEN", "exeat_wrong")
	if _, status := other.exeat(t, "server", "list"); status != exitFailed {
		t.Errorf("a wrong token: %d", status)
	}
}
