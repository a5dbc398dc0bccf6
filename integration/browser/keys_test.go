package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"udplab/integration/lab"
)

// key presses a key on the keyboard.
func (b *tab) key(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// focused is what the keyboard goes to, and how that can be seen.
const focused = `(() => {
	const e = document.activeElement, style = getComputedStyle(e);
	const ring = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 && e.matches(":focus-visible");
	return (e.id || e.getAttribute("href") || e.tagName) + (ring ? "" : " without a ring");
})()`

func TestThePageWorksByKeyboard(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	ping(t, lab, 1)
	b.expect("the tape", tape, "1")
	pressed := func(id string) string { return `document.getElementById("` + id + `").ariaPressed` }
	b.key(kb.Tab)
	b.expect("the focus", focused, "freeze")
	b.key(kb.Enter)
	b.expect("Freeze after Enter", pressed("freeze"), "true")
	b.expectText("#stream", "frozen at ")
	b.key(" ")
	b.expect("Freeze after the space bar", pressed("freeze"), "false")
	b.expectText("#stream", "live")
	b.key(kb.Tab)
	b.expect("the focus", focused, "big")
	b.key(" ")
	b.expect("Big after the space bar", pressed("big"), "true")
	b.expect("the address", "location.hash", "#big")
	b.key(kb.Enter)
	b.expect("Big after Enter", pressed("big"), "false")
	for _, place := range []string{"news", "/api/status", "/api/ledger", "/metrics"} {
		b.key(kb.Tab)
		b.expect("the focus", focused, place)
	}
	b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	b.expect("the focus", focused, "/api/ledger")
	b.expectNoProblems()
}

// Who reads the tape or the news, with a screen reader or by marking text, is
// not thrown out of it by what comes.
func TestListsAreLeftAloneWhileNothingHappens(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	for range 8 {
		ping(t, lab, 2) // a client of its own each
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
	b.expect("time passes", `performance.now() - since > 2500`, "true")
	if got := b.eval("touched.join()"); got != "" {
		t.Errorf("while nothing happened, this was touched: %s", got)
	}
	ping(t, lab, 2)
	b.expect("the tape", tape+".length", "18")
	if got := b.eval("first.every((li) => li.isConnected)"); got != "true" {
		t.Error("what had been there was put there anew")
	}
	tree := accessibilityTree(b)
	if !strings.Contains(tree, "StaticText next:") {
		t.Errorf("nobody is next in\n%s", tree)
	}
	b.expectNoProblems()
}

// A server that goes down twice says the same twice; a screen reader hears only
// what changes.
func TestTheSameIsSaidAloudAgain(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	b.eval(`(() => {
		const place = document.getElementById("announcement");
		window.said = [];
		new MutationObserver(() => said.push(place.textContent)).observe(place, { childList: true });
		import("/activity.js").then(({ Announcer }) => {
			const announcer = new Announcer();
			announcer.say("server2 is down");
			setTimeout(() => announcer.say("server2 is down"), 1000);
		});
		return 0;
	})()`)
	b.expect("what is said", `said.join("|")`, "server2 is down||server2 is down")
	b.expectNoProblems()
}
