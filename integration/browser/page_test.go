package browser

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"

	"udplab/integration/lab"
)

// What the page shows, as JavaScript that reads it.
const (
	chip    = `document.querySelector("#stream").textContent`
	tape    = `[...document.querySelectorAll("#tape li[data-turn] b")].map((b) => b.textContent).join("")`
	marks   = `[...document.querySelectorAll("#tape li[data-turn]")].map((li) => li.querySelector("i")?.textContent || li.querySelector("b").textContent).join("")`
	runs    = `[...document.querySelectorAll("#tape li[data-turn]")].map((li) => (li.matches(".run") ? "|" : "") + li.querySelector("b").textContent).join("")`
	states  = `[...document.querySelectorAll('#rows [data-cell="state"]')].map((cell) => cell.textContent).join(", ")`
	answers = `[...document.querySelectorAll('[data-cell="answered"]')].map((td) => td.textContent).join(" ")`
)

func TestThePageShowsWhoseTurnIsNextAndThatTheOrderContinues(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	b.expectText("#next", "server1")
	b.expectText("#clients", "No client yet")

	ping(t, stack, 4)
	b.expect("the tape", runs, "|1231")
	b.expect("the place after the tape", `document.querySelector("#ghost:not([hidden]) b")?.textContent`, "2")
	b.expect("the mark in the picture", `[...document.querySelectorAll("#servers > li")].map((li) => li.matches(".turn") ? "next" : "-").join(" ")`, "- next -")
	b.expectText("#next", "server2")
	b.expect("what was answered", answers, "2 1 1")
	b.expect("the title", "document.title", "server2 is next – udplab balancer")

	ping(t, stack, 3)
	b.expect("the tape of two clients", runs, "|1231|231")
	b.expectText("#story", "began at turn #5 with server2: the order went on after #4, server1.")
	b.expectText("#news", "began at turn #5 with server2")

	// A screen reader is told what is there.
	b.press("#big")
	tree := b.expectTold(
		"heading udplab balancer",
		"button Freeze pressed=false", "button Big pressed=true",
		"status  live=polite",
		"region The way of the datagrams", "list Clients", "list Servers in turn order",
		"region The last turns", "StaticText new client:", "StaticText next:",
		"table Servers in turn order", "columnheader No answer", "rowheader 2 server2",
		"region Round trips of the last minute", "image Round trips of the last minute. server1: shown ",
		"region What happened", "list What happened",
	)
	if n := strings.Count(tree, "live="); n != strings.Count(tree, "live=polite") {
		t.Errorf("more than one place speaks up by itself:\n%s", tree)
	}
}

// Without probes a server that is down is found to be back by a turn that
// tries it; that turn is no promise that it answers.
func TestThePageTellsOfAServerThatIsDown(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	ping(t, stack, 3)
	stack.Part("server2").Stop(t.Context())
	ping(t, stack, 3, "-W", "100ms") // the second of these turns finds out
	b.expect("the states", states, "up, down, up")
	b.wait("the banner", text("#downs"), regexp.MustCompile(
		`^\s*✖ server2 is down since \d\d:\d\d:\d\d \(\d+.(s|min).ago\): .*refused.*\. Its turns go to the next server[.;]`).MatchString, "server2 is down since …")
	b.expectSaid("server2 is down: ")
	b.expect("the tape", marks, "1231✗3")
	b.expectTold("StaticText , no answer")

	ping(t, stack, 1)
	b.expectText("#next", "Next turn 2 server2 (a try: is it back?)") // in two seconds
	b.expectText("#servers .turn .flag", "next, a try")
	ping(t, stack, 1, "-W", "100ms")
	b.expectText("#next", "Next turn 3 server3")
	b.expectText("#downs", "one turn every two seconds tries it.") // also between two tries

	if err := stack.StartServer(t.Context(), "server2"); err != nil {
		t.Fatal(err)
	}
	b.wait("the states after its return", states, func(got string) bool {
		ping(t, stack, 1) // whose turn tries it
		return got == "up, up, up"
	}, "up, up, up")
	b.expect("the banner", `document.getElementById("downs").children.length`, "0")
}

func TestThePageIsReadableWithoutItsScripts(t *testing.T) {
	stack := start(t, lab.Config{})
	ping(t, stack, 4)
	b := openTab(t)
	must(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(stack.URL())
	for _, width := range []int64{1024, 390} {
		b.resize(width, 844)
		name := fmt.Sprintf("plain-%d", width)
		b.expectFits(name)
		b.shoot(name)
	}
	if tree := b.expectTold("StaticText server2", "rowheader 1 server1", "cell State up since", "columnheader Round trip p50 / p95"); strings.Contains(tree, "button ") {
		t.Error("there are buttons that do nothing")
	}
}

// expectTold fails the test unless a screen reader is told all of that, and
// returns what it is told: a line with role and name for each thing.
func (b *tab) expectTold(wants ...string) (tree string) {
	b.t.Helper()
	must(b, accessibility.Enable, cdp.Empty{})
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		unquoted, err := strconv.Unquote(string(v.Value))
		if err != nil {
			return string(v.Value)
		}
		return unquoted
	}
	for _, node := range must(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored {
			continue
		}
		tree += text(node.Role) + " " + text(node.Name)
		for _, p := range node.Properties {
			if name := string(p.Name); name == "live" || name == "pressed" {
				tree += " " + name + "=" + text(p.Value)
			}
		}
		tree += "\n"
	}
	for _, want := range wants {
		if !strings.Contains(tree, want) {
			b.t.Errorf("no %q in\n%s", want, tree)
		}
	}
	return tree
}

