//go:build unix

package launch_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/exeat/exeat/launch"
)

// patience bounds waiting for something that must happen.
const patience = 30 * time.Second

// launcher is a process that runs a command as exeat run does, seen from the
// MCP client that started it.
type launcher struct {
	cmd    *exec.Cmd
	in     *os.File
	out    *bufio.Reader
	child  launch.Process
	stderr *bufio.Reader
	once   sync.Once
}

// start starts a launcher whose standard input and output are pipes, as MCP
// clients do it.
func start(t *testing.T, command ...string) *launcher {
	t.Helper()
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	l := &launcher{in: inW, out: bufio.NewReader(outR), stderr: bufio.NewReader(errR)}
	l.cmd = exec.Command(os.Args[0], command...)
	l.cmd.Env = append(os.Environ(), helperVariable+"=run")
	l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr = inR, outW, errW
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{inR, outW, errW} {
		f.Close()
	}
	t.Cleanup(func() { l.stop() })
	for _, f := range []*os.File{inW, outR, errR} {
		if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *launcher) stop() {
	l.once.Do(func() {
		_ = l.in.Close()
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
	})
}

// started waits until the child runs.
func (l *launcher) started(t *testing.T) launch.Process {
	t.Helper()
	line, err := l.stderr.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "started %d %d", &l.child.PID, &l.child.Start); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return l.child
}

// code waits for the end.
func (l *launcher) code(t *testing.T) int {
	t.Helper()
	var code int
	l.once.Do(func() {
		var exit *exec.ExitError
		if err := l.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		code = l.cmd.ProcessState.ExitCode()
	})
	return code
}

func (l *launcher) line(t *testing.T, want string) {
	t.Helper()
	got, err := l.out.ReadString('\n')
	if err != nil || got != want+"\n" {
		t.Fatalf("got line %q, %v; want %q", got, err, want)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestRunKeepsEveryByte(t *testing.T) {
	const size = 64 << 20
	data := make([]byte, size)
	// Random bytes: newlines, NULs and invalid UTF-8 are among them.
	if _, err := rand.NewChaCha8([32]byte{1}).Read(data); err != nil {
		t.Fatal(err)
	}
	l := start(t, "cat")
	wrote := make(chan error, 1)
	go func() {
		_, err := l.in.Write(data)
		wrote <- errors.Join(err, l.in.Close())
	}()
	h := sha256.New()
	n, err := io.Copy(h, l.out)
	if err != nil || n != size {
		t.Fatalf("%d bytes came back of %d: %v", n, size, err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("the bytes are others")
	}
	if code := l.code(t); code != 0 {
		t.Errorf("status %d", code)
	}
}

// The launcher must not hold what the child closed: the client would wait for
// an end of file, or write into nothing.
func TestRunLetsGoOfStandardOutput(t *testing.T) {
	l := start(t, "sh", "-c", "exec 1>&-; read -r line; exit 5")
	if _, err := l.out.ReadByte(); err != io.EOF {
		t.Fatalf("the child closed its standard output, the client sees %v", err)
	}
	if _, err := l.in.WriteString("go on\n"); err != nil {
		t.Fatal(err)
	}
	if code := l.code(t); code != 5 {
		t.Errorf("status %d", code)
	}
}

func TestRunLetsGoOfStandardInput(t *testing.T) {
	l := start(t, "sh", "-c", "exec 0<&-; echo closed; while :; do sleep 1; done")
	l.line(t, "closed")
	l.started(t)
	// The launcher lets go right after the child started; the child may have
	// been quicker.
	deadline := time.Now().Add(patience)
	for {
		_, err := l.in.WriteString("x")
		if errors.Is(err, syscall.EPIPE) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child closed its standard input, the client sees %v", err)
		}
	}
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := l.code(t); code != 128+int(syscall.SIGTERM) {
		t.Errorf("status %d", code)
	}
}

func TestRunExitStatus(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	noInterpreter := filepath.Join(dir, "nointerpreter")
	noProgram := filepath.Join(dir, "noprogram")
	for path, content := range map[string]string{plain: "x", noInterpreter: "#!/nowhere/at/all\n", noProgram: "\x00\x01"} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		command []string
		want    int
		text    string
	}{
		{"success", []string{"true"}, 0, ""},
		{"failure", []string{"sh", "-c", "exit 42"}, 42, ""},
		{"the highest", []string{"sh", "-c", "exit 255"}, 255, ""},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{"its own signal", []string{"sh", "-c", "kill -SEGV $$"}, 139, ""},
		{"unknown", []string{"no-such-command-here"}, 127, "no such command on PATH"},
		{"unknown path", []string{filepath.Join(dir, "nothing")}, 127, "no such file"},
		{"arguments in the name", []string{"npx -y pkg"}, 127, "it holds spaces"},
		{"not executable", []string{plain}, 126, "is not executable"},
		{"a directory", []string{dir}, 126, "is a directory"},
		{"no interpreter", []string{noInterpreter}, 127, "interpreter"},
		{"not a program", []string{noProgram}, 126, "not a program for this machine"},
		{"empty", []string{""}, 127, "empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, tt.command...)
			text, err := io.ReadAll(l.stderr)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.code(t); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
			if !strings.Contains(string(text), tt.text) {
				t.Errorf("it said %q, want %q", text, tt.text)
			}
			if !strings.Contains(string(text), fmt.Sprintf("ended %d\n", tt.want)) {
				t.Errorf("Result holds another status: %s", text)
			}
		})
	}
}

