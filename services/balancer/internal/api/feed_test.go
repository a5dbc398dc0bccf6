package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// parse reads one server-sent event.
func parse(t *testing.T, text string) (e told) {
	t.Helper()
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			mustDecode(t, value, &e)
		case "retry", "":
		default:
			t.Errorf("an odd line: %q", line)
		}
	}
	return e
}

// take returns what has been sent to a reader since the last call.
func take(t *testing.T, frames chan []byte) (events []told) {
	t.Helper()
	for len(frames) > 0 {
		events = append(events, parse(t, string(<-frames)))
	}
	return events
}

// look makes a frame if there is something new, and returns what a reader has
// been sent since the last call.
func (b *balancer) look(t *testing.T, frames chan []byte, now time.Time) []told {
	t.Helper()
	b.feed.look(now)
	return take(t, frames)
}

// one is look when there is one frame.
func (b *balancer) one(t *testing.T, frames chan []byte, now time.Time) told {
	t.Helper()
	events := b.look(t, frames, now)
	if len(events) != 1 {
		t.Fatalf("%d frames, want 1", len(events))
	}
	return events[0]
}

// join lets a reader in, and returns its frames and its first event.
func (b *balancer) join(t *testing.T, now time.Time, after *uint64) (frames chan []byte, first told) {
	t.Helper()
	text, frames := b.feed.join(now, after)
	return frames, parse(t, string(text))
}

// numbers lists the turns of an event: "4-6" or "".
func (e told) numbers() string {
	if len(e.Turns) == 0 {
		return ""
	}
	for i, turn := range e.Turns {
		if turn.Turn != e.Turns[0].Turn+uint64(i) {
			return "gaps"
		}
	}
	return fmt.Sprintf("%d-%d", e.Turns[0].Turn, e.Turns[len(e.Turns)-1].Turn)
}

// The page takes every list for one, also before anything has happened.
func TestTheFirstEventHasEmptyListsAndNoNull(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1")
	b.Ledger, b.KernelDrops = ledger.New(time.Second, now), func() uint64 { return 0 }
	b.apply(now)
	b.feed = newFeed(b.Config)
	text, _ := b.feed.join(now, nil)
	for _, list := range []string{"turns", "changes", "news", "trips"} {
		if !strings.Contains(string(text), `"`+list+`":[]`) {
			t.Errorf("%s is no empty list in\n%s", list, text)
		}
	}
}

func TestAFrameHasTheTurnsSinceTheLast(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1", "server2", "server3")
	r, first := b.join(t, now, nil)
	if first.name != "hello" || first.id != "3" || first.numbers() != "1-3" || first.Status == nil || first.Missed != 0 {
		t.Fatalf("the first event is %+v", first)
	}
	if frame := b.one(t, r, now); frame.Status == nil { // that of later frames is compared with it
		t.Fatalf("the first frame has no state: %+v", frame)
	}
	if frames := b.look(t, r, now.Add(frameEvery)); frames != nil {
		t.Fatalf("a frame of nothing: %+v", frames)
	}

	now = now.Add(2 * time.Second)
	b.more(now, 4, "127.0.0.1:4001")
	frame := b.one(t, r, now)
	if frame.name != "frame" || frame.id != "7" || frame.Count != 4 || frame.numbers() != "4-7" {
		t.Errorf("%s %s: %d turns, %s", frame.name, frame.id, frame.Count, frame.numbers())
	}
	if !frame.Turns[0].NewClient || frame.Turns[1].NewClient || frame.Turns[0].Outcome != ledger.Waiting || frame.Turns[0].Place != 1 {
		t.Errorf("the first turns are %+v", frame.Turns[:2])
	}
	if len(frame.News) != 1 || frame.News[0].Text != "new client 127.0.0.1:4001, began at turn #4 with server1" {
		t.Errorf("news: %+v", frame.News)
	}
}

