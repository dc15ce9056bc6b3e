package web_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/web"
)

// TestMain lets the test binary act as a launched server that asks to be
// approved, with a stolen token.
func TestMain(m *testing.M) {
	if url := os.Getenv("WEB_TEST_ASK"); url != "" {
		os.Exit(ask(url, os.Getenv("WEB_TEST_TOKEN")))
	}
	os.Exit(runTests(m))
}

func ask(url, token string) int {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"targets":["evil.example:443"]}`))
	if err != nil {
		return 1
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 1
	}
	_ = res.Body.Close()
	_, _ = os.Stdout.WriteString(res.Status)
	return 0
}

// TestSelfApprovalOverTCP starts a real process that has a good token. Whether
// it is let in depends on whose it is.
func TestSelfApprovalOverTCP(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	var tok web.TokenJSON
	decodeInto(t, h.socket(web.Peer{UID: 1000}, "POST", "/api/v1/tokens", `{"label":"stolen"}`).Body.Bytes(), &tok)
	run := func() string {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "WEB_TEST_ASK="+h.url+"/api/v1/baselines/calendar/approve", "WEB_TEST_TOKEN="+tok.Token)
		var out bytes.Buffer
		cmd.Stdout = &out
		must(t, cmd.Run())
		return out.String()
	}
	me := os.Getpid()
	h.inside = func(pid int) bool { return pid != me && parentOf(pid) == me }
	if got := run(); got != "403 Forbidden" {
		t.Errorf("from inside: %s", got)
	}
	if len(h.self) != 1 || len(h.book.Entries(s.ID)) != 0 {
		t.Errorf("told of %v; entries %v", h.self, h.book.Entries(s.ID))
	}
	h.inside = nil
	if got := run(); got != "200 OK" {
		t.Errorf("from outside: %s", got)
	}
}

// parentOf reads field 4 of proc_pid_stat(5).
func parentOf(pid int) int {
	data, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 2 {
		return 0
	}
	return atoi(f[1])
}
