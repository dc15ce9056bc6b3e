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
	"github.com/chromedp/chromedp/kb"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
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
	b.run(chromedp.Navigate(b.h.url + path))
	b.ready()
}

// ready waits until our module has run, which listens to the keyboard then.
func (b *tab) ready() {
	b.t.Helper()
	b.until("the module", `document.readyState === "complete" && (document.body.classList.contains("alone") || document.querySelector("#keys-open")?.hidden === false)`)
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
	b.ready()
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
func screens(h *house, state string) map[string]string {
	m := map[string]string{"servers": "/", "flows": "/flows", "alerts": "/alerts", "audit": "/audit", "sessions": "/sessions"}
	if state == "troubled" {
		return map[string]string{"servers": "/"}
	}
	if state == "full" {
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
	for _, state := range []string{"empty", "full", "troubled"} {
		t.Run(state, func(t *testing.T) {
			h := newHouse(t)
			if state != "empty" {
				h.rehearse()
			}
			b := h.browser()
			if state == "troubled" {
				h.trouble()
			}
			for _, width := range []int64{380, 1600} {
				b.size(width, 900)
				b.open("/signin")
				b.shoot(filepath.Join(dir, fmt.Sprintf("%s-signin-%d-light.png", state, width)))
			}
			b.signIn()
			for _, width := range []int64{380, 1600} {
				b.size(width, 900)
				for name, path := range screens(h, state) {
					for _, scheme := range []string{"light", "dark"} {
						b.scheme(scheme)
						b.open(path)
						b.overflow(name, width)
						b.accessible(name + " " + scheme)
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
	// Two letters one above the other are no country.
	if n := eval[int](b, `[...document.querySelectorAll(".cc")].filter(e => e.checkVisibility() && e.getBoundingClientRect().height > 26).length`); n > 0 {
		b.t.Errorf("%s: %d countries are broken into two lines", name, n)
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

// TestBrowser is a person's path through the dashboard.
func TestBrowser(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()
	b := h.browser()
	b.size(1280, 900)
	b.signIn()
	b.until("the live stream", `document.querySelector("#pulse")?.dataset.state === "live"`)

	// A flow arrives while one looks.
	b.open("/flows")
	b.until("the live stream", `document.querySelector("#pulse")?.dataset.state === "live"`)
	f := h.flow(s["weather"], "just-now.example.org", 0, nil)
	b.until("the flow", `document.getElementById("f-`+f.ID.String()+`")?.innerText.includes("just-now.example.org") === true`)
	if eval[int](b, `document.querySelectorAll("#flow-rows > tr").length`) < 2 {
		t.Error("the other rows went away")
	}

	// Paused, it stands still; resumed, it catches up.
	b.run(chromedp.Click("#pulse"))
	b.until("the pause", `document.querySelector("#pulse").dataset.state === "paused"`)
	late := h.flow(s["weather"], "later.example.org", 0, nil)
	h.sync()
	if eval[bool](b, `document.getElementById("f-`+late.ID.String()+`") !== null`) {
		t.Error("a flow arrived while updates were paused")
	}
	b.run(chromedp.Click("#pulse"))
	b.until("the flow after the pause", `document.getElementById("f-`+late.ID.String()+`") !== null`)

	// Ticks survive what arrives; "tick all" leaves the risky ones out.
	b.open("/servers/weather")
	b.until("the live stream", `document.querySelector("#pulse")?.dataset.state === "live"`)
	b.run(chromedp.Click("#tick-all"))
	if got := eval[string](b, `[...document.querySelectorAll("input[name=target]:checked")].map(i => i.value.split(" ")[0]).sort().join()`); got != "files.example.com:443,just-now.example.org:443,later.example.org:443" {
		t.Errorf("ticked: %s", got)
	}
	h.flow(s["weather"], "another.example.org", 0, nil)
	b.until("another candidate", `document.getElementById("c-another.example.org:443") !== null`)
	if got := eval[int](b, `document.querySelectorAll("input[name=target]:checked").length`); got != 3 {
		t.Errorf("%d are ticked after an update", got)
	}
	b.run(chromedp.Click(`button[name=all][value=approve]`))
	b.until("the approval", `document.querySelector("#flash")?.innerText.startsWith("3 destinations approved") === true`)
	if m := h.book.Match(s["weather"].ID, flow.Destination{Host: "files.example.com", Port: 443}); m.State != baseline.Approved {
		t.Errorf("the book says %q", m.State)
	}
	b.run(chromedp.Click(`button[name=reject][aria-label="Reject webhook.site:443"]`))
	b.until("the rejection", `document.querySelector("#flash")?.innerText.startsWith("1 destination rejected") === true`)
	if eval[string](b, `location.search`) != "" {
		t.Error("what was done stays in the address")
	}

	// An alert arrives while one looks, and is acknowledged.
	b.open("/alerts")
	b.until("the live stream", `document.querySelector("#pulse")?.dataset.state === "live"`)
	before := eval[int](b, `document.querySelectorAll("#inbox > article").length`)
	nf := h.flow(s["calendar"], "fresh.example.net", 0, nil)
	a := h.alarm(nf, flow.ReasonNewDestination)
	b.until("the alert", `document.getElementById("al-`+a.ID.String()+`") !== null`)
	b.run(chromedp.Click("#al-" + a.ID.String() + " button[value=ack]"))
	b.until("the acknowledgement", `document.querySelector("#flash")?.innerText.startsWith("The alert was acknowledged") === true`)
	if got := eval[int](b, `document.querySelectorAll("#inbox > article").length`); got != before {
		t.Errorf("%d alerts are open, %d were before", got, before)
	}

	// Signing out ends it, also in a tab that is still open.
	b.run(chromedp.Click(".out button"))
	b.until("the sign-in page", `location.pathname === "/signin"`)
	b.open("/")
	b.until("the sign-in page again", `location.pathname === "/signin"`)
	b.quiet()
}

// TestKeyboard approves a destination and acknowledges an alert without a mouse.
func TestKeyboard(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()
	b := h.browser()
	b.size(1280, 900)
	b.signIn()
	key := func(keys string) { t.Helper(); b.run(chromedp.KeyEvent(keys)) }
	focused := func() string {
		return eval[string](b, `(e => e.id || e.getAttribute("aria-label") || e.innerText.trim().slice(0, 60))(document.activeElement)`)
	}
	// The first stop is the skip link, and it leads past the navigation.
	key(kb.Tab)
	if got := focused(); got != "Skip to the content" {
		t.Errorf("the first stop is %q", got)
	}
	key(kb.Enter)
	b.until("the content", `location.hash === "#main"`)

	// j goes from row to row, Enter opens.
	b.open("/")
	for range 12 {
		key("j")
		if strings.HasPrefix(eval[string](b, `document.activeElement.innerText`), "weather") {
			break
		}
	}
	key(kb.Enter)
	b.until("the server's page", `location.pathname === "/servers/weather"`)

	b.ready()

	// Tab until the approving button of the ordinary destination.
	for i := 0; focused() != "Approve files.example.com:443"; i++ {
		if i > 80 {
			t.Fatalf("the button can't be reached by Tab; the last stop is %q", focused())
		}
		key(kb.Tab)
	}
	if eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`) == "none" {
		t.Error("one can't see where one is")
	}
	key(kb.Enter)
	b.until("the approval", `document.querySelector("#flash") !== null`)
	b.ready()
	if m := h.book.Match(s["weather"].ID, flow.Destination{Host: "files.example.com", Port: 443}); m.State != baseline.Approved {
		t.Errorf("the book says %q", m.State)
	}

	// g a leads to the alerts; the first is acknowledged by Tab and Space.
	key("g")
	key("a")
	b.until("the alerts", `location.pathname === "/alerts"`)
	b.ready()
	key("j")
	for i := 0; !strings.HasPrefix(focused(), "Acknowledge"); i++ {
		if i > 20 {
			t.Fatalf("no way to acknowledge by Tab; the last stop is %q", focused())
		}
		key(kb.Tab)
	}
	key(" ")
	b.until("the acknowledgement", `document.querySelector("#flash")?.innerText.startsWith("The alert was ack") === true`)
	b.ready()

	// Shortcuts can be switched off.
	key("?")
	b.until("the help", `document.querySelector("#keys").open`)
	b.run(chromedp.Click("#keys-on"))
	key(kb.Escape)
	b.until("the help to close", `!document.querySelector("#keys").open`)
	key("/")
	key("?")
	if eval[bool](b, `document.querySelector("#keys").open`) {
		t.Error("shortcuts can't be switched off")
	}
	b.quiet()
}

// TestWithoutJavaScript: everything but the live updates works without.
func TestWithoutJavaScript(t *testing.T) {
	h := newHouse(t)
	s := h.rehearse()
	b := h.browser()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	link, err := h.web.SignInLink()
	must(t, err)
	b.run(chromedp.Navigate(link), chromedp.Click(".door button"), chromedp.WaitVisible("#server-rows"),
		chromedp.Click(`#server-rows a[href="/servers/weather"]`), chromedp.WaitVisible("#review-form"),
		chromedp.Click(`button[aria-label="Approve files.example.com:443"]`), chromedp.WaitVisible("#flash"))
	if m := h.book.Match(s["weather"].ID, flow.Destination{Host: "files.example.com", Port: 443}); m.State != baseline.Approved {
		t.Errorf("the book says %q", m.State)
	}
	b.quiet()
}

// audit looks for what keeps people out: text too faint for WCAG AA, fields
// without a label, pictures without a name, tables without a caption, more or
// fewer than one first heading, ids that aren't unique. It returns what it finds.
const audit = `(() => {
	const found = [], rgb = (c) => {
		const m = c.match(/[\d.]+/g).map(Number);
		return c.startsWith("color(") ? [m[0] * 255, m[1] * 255, m[2] * 255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1];
	};
	const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
	const ground = (e) => {
		const stack = [];
		for (; e; e = e.parentElement) stack.push(rgb(getComputedStyle(e).backgroundColor));
		return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
	};
	const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim(), r = e.getBoundingClientRect();
		if (!text || !e.checkVisibility() || r.width < 2 || e.closest("svg, .sr, .skip, option, title")) continue;
		const style = getComputedStyle(e), under = ground(e), got = ratio(over(rgb(style.color), under), under);
		const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
		if (got < (large ? 3 : 4.5)) found.push("faint " + got.toFixed(2) + ": " + text.slice(0, 40));
	}
	for (const f of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
		if (!f.labels?.length && !f.ariaLabel) found.push("no label: " + f.outerHTML.slice(0, 80));
	for (const i of document.querySelectorAll("[role=img]")) if (!i.ariaLabel) found.push("no name: " + i.outerHTML.slice(0, 80));
	for (const b of document.querySelectorAll("button, a")) if (!(b.innerText || b.textContent).trim() && !b.ariaLabel) found.push("no words: " + b.outerHTML.slice(0, 80));
	for (const t of document.querySelectorAll("table")) if (!t.caption) found.push("no caption: " + t.className);
	if (document.querySelectorAll("h1").length !== 1) found.push(document.querySelectorAll("h1").length + " first headings");
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id), twice = ids.filter((id, i) => ids.indexOf(id) !== i);
	if (twice.length) found.push("ids twice: " + twice.join());
	return [...new Set(found)].slice(0, 12);
})()`

func (b *tab) accessible(name string) {
	b.t.Helper()
	for _, f := range eval[[]string](b, audit) {
		b.t.Errorf("%s: %s", name, f)
	}
}
