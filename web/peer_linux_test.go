package web_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/web"
)

// TestAsLaunchedServer is no test of its own: run by TestSelfApprovalOverTCP in
// a process of its own, it is a launched server that asks to be approved, with
// a stolen token.
func TestAsLaunchedServer(t *testing.T) {
	url := os.Getenv("WEB_TEST_ASK")
	if url == "" {
		t.Skip("not run as a launched server")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"targets":["evil.example:443"]}`))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+os.Getenv("WEB_TEST_TOKEN"))
	d := &net.Dialer{}
	if from := os.Getenv("WEB_TEST_FROM"); from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}
	res, err := (&http.Client{Transport: tr}).Do(req)
	must(t, err)
	must(t, res.Body.Close())
	t.Logf("answer: %s.", res.Status)
}

// TestSelfApprovalOverTCP starts a real process that has a good token. Whether
// it is let in depends on whose it is.
func TestSelfApprovalOverTCP(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	var tok web.TokenJSON
	decodeInto(t, h.socket(web.Peer{UID: 1000}, "POST", "/api/v1/tokens", `{"label":"stolen"}`).Body.Bytes(), &tok)
	run := func(from string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsLaunchedServer$", "-test.v")
		cmd.Env = append(os.Environ(), "WEB_TEST_ASK="+h.url+"/api/v1/baselines/calendar/approve", "WEB_TEST_TOKEN="+tok.Token, "WEB_TEST_FROM="+from)
		var out bytes.Buffer
		cmd.Stdout = &out
		must(t, cmd.Run())
		_, status, _ := strings.Cut(out.String(), "answer: ")
		status, _, _ = strings.Cut(status, ".")
		return status
	}
	me := os.Getpid()
	h.setInside(func(pid int) bool { return pid != me && parentOf(pid) == me })
	froms := append(ownAddresses(t), "")
	for _, from := range froms {
		if got := run(from); got != "403 Forbidden" {
			t.Errorf("from inside, by way of %q: %s", from, got)
		}
	}
	if len(h.turnedDown()) != len(froms) || len(h.book.Entries(s.ID)) != 0 {
		t.Errorf("told of %v; entries %v", h.turnedDown(), h.book.Entries(s.ID))
	}
	h.setInside(nil)
	if got := run(""); got != "200 OK" {
		t.Errorf("from outside: %s", got)
	}
}

// ownAddresses are those of this machine that look like another's: the kernel
// lets a client reach 127.0.0.1 from any of them. There may be none.
func ownAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	must(t, err)
	var out []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// TestAsHastyServer is the launched server that doesn't wait for the answer: it
// asks, and is gone before anybody can look who it was.
func TestAsHastyServer(t *testing.T) {
	addr := os.Getenv("WEB_TEST_HASTY")
	if addr == "" {
		t.Skip("runs only as a child of TestSelfApprovalInHaste")
	}
	body := `{"targets":["evil.example"]}`
	for range 40 {
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		_, err = fmt.Fprintf(conn, "POST /api/v1/baselines/calendar/approve HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", addr, os.Getenv("WEB_TEST_TOKEN"), len(body), body)
		must(t, err)
		must(t, conn.Close())
	}
}

func TestSelfApprovalInHaste(t *testing.T) {
	h := newHouse(t)
	s := h.add("calendar", identity.ModeBlock, true, identity.NewServer{})
	var tok web.TokenJSON
	decodeInto(t, h.socket(web.Peer{UID: 1000}, "POST", "/api/v1/tokens", `{"label":"stolen"}`).Body.Bytes(), &tok)
	me := os.Getpid()
	h.setInside(func(pid int) bool { return pid != me && parentOf(pid) == me })
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsHastyServer$", "-test.v")
	cmd.Env = append(os.Environ(), "WEB_TEST_HASTY="+strings.TrimPrefix(h.url, "http://"), "WEB_TEST_TOKEN="+tok.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); len(h.turnedDown()) < 40; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 40 were turned down", len(h.turnedDown()))
		}
	}
	if entries := h.book.Entries(s.ID); len(entries) != 0 {
		t.Errorf("it approved %+v for itself", entries)
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
