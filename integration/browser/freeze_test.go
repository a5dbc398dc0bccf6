package browser

import (
	"regexp"
	"strings"
	"testing"

	"udplab/integration/lab"
)

// dotsAt is where each dot is, by its turn.
const dotsAt = `[...document.querySelectorAll("#ways .dot[visibility=visible]")].map((d) => d.dataset.turn + " " + d.getAttribute("transform")).join("; ")`

// astray names what of the picture and the plot is not where it belongs.
const astray = `(() => {
	const origin = document.getElementById("ways").getBoundingClientRect();
	const far = [];
	const lines = [...document.querySelectorAll("#ways line")].map((l) => ["x1", "y1", "x2", "y2"].map((n) => Number(l.getAttribute(n))));
	const cards = [...document.querySelectorAll("#clients > li, #servers > li")];
	if (lines.length !== cards.length) far.push(lines.length + " ways for " + cards.length + " cards");
	cards.forEach((card, i) => {
		const r = card.getBoundingClientRect();
		const ends = [[lines[i][0], lines[i][1]], [lines[i][2], lines[i][3]]];
		const touches = ([x, y]) => x + origin.x > r.left - 2 && x + origin.x < r.right + 2 && y + origin.y > r.top - 2 && y + origin.y < r.bottom + 2;
		if (!ends.some(touches)) far.push("the way of " + card.textContent);
	});
	const beside = (x, y, [x1, y1, x2, y2]) => {
		const t = Math.max(0, Math.min(1, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)));
		return Math.hypot(x - x1 - t * (x2 - x1), y - y1 - t * (y2 - y1));
	};
	for (const dot of document.querySelectorAll("#ways .dot[visibility=visible]")) {
		const [x, y] = dot.getAttribute("transform").match(/[-\d.]+/g).map(Number);
		const off = Math.min(...lines.map((l) => beside(x, y, l)));
		if (off > 8) far.push("dot " + dot.dataset.turn + " by " + off);
	}
	const plot = document.getElementById("plot");
	if (Math.abs(plot.width - plot.clientWidth * devicePixelRatio) > 1 || Math.abs(plot.height - plot.clientHeight * devicePixelRatio) > 1) far.push("the plot");
	const tape = document.getElementById("tape").getBoundingClientRect();
	for (const li of document.querySelectorAll("#tape > li")) if (li.getBoundingClientRect().right > tape.right + 1) far.push("turn " + li.textContent);
	return far.join("; ");
})()`

func TestFreezeHoldsWhateverHappens(t *testing.T) {
	stack := start(t, lab.Config{Server: lab.Env{"PINGSERVER_DELAY": "25s"}, Balancer: lab.Env{"BALANCER_ANSWER_TIMEOUT": "60s"}})
	b := openThroughWire(t, stack)
	startClient(t, stack, "-c", "3", "-i", "30ms", "-W", "10ms", "-q") // nobody is to answer it in time
	b.expect("the tape", tape, "123")
	b.expect("the dots at their servers", `(() => {
		const left = document.getElementById("servers").getBoundingClientRect().left - document.getElementById("ways").getBoundingClientRect().left;
		return [...document.querySelectorAll("#ways .dot")].filter((d) => d.transform.baseVal.consolidate()?.matrix.e > left - 8).length;
	})()`, "3")
	b.press("#freeze")

	// The connection is lost and found.
	whole := `["main", "footer"].map((e) => document.querySelector(e).textContent).join()`
	dots, text := b.eval(dotsAt), b.eval(whole)
	b.cut()
	b.wait("the chip", chip, regexp.MustCompile(`^frozen at .*, .* \(trying again\)$`).MatchString, "frozen … trying again")
	ping(t, stack, 2)
	b.lead(stack)
	b.wait("the chip", chip, regexp.MustCompile(`^frozen at \d\d:\d\d:\d\d, 2 turns since$`).MatchString, "frozen …")
	if got := b.eval(dotsAt); got != dots {
		t.Errorf("the dots are at %q, were at %q", got, dots)
	}
	if got := b.eval(whole); got != text {
		t.Errorf("the page says\n%s\nand said\n%s", got, text)
	}

	// It is laid out anew.
	b.expect("what is astray", astray, "")
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"big", func() { b.press("#big") }},
		{"big on a phone", func() { b.resize(390, 844) }},
		{"on a phone", func() { b.press("#big") }},
		{"wide", func() { b.resize(1920, 1080) }},
	} {
		step.do()
		b.wait("the dots when "+step.name, dotsAt, func(got string) bool { return got != dots && strings.Count(got, "translate") == 3 }, "elsewhere")
		dots = b.eval(dotsAt)
		b.expect("what is astray when "+step.name, astray, "")
		b.expectFits(step.name)
		b.shoot("frozen-" + strings.ReplaceAll(step.name, " ", "-"))
	}
	b.expect("the tape", tape, "123")
	b.press("#freeze")
	b.expect("the tape", tape, "12312")
	b.expect("the dots", dotsAt, "")
}