// unreadable returns what cannot be read well: letters smaller than %v CSS
// pixels, and colours with too little contrast by the rules of WCAG 2: text 4.5
// to 1, or 3 to 1 if it is large (1.4.3), also in dots and in the plot; what is
// only seen 3 to 1 (1.4.11).
const unreadable = `(() => {
	const least = %v, bad = [];
	const parse = (c) => c[0] === "#" ? [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)) : c.match(/[\d.]+/g).map(Number);
	const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const check = (what, a, b, least) => {
		const [x, y] = [light(a), light(b)].sort((p, q) => q - p), ratio = (x + 0.05) / (y + 0.05);
		if (!(ratio >= least)) bad.push(what + ": contrast " + ratio.toFixed(2));
	};
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c } return [255, 255, 255] };
	let seen = 0;
	for (const e of document.body.querySelectorAll("*")) {
		if (e.closest(".visually-hidden, noscript") || e.getClientRects().length === 0) continue;
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
		const style = getComputedStyle(e), size = parseFloat(style.fontSize), what = e.className + " " + e.textContent.trim();
		seen++;
		if (size < least) bad.push(what + ": " + size + " px");
		if (!e.closest("svg")) check(what, parse(style.color), behind(e), size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5);
	}
	if (seen < 50) bad.push("only " + seen + " texts were found");
	const over = (a, b, alpha) => a.map((v, i) => v * alpha + b[i] * (1 - alpha));
	const probe = document.body.appendChild(document.createElement("i"));
	for (let place = 1; place <= 8; place++) {
		probe.className = "c" + place;
		const color = (name) => parse(getComputedStyle(probe).getPropertyValue(name).trim());
		const [strong, soft, paper, down] = ["--strong", "--soft", "--paper", "--down"].map(color);
		for (const [what, a, b, least] of [
			["a dot's number", strong, paper, 4.5], ["a turn's number", strong, soft, 4.5],
			["a sign of loss", down, color("--down-ground"), 4.5], ["a loss on the plot", down, paper, 4.5], ["words on the plot", color("--faint"), paper, 4.5],
			["a round trip", over(strong, paper, 0.75), paper, 3], ["the next way", color("--turn-line"), paper, 3], ["the way to a lost server", down, paper, 3],
		]) check(what + " of " + place, a, b, least);
	}
	probe.remove();
	return bad.join("; ");
})()`

// expectFits fails the test if something is wider than the page, once a script
// has run.
func (b *tab) expectFits(when string, scripts ...string) {
	b.t.Helper()
	if got := b.eval(strings.Join(append(scripts, "0"), ", ") + `, document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll("body *")].filter((e) =>
		e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className).slice(0, 5).join(", ") || "something" : ""`); got != "" {
		b.t.Errorf("%s: must be scrolled sideways: %s", when, got)
	}
}

// longAddresses puts the longest addresses that there are into the page, until
// it writes its own again. Those of IPv6 have colons of their own.
const longAddresses = `(() => {
	const long = "[fd12:3456:789a:bcde:1234:5678:9abc:def0]:65535";
	for (const e of document.querySelectorAll("#clients b, .address")) e.textContent = long;
	for (const e of document.querySelectorAll("#story, #news span")) e.textContent = e.textContent.replace(/127\S+:\d+/, long);
	return 0;
})()`

func TestThePageFitsAndCanBeReadAtEverySize(t *testing.T) {
	stack, b := openLab(t, lab.Config{Server: lab.Env{"PINGSERVER_LOSS": "0.15", "PINGSERVER_SEED": "7", "PINGSERVER_JITTER": "8ms"}})
	ping(t, stack, 10)
	ping(t, stack, 7)
	stack.Part("server3").Stop(t.Context())
	ping(t, stack, 10)
	b.expect("the states", states, "up, up, down")
	for _, look := range []string{"page", "big"} {
		least := 13
		if look == "big" {
			least = 28
			b.press("#big")
		}
		for _, scheme := range []string{"light", "dark"} {
			b.prefer("prefers-color-scheme", scheme)
			for _, size := range []struct{ width, height int64 }{{1024, 768}, {390, 844}, {1920, 1080}} {
				name := fmt.Sprintf("%s-%s-%dx%d", look, scheme, size.width, size.height)
				b.resize(size.width, size.height)
				b.eval("(dispatchEvent(new Event('resize')), scrollTo(0, 0), 0)")
				b.expectFits(name)
				if got := b.eval(fmt.Sprintf(unreadable, least)); got != "" {
					t.Errorf("%s: %s", name, got)
				}
				b.shoot(name)
				b.expectFits(name+" with the longest addresses", longAddresses)
			}
		}
	}
}

// A picture of a real run: two clients, one after the other, and a server that
// stops in between.
func TestAPictureForTheReadme(t *testing.T) {
	if os.Getenv("UDPLAB_SCREENSHOTS") == "" {
		t.Skip("UDPLAB_SCREENSHOTS is not set: nobody wants a picture")
	}
	stack, b := openLab(t, lab.Config{Server: lab.Env{"PINGSERVER_DELAY": "2ms", "PINGSERVER_JITTER": "30ms"}})
	b.resize(1280, 1180)
	ping(t, stack, 10, "-i", "200ms")
	ping(t, stack, 10, "-i", "200ms")
	stack.Part("server3").Stop(t.Context())
	startClient(t, stack, "-c", "1000", "-i", "350ms", "-q")
	b.expect("enough to be seen", tape+`.length >= 27 && document.querySelectorAll("#ways .dot").length >= 3`, "true")
	b.shoot("page")
}
