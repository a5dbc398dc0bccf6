package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// tab is a page in a browser, and everything that went wrong in it.
type tab struct {
	t         *testing.T
	ctx       context.Context
	disturbed atomic.Bool // the networks of the machine changed

	mu       sync.Mutex
	problems []string
}

// openTab opens a tab, which ends with the test. The test fails if anything goes
// wrong in the page, but for what contains one of the given words. Nothing is
// loaded yet.
func openTab(t *testing.T, but ...string) *tab {
	t.Helper()
	browser, err := startBrowser()
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t}
	var end func()
	b.ctx, end = chromedp.NewContext(browser, chromedp.WithListener(b.hear))
	t.Cleanup(end)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, problem := range b.problems {
			if !slices.ContainsFunc(but, func(word string) bool { return strings.Contains(problem, word) }) {
				t.Errorf("in the page: %s", problem)
			}
		}
	})
	b.do() // opens it
	must(b, log.Enable, cdp.Empty{})
	must(b, runtime.Enable, cdp.Empty{})
	// What the page's policy forbids is in the log too; this names it exactly.
	// And what is said aloud is there for a moment only.
	must(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		addEventListener("securitypolicyviolation", (e) => console.error("policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample));
		window.said = [];
		addEventListener("DOMContentLoaded", () => {
			const place = document.getElementById("announcement");
			if (place) new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true });
		})`})
	b.resize(1024, 768)
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
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) { b.problems = append(b.problems, fmt.Sprintf(format, args...)) }
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
			b.disturbed.Store(true)
		} else if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			note("log: %s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
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
		b.disturbed.Store(false)
		b.do(chromedp.Navigate(url))
		if !b.disturbed.Load() {
			return
		}
	}
}

// openLive opens the balancer's page and waits until it is live.
func (b *tab) openLive(url string) {
	b.t.Helper()
	b.open(url)
	b.expectText("#stream", "live")
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
	var word string
	if json.Unmarshal(value, &word) == nil {
		return word
	}
	return string(value)
}

// expect waits until JavaScript evaluates to what is wanted.
func (b *tab) expect(what, script, want string) {
	b.t.Helper()
	b.wait(what, script, func(got string) bool { return got == want }, want)
}

// text is JavaScript that reads an element's text.
func text(selector string) string {
	return fmt.Sprintf("document.querySelector(%q)?.textContent", selector)
}

// hidden is JavaScript that says whether an element is hidden.
func hidden(id string) string { return fmt.Sprintf("document.getElementById(%q).hidden", id) }

// expectText waits until an element's text contains what is wanted.
func (b *tab) expectText(selector, want string) {
	b.t.Helper()
	b.wait(selector, text(selector), func(got string) bool { return strings.Contains(got, want) }, want)
}

// expectSaid waits until something has been said aloud.
func (b *tab) expectSaid(want string) {
	b.t.Helper()
	b.wait("what was said aloud", `said.join("|")`, func(got string) bool { return strings.Contains(got, want) }, want)
}

func (b *tab) wait(what, script string, good func(string) bool, want string) {
	b.t.Helper()
	got := ""
	if err := lab.Until(labtest.Within(b.t), func(context.Context) error {
		if got = b.eval(script); !good(got) {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		b.shoot("failed")
		b.t.Fatalf("%s is %q, want %q", what, got, want)
	}
}

// shoot writes a picture of what can be seen.
func (b *tab) shoot(name string) {
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
}