func TestALaterFrameTellsWhatBecameOfATurn(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1", "server2", "server3")
	r, _ := b.join(t, now, nil)
	var pending ledger.Outstanding
	for range 3 {
		b.turn(now, "127.0.0.1:4001", &pending, ledger.Forwarded)
	}
	b.look(t, r, now)
	answer := func(at time.Time, backend int) {
		b.Ledger.Replied(at, []ledger.Reply{{Backend: membership.ID(backend + 1), Bytes: 1, Head: []byte("x"), Outstanding: &pending}})
	}
	expect := func(at time.Time, want string) {
		t.Helper()
		got := ""
		for _, frame := range b.look(t, r, at) {
			for _, c := range frame.Changes {
				got += fmt.Sprintf("%d %s", c.Turn, c.Outcome)
				if c.RTT != nil {
					got += fmt.Sprintf(" %v", *c.RTT)
				}
				got += "; "
			}
		}
		if got != want {
			t.Errorf("changes %q, want %q", got, want)
		}
	}
	answer(now.Add(2*time.Millisecond), 1)
	expect(now.Add(100*time.Millisecond), "5 answered 2; ")
	expect(now.Add(200*time.Millisecond), "")
	expect(now.Add(1100*time.Millisecond), "4 silent; 6 silent; ")
	answer(now.Add(1500*time.Millisecond), 0)
	expect(now.Add(1600*time.Millisecond), "4 answered 1500; ")
	b.more(now.Add(1700*time.Millisecond), 1, "127.0.0.1:4002")
	expect(now.Add(1700*time.Millisecond), "")
	b.more(now.Add(1700*time.Millisecond), ledger.Size, "127.0.0.1:4002")
	expect(now.Add(1900*time.Millisecond), "7 forgotten; ")
}

// The page's script reads lists, also of a balancer that nobody has asked yet.
func TestAListOfNothingIsNoNull(t *testing.T) {
	b := newBalancer("server1")
	b.Ledger, b.KernelDrops = ledger.New(time.Second, time.Now()), func() uint64 { return 0 }
	b.apply(time.Now())
	b.feed = newFeed(b.Config)
	first, frames := b.feed.join(time.Now(), nil)
	b.feed.look(time.Now())
	for _, event := range []string{string(first), string(<-frames)} {
		for _, list := range []string{`"turns":[]`, `"changes":[]`, `"news":[]`} {
			if !strings.Contains(event, list) {
				t.Errorf("there is no %s in %s", list, event)
			}
		}
	}
	if !strings.Contains(string(first), `"trips":[]`) {
		t.Errorf("there are no trips in %s", first)
	}
}

func TestAFastFrameHasTurnsInARowAndTheTrueCount(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1", "server2", "server3")
	r, _ := b.join(t, now, nil)
	b.look(t, r, now)
	b.more(now, 500, "127.0.0.1:4001")
	if frames := b.look(t, r, now.Add(frameEvery)); frames != nil {
		t.Errorf("%d frames, though nobody can follow", len(frames))
	}
	frame := b.one(t, r, now.Add(fastEvery))
	if frame.Count != 500 || len(frame.Turns) != tapeLength || frame.numbers() == "gaps" || frame.id != "503" {
		t.Errorf("%d turns, %d told: %s", frame.Count, len(frame.Turns), frame.numbers())
	}
}

func TestTheWindowOfAFrame(t *testing.T) {
	tests := []struct {
		name                string
		told, end, from, to uint64
	}{
		{"nothing", 10, 10, 10, 10},
		{"a few", 10, 13, 10, 13},
		{"as many as fit", 10, 70, 10, 70},
		{"one more than fit", 10, 71, 10, 70},
		{"many: the oldest that there are", 10, 510, 10, 70},
		{"very many: the ledger still has them", 10, 100_010, 100_010 - 2048 - 60, 100_010 - 2048},
	}
	for _, test := range tests {
		if from, to := window(test.told, test.end); from != test.from || to != test.to {
			t.Errorf("%s: %d to %d, want %d to %d", test.name, from, to, test.from, test.to)
		}
	}
}

func TestAReaderThatComesBackIsToldHowManyTurnsItMissed(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1", "server2", "server3")
	b.more(now, 97, "127.0.0.1:4001") // 100 in all, the first event tells the last 60
	for _, test := range []struct {
		name          string
		after         *uint64
		missed, count uint64
		known         bool
	}{
		{"a new one", nil, 0, 0, false},
		{"one that knows everything", new(uint64(100)), 0, 0, true},
		{"one that knows all but the last", new(uint64(99)), 0, 1, true},
		{"one that knows enough", new(uint64(40)), 0, 60, true},
		{"one that missed a turn", new(uint64(39)), 1, 61, true},
		{"one that knows nothing", new(uint64(0)), 40, 100, true},
		{"one that knows another balancer's turns", new(uint64(101)), 0, 0, false},
	} {
		r, first := b.join(t, now, test.after)
		if first.Missed != test.missed || first.Count != test.count || (first.After != nil) != test.known || first.numbers() != "41-100" {
			t.Errorf("%s: missed %d of %d, told %s", test.name, first.Missed, first.Count, first.numbers())
		}
		b.feed.leave(r)
	}
}

