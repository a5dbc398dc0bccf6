package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"udplab/integration/lab"
)

// focused is what the keyboard goes to, and how that can be seen.
const focused = `(() => {
	const e = document.activeElement, style = getComputedStyle(e);
	const ring = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 && e.matches(":focus-visible");
	return (e.id || e.getAttribute("href") || e.tagName) + (ring ? "" : " without a ring");
})()`

func TestThePageWorksByKeyboard(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	ping(t, stack, 1)
	b.expect("the tape", tape, "1")
	pressed := func(id string) string { return `document.getElementById("` + id + `").ariaPressed` }
	b.do(chromedp.KeyEvent(kb.Tab))
	b.expect("the focus", focused, "freeze")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.expect("Freeze after Enter", pressed("freeze"), "true")
	b.expectText("#stream", "frozen at ")
	b.do(chromedp.KeyEvent(" "))
	b.expect("Freeze after the space bar", pressed("freeze"), "false")
	b.expectText("#stream", "live")
	b.do(chromedp.KeyEvent(kb.Tab))
	b.expect("the focus", focused, "big")
	b.do(chromedp.KeyEvent(" "))
	b.expect("Big after the space bar", pressed("big"), "true")
	b.expect("the address", "location.hash", "#big")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.expect("Big after Enter", pressed("big"), "false")
	for _, place := range []string{"news", "/api/status", "/api/ledger", "/metrics"} {
		b.do(chromedp.KeyEvent(kb.Tab))
		b.expect("the focus", focused, place)
	}
	b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	b.expect("the focus", focused, "/api/ledger")
	b.expectNoProblems()
}

// What somebody reads, with a screen reader or by marking text, stays where it
// is when something comes.
func TestListsAreLeftAloneWhileNothingHappens(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	for range 8 {
		ping(t, stack, 2) // a client of its own each
	}
	b.expect("the tape", tape+".length", "16")
	b.expect("what waits", `document.querySelectorAll("#tape .waiting").length`, "0")
	b.eval(`(() => {
		window.first = [document.querySelector("#tape > li"), document.querySelector("#news > li")];
		window.touched = [];
		window.watching = new MutationObserver((changes) => touched.push(...changes.map((c) => c.type + " " + c.target.nodeName)));
		for (const id of ["tape", "news"]) watching.observe(document.getElementById(id), { subtree: true, childList: true, characterData: true, attributes: true });
		window.since = performance.now();
		return 0;
	})()`)
	b.expect("time passes", `performance.now() - since > 1200`, "true")
	if got := b.eval("touched.join()"); got != "" {
		t.Errorf("while nothing happened, this was touched: %s", got)
	}
	ping(t, stack, 2)
	b.expect("the tape", tape+".length", "18")
	if got := b.eval("first.every((li) => li.isConnected)"); got != "true" {
		t.Error("what had been there was put there anew")
	}
	b.expectTold("StaticText next:")
	b.expectNoProblems()
}
