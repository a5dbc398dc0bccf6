package browser

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"testing"

	"udplab/integration/lab"
)

// seen is what a page under load showed for some seconds.
type seen struct {
	Looks, Gaps int      // at the tape, and those of them with turns left out before the next
	Wrong       []string // neighbours on the tape out of order
	Dots        []dot
	Turns       map[uint64]int // places on the tape, by turn
	Rate        string         // as it was said first
	Note        string         // about the tape
	TripNote    string         // about the round trips
}

// dot is a dot of the picture when it was made.
type dot struct {
	Turn  uint64
	Place int
	At    float64 // ms
}

// watchPage notes what the page shows: each dot that is ever made, and what
// stands side by side on the tape each time it is drawn.
const watchPage = `(() => {
	const seen = window.seen = { Looks: 0, Gaps: 0, Wrong: [], Dots: [], Turns: {}, Rate: "", Note: "", TripNote: "" };
	new MutationObserver((changes) => {
		for (const change of changes) for (const dot of change.addedNodes) {
			if (dot.matches?.(".dot")) seen.Dots.push({ Turn: Number(dot.dataset.turn), Place: Number(dot.textContent), At: performance.now() });
		}
	}).observe(document.getElementById("ways"), { childList: true, subtree: true });
	const servers = document.querySelectorAll("#rows > tr").length;
	const look = () => {
		seen.Looks++;
		const cells = [...document.querySelectorAll("#tape > li:not([hidden])")];
		let turn = 0; // of the cell before
		for (const cell of cells) {
			const text = cell.querySelector("b, i").textContent;
			if (cell.matches(".gap")) {
				seen.Gaps++;
				turn += Number(text.replace(/\D/g, ""));
				continue;
			}
			turn++;
			if (cell.dataset.turn) {
				if (cell !== cells[0] && turn !== Number(cell.dataset.turn)) seen.Wrong.push("#" + cell.dataset.turn + " in place of #" + turn);
				turn = Number(cell.dataset.turn);
				seen.Turns[turn] = Number(text);
			}
			if (Number(text) !== (turn - 1) % servers + 1) seen.Wrong.push("turn " + turn + " is " + text);
		}
		if (!cells.at(-1).matches(".ghost")) seen.Wrong.push("nobody is next");
		seen.Rate ||= document.getElementById("rate").textContent;
		for (const [note, id] of [["Note", "tape-sample"], ["TripNote", "trips-sample"]]) {
			if (document.getElementById(id).checkVisibility()) seen[note] = document.getElementById(id).textContent;
		}
		requestAnimationFrame(look);
	};
	requestAnimationFrame(look);
	return 0;
})()`

