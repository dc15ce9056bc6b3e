package launchtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// Session is an MCP client's side of a server's stdio: JSON-RPC, one message a
// line (MCP, transports, stdio). It is for one goroutine.
type Session struct {
	in     io.Writer
	lines  chan []byte
	failed chan error
	nextID int
	limit  time.Duration
}

// NewSession speaks to a server whose standard input is in and whose standard
// output is out. It reads until out ends.
func NewSession(in io.Writer, out io.Reader) *Session {
	s := &Session{in: in, lines: make(chan []byte, 64), failed: make(chan error, 1), limit: time.Minute}
	go s.read(out)
	return s
}

func (s *Session) read(out io.Reader) {
	defer close(s.lines)
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		s.lines <- append([]byte(nil), scanner.Bytes()...)
	}
	if err := scanner.Err(); err != nil {
		s.failed <- err
	}
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// Call sends a request and returns its result, or its error. Whatever else the
// server sends meanwhile is answered (ping) or left.
func (s *Session) Call(method string, params any) (json.RawMessage, error) {
	s.nextID++
	if err := s.send(map[string]any{"jsonrpc": "2.0", "id": s.nextID, "method": method, "params": params}); err != nil {
		return nil, err
	}
	deadline := time.NewTimer(s.limit)
	defer deadline.Stop()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return nil, fmt.Errorf("%s: the server's output ended", method)
			}
			result, done, err := s.take(line)
			if done || err != nil {
				return result, err
			}
		case err := <-s.failed:
			return nil, err
		case <-deadline.C:
			return nil, fmt.Errorf("%s: no answer in %v", method, s.limit)
		}
	}
}

// take looks at one line and reports whether it answers the last request.
func (s *Session) take(line []byte) (result json.RawMessage, done bool, err error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, false, fmt.Errorf("not JSON on standard output: %.200q", line)
	}
	switch {
	case m.Method != "" && m.ID != nil:
		return nil, false, s.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": map[string]any{}})
	case m.Method != "" || string(m.ID) != fmt.Sprint(s.nextID):
		return nil, false, nil
	case m.Error != nil:
		return nil, true, errors.New(m.Error.Message)
	}
	return m.Result, true, nil
}

// Notify sends a notification.
func (s *Session) Notify(method string) error {
	return s.send(map[string]any{"jsonrpc": "2.0", "method": method})
}

func (s *Session) send(m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = s.in.Write(append(b, '\n'))
	return err
}

// Open initialises the session and returns the names of the server's tools.
func (s *Session) Open(t testing.TB) (tools []string) {
	t.Helper()
	_, err := s.Call("initialize", map[string]any{
		"protocolVersion": "2024-11-05", "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "exeat-test", "version": "1"},
	})
	if err != nil {
		t.Fatalf("initialize: %v", err)
	}
	if err := s.Notify("notifications/initialized"); err != nil {
		t.Fatal(err)
	}
	result, err := s.Call("tools/list", map[string]any{})
	if err != nil {
		t.Fatalf("tools/list: %v", err)
	}
	var list struct {
		Tools []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(result, &list); err != nil {
		t.Fatal(err)
	}
	for _, tool := range list.Tools {
		tools = append(tools, tool.Name)
	}
	return tools
}

// CallTool calls a tool and returns the text of its result. A result that the
// server marks as an error is returned with an error.
func (s *Session) CallTool(name string, arguments any) (string, error) {
	result, err := s.Call("tools/call", map[string]any{"name": name, "arguments": arguments})
	if err != nil {
		return "", err
	}
	var r struct {
		IsError bool `json:"isError"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return "", err
	}
	var text string
	for _, c := range r.Content {
		text += c.Text
	}
	if r.IsError {
		return text, fmt.Errorf("tool %s: %s", name, text)
	}
	return text, nil
}
