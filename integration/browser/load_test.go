package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udplab/integration/lab"
)

// flood sends about a thousand datagrams a second until stop is called, and
// counts them.
func flood(t *testing.T, lab *lab.Stack) (sent *atomic.Int64, stop func()) {
	t.Helper()
	conn, err := net.Dial("udp", lab.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sent, end := new(atomic.Int64), make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				for range 20 {
					if _, err := conn.Write([]byte("PING")); err == nil {
						sent.Add(1)
					}
				}
			}
		}
	})
	return sent, sync.OnceFunc(func() {
		close(end)
		sending.Wait()
		conn.Close()
	})
}

// told is a turn as /api/ledger tells it.
type told struct {
	Turn    int
	Place   int
	Server  string
	Client  string
	Outcome string
}

// readLedger returns the turns that the balancer remembers, by number.
func readLedger(t *testing.T, lab *lab.Stack) map[int]told {
	t.Helper()
	answer, err := http.Get(lab.URL() + "/api/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	turns := map[int]told{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		var turn told
		if err := json.Unmarshal(lines.Bytes(), &turn); err != nil {
			t.Fatal(err)
		}
		turns[turn.Turn] = turn
	}
	http.DefaultClient.CloseIdleConnections()
	return turns
}

// seen is what a page under load showed for some seconds.
type seen struct {
	Looks    int      // at the tape
	Gaps     int      // of them with turns left out before the next
	Wrong    []string // neighbours on the tape out of order
	Dots     []dot
	Turns    map[int]int // places on the tape, by turn
	Rates    []string
	Note     string // about the tape
	TripNote string // about the round trips
}

// dot is a dot of the picture when it was made.
type dot struct {
	Turn  int
	Place int
	At    float64 // ms
}

// watchPage notes what the page shows: each dot that is ever made, and what
// stands side by side on the tape each time it is drawn.
const watchPage = `(() => {
	const seen = window.seen = { Looks: 0, Gaps: 0, Wrong: [], Dots: [], Turns: {}, Rates: [] };
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
		const rate = document.getElementById("rate").textContent;
		if (seen.Rates.at(-1) !== rate) seen.Rates.push(rate);
		requestAnimationFrame(look);
	};
	requestAnimationFrame(look);
	return 0;
})()`

// Nothing here takes the page's own word: what it shows is counted, and
// compared with the balancer's record.
func TestUnderLoadWhatThePageShowsIsTrueAndSaidToBeASample(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	sent, stop := flood(t, lab)
	defer stop()
	b.wait("the rate", `document.getElementById("rate").textContent`, regexp.MustCompile(`of ([3-9]\d\d|\d,\d+) turns a second`).MatchString, "some hundred")
	b.eval(watchPage)
	before, began := sent.Load(), time.Now()
	time.Sleep(2500 * time.Millisecond) // a while of it is the thing that is looked at
	perSecond := float64(sent.Load()-before) / time.Since(began).Seconds()
	var got seen
	if err := json.Unmarshal([]byte(b.eval(`(() => {
		const visible = (id) => document.getElementById(id).checkVisibility() ? document.getElementById(id).textContent : "";
		return { ...seen, Note: visible("tape-sample"), TripNote: visible("trips-sample") };
	})()`)), &got); err != nil {
		t.Fatal(err)
	}
	ledger := readLedger(t, lab)
	b.shoot("load")
	stop()

	if got.Looks < 10 || got.Gaps < got.Looks/2 {
		t.Errorf("looked %d times at the tape, saw turns left out %d times", got.Looks, got.Gaps)
	}
	if len(got.Wrong) > 0 {
		t.Errorf("the tape is out of order %d times, first %s", len(got.Wrong), got.Wrong[0])
	}
	known := 0
	for turn, place := range got.Turns {
		if entry, ok := ledger[turn]; ok {
			known++
			if entry.Place != place {
				t.Errorf("turn #%d is %d on the tape and %d in the ledger", turn, place, entry.Place)
			}
		}
	}
	if known < 60 {
		t.Errorf("only %d turns of the tape are in the ledger", known)
	}

	most, known := 0, 0
	times := map[int]int{}
	for i, d := range got.Dots {
		times[d.Turn]++
		if entry, ok := ledger[d.Turn]; ok {
			known++
			if entry.Place != d.Place {
				t.Errorf("the dot of turn #%d has a %d and is %d in the ledger", d.Turn, d.Place, entry.Place)
			}
		}
		within := 0
		for _, other := range got.Dots[i:] {
			if other.At < d.At+1000 {
				within++
			}
		}
		most = max(most, within)
	}
	for turn, n := range times {
		if n > 1 {
			t.Errorf("turn #%d had %d dots", turn, n)
		}
	}
	// A frame has up to 6, and may come a little early.
	if most < 15 || most > 36 || known < 15 {
		t.Errorf("%d dots within a second, %d of all in the ledger", most, known)
	}
	if first := got.Rates[0]; !regexp.MustCompile(`^a sample: dots for \d+ of [\d,]+ turns a second$`).MatchString(first) {
		t.Errorf("the rate is %q", first)
	}
	var rates []float64
	for _, rate := range got.Rates {
		numbers := regexp.MustCompile(`[\d,]+`).FindAllString(rate, -1)
		n, _ := strconv.ParseFloat(strings.ReplaceAll(numbers[len(numbers)-1], ",", ""), 64)
		rates = append(rates, n)
	}
	// A machine with much to do does not send evenly, so not each one is judged.
	if n := median(rates); n < perSecond/3 || n > perSecond*3 {
		t.Errorf("%q, and %.0f are sent", got.Rates, perSecond)
	}
	if !strings.Contains(got.Note, "60 turns in a row") || !strings.Contains(got.TripNote, "a sample") {
		t.Errorf("of the tape it says %q, of the round trips %q", got.Note, got.TripNote)
	}

	// It is no sample any more when all turns are shown again, but the round
	// trips are one for a minute; so are those that a page opened now is told.
	b.expect("the rate", `document.getElementById("rate").textContent`, "0 turns a second")
	ping(t, lab, 1)
	b.expect("the note under the tape", `document.getElementById("tape-sample").checkVisibility()`, "false")
	b.expect("the note of the round trips", `document.getElementById("trips-sample").checkVisibility()`, "true")
	b.expect("what is left out", `document.getElementById("gap").hidden`, "true")
	b.open(lab.URL())
	b.expectText("#stream", "live")
	b.expect("the note of the round trips", `document.getElementById("trips-sample").checkVisibility()`, "true")
	b.wait("the label", `document.getElementById("plot").ariaLabel`, func(got string) bool { return strings.Contains(got, ", a sample. server1: shown ") }, "a sample")
	b.expectNoProblems()
}