// Nothing here takes the page's own word: what it shows is counted, and
// compared with the balancer's record.
func TestUnderLoadWhatThePageShowsIsTrueAndSaidToBeASample(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	stop := startClient(t, stack, "load", "--rate", "1000", "--clients", "1", "--duration", "10m")
	b.expectText("#rate", "a sample: dots for ")
	b.eval(watchPage)
	b.expect("what was seen", `seen.Looks >= 10 && seen.Gaps >= 10 && seen.Dots.length >= 40 && Math.max(...Object.keys(seen.Turns)) > 1500`, "true")
	b.shoot("load")
	stop()
	b.expect("the rate", text("#rate"), "0 turns a second")
	turns := ledger(t, stack)
	var got seen
	if err := json.Unmarshal([]byte(b.eval("seen")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Wrong) > 0 {
		t.Errorf("the tape is out of order %d times, first %s", len(got.Wrong), got.Wrong[0])
	}
	known := 0
	check := func(what string, turn uint64, place int) {
		if entry, ok := turns[turn]; ok {
			known++
			if entry.Place != place {
				t.Errorf("turn #%d is %d %s and %d in the ledger", turn, place, what, entry.Place)
			}
		}
	}
	for turn, place := range got.Turns {
		check("on the tape", turn, place)
	}
	if known == 0 {
		t.Error("no turn of the tape is in the ledger")
	}
	most, shown := 0, map[uint64]bool{}
	for i, d := range got.Dots {
		if shown[d.Turn] {
			t.Errorf("turn #%d had more than one dot", d.Turn)
		}
		shown[d.Turn] = true
		check("on its dot", d.Turn, d.Place)
		within := 0
		for _, other := range got.Dots[i:] {
			if other.At < d.At+1000 {
				within++
			}
		}
		most = max(most, within)
	}
	if most > 36 { // 30, and a frame of 6 that is seen a little later than it was counted
		t.Errorf("%d dots within a second", most)
	}
	if !regexp.MustCompile(`^a sample: dots for \d+ of [\d,]+ turns a second$`).MatchString(got.Rate) {
		t.Errorf("the rate is %q", got.Rate)
	}
	if got.Note != "A sample: 60 turns in a row, of more than can be shown." || got.TripNote != " (a sample)" {
		t.Errorf("of the tape it says %q, of the round trips %q", got.Note, got.TripNote)
	}

	// It is no sample any more when all turns are shown again, but the round
	// trips are one for a minute; so are those that a page opened now is told.
	ping(t, stack, 1)
	b.expect("the note under the tape", `document.getElementById("tape-sample").checkVisibility()`, "false")
	b.expect("what is left out", hidden("gap"), "true")
	b.openLive(stack.URL())
	b.expect("the note of the round trips", `document.getElementById("trips-sample").checkVisibility()`, "true")
}

// A dot starts at its client's card and gets to its server's, by the balancer's
// own record; for a reader who prefers that it stands still.
func TestDotsGoFromTheirClientToTheirServer(t *testing.T) {
	stack, b := openLab(t, lab.Config{})
	var clients [3]net.Conn
	for i := range clients {
		conn, err := net.Dial("udp", stack.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients[i] = conn
	}
	send := func(i int) {
		if _, err := clients[i].Write([]byte("PING")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range clients {
		send(i)
	}
	b.expect("the cards", `document.querySelectorAll("#clients > li").length`, "3")
	b.expect("the dots", `document.querySelectorAll("#ways .dot").length`, "0")
	b.eval(`(() => {
		window.ways = {};
		const origin = () => document.getElementById("ways").getBoundingClientRect();
		const nearest = (selector, x, y) => {
			const away = (card) => {
				const r = card.getBoundingClientRect();
				return Math.hypot(Math.max(r.left - x, 0, x - r.right), Math.max(r.top - y, 0, y - r.bottom));
			};
			const [card] = [...document.querySelectorAll(selector)].sort((a, b) => away(a) - away(b));
			return card.querySelector("b:not(.badge)").textContent;
		};
		new MutationObserver((changes) => changes.forEach(({ target }) => {
			const [x, y] = target.getAttribute("transform").match(/[-\d.]+/g).map(Number);
			const way = window.ways[target.dataset.turn] ??= { Client: nearest("#clients > li", x + origin().x, y + origin().y), far: 0, places: [] };
			if (x > way.far) Object.assign(way, { far: x, Server: nearest("#servers > li", x + origin().x, y + origin().y) });
			if (!way.places.includes(x + " " + y)) way.places.push(x + " " + y);
		})).observe(document.getElementById("ways"), { subtree: true, attributeFilter: ["transform"] });
		return 0;
	})()`)
	over := `Object.keys(ways).length + " " + document.querySelectorAll("#ways .dot").length`
	for n, i := range []int{0, 0, 1, 2, 1, 1, 2, 0} {
		send(i)
		b.expect("turns", text("[data-text=turns]"), fmt.Sprint(4+n)) // so that all are shown
	}
	b.expect("the dots that were seen", over, "8 0")
	var ways map[uint64]struct {
		Client, Server string
		Places         []string
	}
	if err := json.Unmarshal([]byte(b.eval("ways")), &ways); err != nil {
		t.Fatal(err)
	}
	turns := ledger(t, stack)
	for turn, way := range ways {
		if got, want := way.Client+" → "+way.Server, fmt.Sprint(turns[turn].Client, " → ", turns[turn].Server); got != want {
			t.Errorf("the dot of turn #%d went %s, the datagram %s", turn, got, want)
		}
		if len(way.Places) < 3 {
			t.Errorf("the dot of turn #%d does not move: %v", turn, way.Places)
		}
	}
	b.prefer("prefers-reduced-motion", "reduce")
	b.eval("(window.ways = {}, 0)")
	send(0)
	b.expect("the dot that was seen", over, "1 0")
	b.expect("its places", "Object.values(ways)[0].places.length", "1")
}