func TestStartErrorsSayWhatToTry(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	plain := filepath.Join(os.Getenv("PATH"), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, try string
		code      int
	}{
		{"nothing", "exeat doctor", 127}, {"npx -y x", "exeat run NAME -- npx -y x", 127}, {"plain", "chmod +x " + plain, 126},
		{"/nowhere/x", "ls /nowhere", 127},
	} {
		_, err := launch.Lookup(tt.name)
		var s *launch.StartError
		if !errors.As(err, &s) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !strings.HasPrefix(s.Try, tt.try) || s.Code != tt.code || s.Err == nil {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

func TestRunPassesSignalsOnce(t *testing.T) {
	l := start(t, os.Args[0])
	l.line(t, "ready")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM} {
		if err := l.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		l.line(t, s.String())
	}
	l.in.Close()
	l.line(t, "end")
	if code := l.code(t); code != 7 {
		t.Errorf("status %d", code)
	}
}

// With npx, the server is a grandchild behind a shell that passes nothing on.
func TestRunPassesSignalsToTheTree(t *testing.T) {
	l := start(t, "sh", "-c", "exec 3<&0; "+helperVariable+"=signals "+os.Args[0]+" <&3 & trap : TERM; wait; wait")
	l.line(t, "ready")
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.line(t, "terminated")
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         int
	}{
		{"asked", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", 9},
		{"killed", "trap '' TERM; echo ready; while :; do sleep 0.05; done", 137},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inR, _ := pipe(t)
			outR, outW := pipe(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			type ended struct {
				r   launch.Result
				err error
			}
			done := make(chan ended, 1)
			go func() {
				r, err := launch.Run(ctx, launch.Config{
					Command: []string{"sh", "-c", tt.script}, Env: os.Environ(), Stdin: inR, Stdout: outW, Stderr: os.Stderr, Grace: 200 * time.Millisecond,
				})
				done <- ended{r, err}
			}()
			if _, err := bufio.NewReader(outR).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			cancel()
			e := <-done
			if e.err != nil || e.r.Code != tt.want || e.r.Duration <= 0 {
				t.Errorf("got %+v, %v; want status %d", e.r, e.err, tt.want)
			}
		})
	}
}

func TestRunWithoutACommand(t *testing.T) {
	if _, err := launch.Run(t.Context(), launch.Config{}); err == nil {
		t.Error("nothing was run")
	}
}

// An Env that was forgotten must not become the launcher's own: a server would
// go direct.
func TestRunGivesNoEnvironmentOfItsOwn(t *testing.T) {
	inR, _ := pipe(t)
	outR, outW := pipe(t)
	path, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := launch.Run(t.Context(), launch.Config{Command: []string{path}, Stdin: inR, Stdout: outW, Stderr: os.Stderr}); err != nil {
		t.Fatal(err)
	}
	outW.Close()
	got, err := io.ReadAll(outR)
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}
