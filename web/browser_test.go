package web_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// tab is a page of a real browser. It collects what the console says: an error
// there, or a breach of the content security policy, fails the test.
type tab struct {
	t   *testing.T
	h   *house
	ctx context.Context

	mu    sync.Mutex
	noise []string
}

// chromium finds the browser. Without one the test is skipped, but not in CI.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("there is no chromium, and this is CI")
	}
	t.Skip("there is no chromium here")
	return ""
}

func (h *house) browser() *tab {
	h.t.Helper()
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(h.t)), chromedp.UserDataDir(h.t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Headless,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.WSURLReadTimeout(60 * time.Second),
	}
	actx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	h.t.Cleanup(stop)
	tctx, done := context.WithTimeout(actx, 4*time.Minute)
	h.t.Cleanup(done)
	ctx, cancel := chromedp.NewContext(tctx)
	b := &tab{t: h.t, h: h, ctx: ctx}
	heard := make(chan struct{})
	messages := chromedp.Console(ctx)
	go func() {
		defer close(heard)
		b.listen(messages)
	}()
	h.t.Cleanup(func() {
		// Ask it to leave rather than kill it: its profile is being removed.
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			h.t.Logf("closing the browser: %v", err)
		}
		cancel()
		<-heard
	})
	return b
}

func (b *tab) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return
		}
		switch m.Type {
		case "error", "warning", "assert", chromedp.ConsoleException:
			b.mu.Lock()
			b.noise = append(b.noise, fmt.Sprintf("%s: %s %s", m.Type, m.Text, m.URL))
			b.mu.Unlock()
		}
	}
}

// quiet fails the test if the console said anything.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.noise {
		b.t.Errorf("the browser's console says: %s", n)
	}
	b.noise = nil
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("browser: %v\n%s", err, b.state())
	}
}

// state is what there is to know when a test fails.
func (b *tab) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2500)`))
	return fmt.Sprintf("console: %q\nthe page: %s %v", b.noise, text, err)
}

// open goes to a page.
func (b *tab) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.h.url+path), chromedp.WaitReady("#main"))
}

// until waits for an expression to become true, on this page or the next.
func (b *tab) until(what, expr string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Poll[bool](expr, chromedp.WithPollingInterval(25*time.Millisecond)))
		switch {
		case ok:
			return
		case ctx.Err() != nil:
			b.t.Fatalf("waiting for %s: %v\n%s", what, err, b.state())
		}
		// A navigation ended the page that was asked: ask the next one.
	}
}

// eval returns what an expression is.
func eval[T any](b *tab, expr string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expr))
	if err != nil {
		b.t.Fatalf("browser: %s: %v\n%s", expr, err, b.state())
	}
	return v
}

// signIn follows a one-time link; our module presses the button.
func (b *tab) signIn() {
	b.t.Helper()
	link, err := b.h.web.SignInLink()
	must(b.t, err)
	b.run(chromedp.Navigate(link))
	b.until("the first page", `location.pathname === "/" && document.querySelector(".top nav") !== null`)
}

func (b *tab) size(w, h int64) { b.run(chromedp.EmulateViewport(w, h)) }

func (b *tab) scheme(s string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: s}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	must(b.t, err)
}

// shoot takes a picture of the whole page.
func (b *tab) shoot(file string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.WriteFile(file, png, 0o644))
}

// screens are the pages of the dashboard.
func screens(h *house, full bool) map[string]string {
	m := map[string]string{"servers": "/", "flows": "/flows", "alerts": "/alerts", "audit": "/audit", "sessions": "/sessions"}
	if full {
		m["server"] = "/servers/calendar"
		m["server-risky"] = "/servers/weather"
		m["server-block"] = "/servers/github?owner=alice"
		m["server-long"] = "/servers/a-server-whose-name-takes-all-of-the-sixty-three-characters-.x"
		p, err := h.db.Alerts(h.t.Context(), alertQuery())
		must(h.t, err)
		m["alert"] = "/alerts/" + p.Items[0].ID.String()
		m["flow"] = "/flows/" + p.Items[0].Flows[0].String()
		m["missing"] = "/no/such/page"
	}
	return m
}

// TestScreens takes pictures of every page at two widths, light and dark, empty
// and full, into EXEAT_SCREENSHOTS, and checks on each that nothing hangs over
// the edge and that the console is silent.
func TestScreens(t *testing.T) {
	dir := os.Getenv("EXEAT_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	must(t, os.MkdirAll(dir, 0o755))
	for _, state := range []string{"empty", "full"} {
		t.Run(state, func(t *testing.T) {
			h := newHouse(t)
			if state == "full" {
				h.rehearse()
			}
			b := h.browser()
			for _, width := range []int64{380, 1600} {
				b.size(width, 900)
				b.scheme("light")
				b.open("/signin")
				b.shoot(filepath.Join(dir, fmt.Sprintf("%s-signin-%d-light.png", state, width)))
				if state == "empty" && width == 380 || state == "full" && width == 380 {
					b.signIn()
				}
				for name, path := range screens(h, state == "full") {
					for _, scheme := range []string{"light", "dark"} {
						b.scheme(scheme)
						b.open(path)
						b.overflow(name, width)
						b.shoot(filepath.Join(dir, fmt.Sprintf("%s-%s-%d-%s.png", state, name, width, scheme)))
					}
				}
			}
			b.forget("404")
			b.quiet()
		})
	}
}

// overflow fails if the page is wider than the window.
func (b *tab) overflow(name string, width int64) {
	b.t.Helper()
	if w := eval[int64](b, `document.documentElement.scrollWidth`); w > width {
		b.t.Errorf("%s is %d px wide in a window of %d: %s", name, w, width, eval[string](b, `
			[...document.querySelectorAll("main *, header *, footer *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
				.slice(0, 5).map(e => e.tagName + "." + e.className + " " + Math.round(e.getBoundingClientRect().right)).join(", ")`))
	}
}

// forget drops what the console said about something that was meant to happen.
func (b *tab) forget(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept []string
	for _, n := range b.noise {
		if !strings.Contains(n, part) {
			kept = append(kept, n)
		}
	}
	b.noise = kept
}