// A dot starts at its client's card and gets to its server's, by the balancer's
// own record.
func TestDotsGoFromTheirClientToTheirServer(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	var clients []net.Conn
	for range 3 {
		conn, err := net.Dial("udp", lab.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, conn)
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
			const way = ways[target.dataset.turn] ??= { Client: nearest("#clients > li", x + origin().x, y + origin().y), far: 0 };
			if (x > way.far) Object.assign(way, { far: x, Server: nearest("#servers > li", x + origin().x, y + origin().y) });
		})).observe(document.getElementById("ways"), { subtree: true, attributeFilter: ["transform"] });
		return 0;
	})()`)
	for _, i := range []int{0, 0, 1, 2, 1, 1, 2, 0} {
		send(i)
		time.Sleep(40 * time.Millisecond)
	}
	b.expect("the dots that were seen", `Object.keys(ways).length + " " + document.querySelectorAll("#ways .dot").length`, "8 0")
	var ways map[int]told
	if err := json.Unmarshal([]byte(b.eval("ways")), &ways); err != nil {
		t.Fatal(err)
	}
	ledger := readLedger(t, lab)
	for turn, way := range ways {
		if got, want := fmt.Sprint(way.Client, " → ", way.Server), fmt.Sprint(ledger[turn].Client, " → ", ledger[turn].Server); got != want {
			t.Errorf("the dot of turn #%d went %s, the datagram %s", turn, got, want)
		}
	}
	b.expectNoProblems()
}

func TestDotsStandStillForThoseWhoPreferThat(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{})
	b := openPage(t, lab)
	// Notes every place where a dot is seen.
	b.eval(`(window.places = [], new MutationObserver((changes) => changes.forEach((c) =>
		c.attributeName === "transform" && !places.includes(c.target.getAttribute("transform")) && places.push(c.target.getAttribute("transform")))
		).observe(document.getElementById("ways"), { subtree: true, attributes: true }))`)
	gone := `places.length > 0 && document.querySelectorAll("#ways .dot").length`
	ping(t, lab, 1)
	b.expect("the dots", gone, "0")
	if n, _ := strconv.Atoi(b.eval("places.length")); n < 5 {
		t.Errorf("a dot was seen at %d places: it does not move", n)
	}
	b.prefer("prefers-reduced-motion", "reduce")
	b.eval("(places.length = 0, 0)")
	ping(t, lab, 1)
	b.expect("the dots", gone, "0")
	if got := b.eval("places.length"); got != "1" {
		t.Errorf("a dot was seen at %s places: it moves", got)
	}
	b.expectNoProblems()
}

// A datagram that is not sent is not seen at its server: it has never left the
// balancer.
func TestADroppedDatagramGoesNoFurtherThanTheBalancer(t *testing.T) {
	findBrowser(t)
	lab := startLab(t, lab.Config{Balancer: lab.Env{"BALANCER_WHEN_DOWN": "hold"}})
	b := openPage(t, lab)
	if _, err := lab.StopServer(t.Context(), "server2"); err != nil {
		t.Fatal(err)
	}
	for i, motion := range []string{"no-preference", "reduce"} {
		b.prefer("prefers-reduced-motion", motion)
		// The first turn of server2 finds out that it is down; so does the
		// third, which tries it. The others are kept and lost.
		b.eval(fmt.Sprintf(`(window.farthest = 0, new MutationObserver((changes) => changes.forEach(({ target }) => {
			if (target.dataset.turn === "%d") farthest = Math.max(farthest, Number(target.getAttribute("transform").match(/[-\d.]+/)[0]));
		})).observe(document.getElementById("ways"), { subtree: true, attributeFilter: ["transform"] }), 0)`, 5+6*i))
		ping(t, lab, 3, "-W", "100ms")
		b.expect("the states", states, "up, down, up")
		ping(t, lab, 3, "-W", "100ms")
		b.expect("the dots", `farthest > 0 && document.querySelectorAll("#ways .dot").length`, "0")
		edge := `document.getElementById("balancer").getBoundingClientRect().right - document.getElementById("ways").getBoundingClientRect().x`
		got, _ := strconv.ParseFloat(b.eval("farthest"), 64)
		if want, _ := strconv.ParseFloat(b.eval(edge), 64); got < want-10 || got > want+10 {
			t.Errorf("prefers-reduced-motion: %s: it was seen %v px to the right, the balancer ends at %v", motion, got, want)
		}
	}
	b.expect("the tape", marks, "1✗31⊘31✗31⊘3")
	if tree := accessibilityTree(b); !strings.Contains(tree, "StaticText , not sent") || !strings.Contains(tree, "StaticText , no answer") {
		t.Errorf("outcomes are not said in words:\n%s", tree)
	}
	b.expectNoProblems()
}
