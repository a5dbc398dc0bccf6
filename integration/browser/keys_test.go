package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"udplab/integration/lab"
)

// keyboard is what the keyboard goes to, whether that can be seen, which buttons
// are pressed, and the address.
const keyboard = `(() => {
	const e = document.activeElement, style = getComputedStyle(e);
	const ring = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 && e.matches(":focus-visible");
	const pressed = ["freeze", "big"].filter((id) => document.getElementById(id).ariaPressed === "true");
	return [e.id || e.getAttribute("href") || e.tagName, ring ? "with a ring" : "without a ring", ...pressed, location.hash].join(" ").trim();
})()`

func TestThePageWorksByKeyboard(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	ping(t, stack, 1)
	b.expect("the tape", tape, "1")
	for i, step := range []struct{ key, want string }{
		{kb.Tab, "freeze with a ring"}, {kb.Enter, "freeze with a ring freeze"}, {" ", "freeze with a ring"},
		{kb.Tab, "big with a ring"}, {" ", "big with a ring big #big"}, {kb.Enter, "big with a ring"},
		{kb.Tab, "news with a ring"}, {kb.Tab, "/api/status with a ring"}, {kb.Tab, "/api/ledger with a ring"}, {kb.Tab, "/metrics with a ring"},
	} {
		b.do(chromedp.KeyEvent(step.key))
		b.expect(fmt.Sprintf("the keyboard after key %d", i+1), keyboard, step.want)
	}
	b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	b.expect("the keyboard after going back", keyboard, "/api/ledger with a ring")
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
}