func TestTheFirstEventHasTheRoundTripsOfTheLastMinute(t *testing.T) {
	b := newBalancer("server1", "server2", "server3") // an answer and a silence 59 seconds ago
	_, first := b.join(t, time.Now(), nil)
	if len(first.Trips) != 2 || first.Trips[0].Place != 1 || *first.Trips[0].RTT != 0.412 || first.Trips[1].Place != 2 || first.Trips[1].RTT != nil {
		t.Errorf("%+v", first.Trips)
	}
	_, first = b.join(t, time.Now().Add(2*time.Second), nil)
	if len(first.Trips) != 0 {
		t.Errorf("two seconds later: %+v", first.Trips)
	}
}

func TestASamplePrefersNobody(t *testing.T) {
	for _, n := range []int{600, 1200, 4096} {
		items, counts := make([]int, n), [3]int{}
		for i := range items {
			items[i] = i % 3
		}
		some, isSample := sample(items, 600)
		for _, place := range some {
			counts[place]++
		}
		if isSample != (n > 600) || !isSample && len(some) != n {
			t.Errorf("%d of %d, a sample: %v", len(some), n, isSample)
		}
		for _, count := range counts { // the standard deviation is 13 at most
			if count < 100 || count > 300 {
				t.Errorf("of %d: shares %v", n, counts)
			}
		}
	}
}

func TestOnlySixtyFourReadAtATime(t *testing.T) {
	b := newBalancer("server1")
	for range maxReaders {
		b.feed.places <- struct{}{}
	}
	answer := b.get("/events")
	if answer.Code != 503 || answer.Body.String() != "64 readers are watching already: close one of their pages and try again\n" || answer.Header().Get("Retry-After") == "" {
		t.Errorf("%d %q", answer.Code, answer.Body)
	}
	<-b.feed.places
	if answer = b.get("/events"); answer.Code != 200 {
		t.Errorf("one place is free: %d %q", answer.Code, answer.Body)
	}
}

func TestASlowReaderGetsNoMoreAndTheOthersDo(t *testing.T) {
	now := time.Now()
	b := newBalancer("server1", "server2", "server3")
	slow, _ := b.join(t, now, nil)
	quick, _ := b.join(t, now, nil)
	for i := range backlog + 5 {
		b.more(now, 1, "127.0.0.1:4001")
		if got := b.one(t, quick, now.Add(time.Duration(i)*frameEvery)); got.name != "frame" {
			t.Fatalf("frame %d is a %s", i, got.name)
		}
	}
	if frames := take(t, slow); len(frames) != backlog {
		t.Errorf("%d frames of %d", len(frames), backlog)
	}
	if _, open := <-slow; open || len(b.feed.readers) != 1 {
		t.Errorf("%d readers", len(b.feed.readers))
	}
}

func TestFramesAreMadeTenTimesASecondAndABeatEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBalancer("server1", "server2", "server3")
		ctx, stop := context.WithCancel(t.Context())
		go b.feed.run(ctx)
		r, _ := b.join(t, time.Now(), nil)
		count := 0
		for range 1000 { // five seconds, a turn every 5 ms
			b.more(time.Now(), 1, "127.0.0.1:4001")
			time.Sleep(5 * time.Millisecond)
			got := len(take(t, r))
			if count += got; got > 1 {
				t.Fatalf("%d frames at once", got)
			}
		}
		if count > 50 || count < 45 {
			t.Errorf("%d frames in five seconds", count)
		}
		time.Sleep(1500 * time.Millisecond) // the last turns fall silent
		if frames := take(t, r); len(frames) > 15 {
			t.Errorf("%d frames in a second and a half", len(frames))
		}
		time.Sleep(5100 * time.Millisecond)
		beats := take(t, r)
		if len(beats) != 5 {
			t.Errorf("%d events in five seconds of nothing", len(beats))
		}
		for _, beat := range beats {
			if beat.name != "beat" || beat.At.IsZero() {
				t.Errorf("got %+v", beat)
			}
		}
		stop()
		<-b.feed.stopping
	})
}

func TestAFrameCostsTheLedgerNothingWhileNobodyWatches(t *testing.T) {
	b := newBalancer("server1")
	b.feed.look(time.Now())
	if b.feed.sent.Backends != nil || b.feed.covered != 0 {
		t.Error("made a frame for nobody")
	}
}
