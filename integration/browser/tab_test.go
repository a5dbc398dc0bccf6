package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

// tab is a page in a browser, and everything that went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu        sync.Mutex
	problems  []string
	disturbed bool // the networks of the machine changed
}

// findBrowser returns Chromium's path, or skips the test and says why.
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("UDPLAB_REQUIRE_BROWSER") == "1" {
		t.Fatal("UDPLAB_REQUIRE_BROWSER=1, but there is no chromium here")
	}
	t.Skip("there is no chromium here")
	return ""
}

// openTab starts a browser of its own, which ends with the test. Nothing is
// loaded yet.
func openTab(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findBrowser(t)),
		chromedp.NoSandbox, // the page is our own, and tests run as root in containers
		chromedp.DisableGPU)
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	b := &tab{t: t}
	ctx, endTab := chromedp.NewContext(allocator, chromedp.WithListener(b.hear))
	b.ctx = ctx
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser did not end: %v", err)
		}
		endTab()
		endAllocator()
	})
	b.do() // starts it
	must(b, log.Enable, cdp.Empty{})
	must(b, runtime.Enable, cdp.Empty{})
	// What the page's policy forbids is in the log too; this names it exactly.
	must(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		addEventListener("securitypolicyviolation", (e) =>
			console.error("policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample))`})
	return b
}

// must sends the browser a command of its protocol.
func must[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// hear notes what goes wrong in the page.
func (b *tab) hear(event any) {
	note := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, fmt.Sprintf(format, args...))
	}
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		note("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			args := ""
			for _, a := range e.Args {
				args += " " + string(a.Value)
			}
			note("console: %s%s", e.Type, args)
		}
	case *log.EventEntryAdded:
		if strings.Contains(e.Entry.Text, "ERR_NETWORK_CHANGED") {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.disturbed = true
			return
		}
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			note("log: %s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
}

// expectNoProblems fails the test if anything went wrong, but for what
// contains one of the given words.
func (b *tab) expectNoProblems(but ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		allowed := false
		for _, word := range but {
			allowed = allowed || strings.Contains(problem, word)
		}
		if !allowed {
			b.t.Errorf("in the page: %s", problem)
		}
	}
}

// do runs steps in the page.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// open loads a page, again if the machine's networks changed meanwhile: the
// browser then gives up what it is loading, also from loopback, and other tests
// start containers with networks of their own.
func (b *tab) open(url string) {
	b.t.Helper()
	for range 10 {
		b.mu.Lock()
		b.disturbed = false
		b.mu.Unlock()
		b.do(chromedp.Navigate(url))
		b.mu.Lock()
		disturbed := b.disturbed
		b.mu.Unlock()
		if !disturbed {
			return
		}
	}
}

// press presses a button as a mouse would.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// resize gives the page a size in CSS pixels.
func (b *tab) resize(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// prefer sets what the reader prefers, such as prefers-color-scheme: dark.
func (b *tab) prefer(name, value string) {
	b.t.Helper()
	must(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: name, Value: value}}})
}

// eval evaluates JavaScript and returns its value as text: JSON, or a string
// as it is.
func (b *tab) eval(script string) string {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]byte]("(() => { const v = ("+script+"); return v === undefined ? null : v })()"))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// expect waits until JavaScript evaluates to what is wanted.
func (b *tab) expect(what, script, want string) {
	b.t.Helper()
	b.wait(what, script, func(got string) bool { return got == want }, want)
}

// expectText waits until an element's text contains what is wanted.
func (b *tab) expectText(selector, want string) {
	b.t.Helper()
	b.wait(selector, fmt.Sprintf("document.querySelector(%q)?.textContent", selector),
		func(got string) bool { return strings.Contains(got, want) }, want)
}

func (b *tab) wait(what, script string, good func(string) bool, want string) {
	b.t.Helper()
	look := time.NewTicker(30 * time.Millisecond)
	defer look.Stop()
	got := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-look.C {
		if got = b.eval(script); good(got) {
			return
		}
	}
	b.expectNoProblems()
	b.shoot("failed")
	b.t.Fatalf("%s is %q, want %q", what, got, want)
}

// shoot writes a picture of what can be seen.
func (b *tab) shoot(name string) string {
	b.t.Helper()
	dir := os.Getenv("UDPLAB_SCREENSHOTS")
	if dir == "" {
		dir = b.t.ArtifactDir()
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(dir, name+".png")
	if err := os.WriteFile(path, png, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("picture: %s", path)
	return path
}
