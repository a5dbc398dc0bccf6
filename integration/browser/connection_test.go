package browser

import (
	"fmt"
	"regexp"
	"testing"

	"udplab/integration/lab"
)

func TestThePageReconnectsAndSaysWhatItMissed(t *testing.T) {
	stack := start(t, lab.Config{})
	b := openThroughWire(t, stack)
	ping(t, stack, 4)
	b.expect("the tape", tape, "1231")
	b.lose()
	b.expectSaid("trying again")
	ping(t, stack, 2)
	b.lead(stack)
	b.expectText("#stream", "live")
	b.expect("the tape after a short break", tape, "123123")

	b.lose()
	ping(t, stack, 70)
	b.lead(stack)
	b.expectText("#stream", "live")
	b.expectText("#went-by", "10 turns went by unseen while the connection was lost.")
	b.expect("the length of the tape", tape+".length", "60")
	ping(t, stack, 1) // a new run: that is another story
	b.expect("what went by", hidden("went-by"), "true")

	b.lose()
	stack.Part("server2").Stop(t.Context())
	ping(t, stack, 3)
	b.lead(stack)
	b.expectSaid("server2 is down: ")
}

// Before the first event the page is what the balancer wrote, and it stays
// that where there is no event at all; only the texts go on.
func TestAPageThatIsNotLetInStaysReadableAndSaysWhy(t *testing.T) {
	stack := start(t, lab.Config{})
	ping(t, stack, 4)
	stop := startReaders(t, stack.URL(), 64)
	defer stop()
	b := openTab(t, "503")
	b.open(stack.URL())
	b.expectText("#stream", "64 readers are watching already")
	b.expect("the tape", tape, "1231")
	b.expect("the picture is hidden", hidden("picture"), "true")
	b.expectText("#news", "began at turn #1 with server1")
	ping(t, stack, 2)
	b.expectText("#next strong", "server1")
	b.expect("what was answered", answers, "2 2 2")
	b.expectText("[data-text=turns]", "6")
	b.expect("the tape and what is not on it", `[...document.querySelectorAll("#tape > li:not([hidden])")].map((li) => li.textContent).join(" ")`,
		"new client: 1 2 3 1 … 2 more turns not shown next: 1next")
	b.shoot("not-let-in")
	stop()
	b.expect("the chip", chip, "live")
	b.expect("the tape", tape, "123123")
	b.expect("the picture is hidden", hidden("picture"), "false")
}

func TestAPageWhoseScriptDidNotComeWholeIsLoadedAgain(t *testing.T) {
	stack := start(t, lab.Config{})
	for _, path := range []string{"/main.js", "/tape.js"} {
		b := openThroughPoorWire(t, stack, path) // and waits until it is live
		if loads := b.loads.Load(); loads < 2 {
			t.Errorf("without %s the page was loaded %d times", path, loads)
		}
	}
}

// story is everything on the page that tells of turns and of what happened.
const story = `["#tape", "#news", "#clients", "#story", "#went-by"].map((id) => document.querySelector(id)).map((e) => e.hidden ? "" : e.innerText.trim().replace(/\s+/g, " ")).join("|")`

func TestABalancerThatWasStartedAgainBeginsAnotherStory(t *testing.T) {
	before, after := start(t, lab.Config{}), start(t, lab.Config{})
	two := start(t, lab.Config{Servers: []string{"127.0.0.1:0", "127.0.0.1:0"}})
	ping(t, two, 3)
	for _, freeze := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen=%v", freeze), func(t *testing.T) {
			b := openThroughWire(t, before)
			b.lose()
			ping(t, before, 70)
			b.lead(before)
			b.expectText("#went-by", "turns went by unseen")
			b.expectText("#story", "A new client, ")
			b.expectText("#stream", "live")
			if freeze {
				b.press("#freeze")
			}
			old := b.eval(story)
			b.lose()
			b.lead(after)
			b.expectSaid("the balancer was started again")
			if freeze {
				b.wait("the chip", chip, regexp.MustCompile(`^frozen at \d\d:\d\d:\d\d, the balancer was started again since$`).MatchString, "frozen …")
				if got := b.eval(story); got != old {
					t.Errorf("it is frozen and tells %q, before %q", got, old)
				}
				b.press("#freeze")
			}
			b.expect("the story", story, "next: 1 next|Nothing yet|No client yet start one and see its datagrams||")
			b.expect("the states", states, "up, up, up")
			b.expect("what was answered", answers, "0 0 0")

			// For other servers the page is made anew.
			rows := `document.querySelectorAll("#rows > tr").length + " " + document.querySelectorAll("#servers > li").length`
			b.expect("rows and cards", rows, "3 3")
			b.lose()
			b.lead(two)
			b.expect("rows and cards", rows, "2 2")
			b.expect("the chip", chip, "live")
			b.expect("the tape", tape, "121")
		})
	}
}
