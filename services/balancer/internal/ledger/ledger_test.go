package ledger

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	start  = time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC)
	names  = []string{"server1", "server2", "server3"}
	client = netip.MustParseAddrPort("192.0.2.7:41730")
)

func ms(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }

// book is a ledger with one client's session.
type book struct {
	*Ledger
	pending [3]Outstanding
}

func newBook() *book { return &book{Ledger: New(names, time.Second, start)} }

// forward records turns from number on, one a millisecond from the given time.
func (b *book) forward(at time.Time, numbers ...uint64) {
	for _, n := range numbers {
		i := int(n % 3)
		b.Received(at, []Request{{Client: client, Bytes: 6, Turn: n, Backend: i, Outstanding: &b.pending[i]}})
	}
}

func (b *book) reply(at time.Time, backend int, text string) {
	b.Replied(at, []Reply{{Backend: backend, Bytes: len(text), Head: []byte(text), Outstanding: &b.pending[backend]}})
}

// lose is a reply that the kernel would not take for the client.
func (b *book) lose(at time.Time, backend int) {
	b.Replied(at, []Reply{{Backend: backend, Bytes: 1, Head: []byte("x"), Outstanding: &b.pending[backend], Lost: true}})
}

// outcomes shows the turns from 0 as one letter each: w(aiting), a(nswered),
// u(ndelivered), s(ilent), d(ropped).
func (b *book) outcomes(now time.Time) (out string) {
	turns, _ := b.Since(now, 0, Size)
	for _, t := range turns {
		out += string(t.Outcome[0])
	}
	return out
}

func TestATurnIsAnsweredOrFallsSilent(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2)
	b.reply(ms(5), 1, "PING 2 server2")
	if got := b.outcomes(ms(10)); got != "waw" {
		t.Errorf("after 10 ms: %s", got)
	}
	if got := b.outcomes(ms(1000)); got != "sas" {
		t.Errorf("after 1 s: %s", got)
	}
	b.reply(ms(1500), 0, "PING 1 server1")
	if got := b.outcomes(ms(1500)); got != "aas" {
		t.Errorf("a late answer is an answer: %s", got)
	}
	turn, _ := b.Turn(ms(1500), 1)
	if turn.RTT != 5*time.Millisecond || !turn.Exact || string(turn.Reply) != "PING 2 server2" || turn.Server != "server2" {
		t.Errorf("got %+v", turn)
	}
}

// Without reading the payload nobody can tell which of two late replies is
// which. What may be wrong is not called exact.
func TestARoundTripIsNotExactWhileAnOlderTurnMayStillBeAnswered(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0)
	b.forward(ms(3000), 3)
	b.reply(ms(3299), 0, "in truth the answer to turn 0")
	b.reply(ms(4700), 0, "in truth the answer to turn 3")
	b.forward(ms(6000), 6)
	b.reply(ms(6001), 0, "nothing else is waited for")
	b.forward(ms(7000), 9, 12)
	b.reply(ms(7001), 0, "the answer to turn 12, or to turn 9")
	b.forward(ms(7000+60_000), 15)
	b.reply(ms(7001+60_000), 0, "turn 9 is not answered any more")
	for number, want := range map[uint64]bool{0: false, 3: false, 6: true, 12: false, 15: true} {
		if turn, _ := b.Turn(ms(70_000), number); turn.Outcome != Answered || turn.Exact != want {
			t.Errorf("turn %d is %s, exact: %v, want %v", number, turn.Outcome, turn.Exact, want)
		}
	}
	if got := b.Snapshot(ms(70_000)).Backends[0].RTT.Count; got != 4 {
		t.Errorf("%d round trips are in the statistics, want those of the 4 first replies", got)
	}
}

func TestAReplyAnswersTheNewestUnansweredTurnOfItsSession(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2, 3, 4, 5, 6) // backend 0 has turns 0, 3 and 6
	b.reply(ms(1), 0, "first")
	b.reply(ms(2), 0, "second")
	if got := b.outcomes(ms(3)); got != "wwwawwa" {
		t.Fatalf("two replies of backend 0: %s", got)
	}
	newest, _ := b.Turn(ms(3), 6)
	older, _ := b.Turn(ms(3), 3)
	if newest.Exact || older.Exact {
		t.Errorf("while others wait no round-trip time is certain: %v, %v", newest.Exact, older.Exact)
	}
	if got := b.Snapshot(ms(3)).Backends[0].RTT.Count; got != 1 {
		t.Errorf("%d round trips are in the statistics, want that of the first reply since the last datagram", got)
	}
	b.reply(ms(4), 0, "third")
	b.reply(ms(5), 0, "one too many") // changes no turn, and is counted as a reply
	if got := b.outcomes(ms(5)); got != "awwawwa" {
		t.Errorf("all three: %s", got)
	}
	if s := b.Snapshot(ms(5)); s.Backends[0].Replies != 4 || s.Backends[0].Answered != 3 || s.Replied != 4 {
		t.Errorf("got %+v", s.Backends[0])
	}
}

func TestAReplyToATurnThatTheRingForgotChangesNoOther(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0)
	var other [3]Outstanding
	for n := uint64(1); n <= Size; n++ {
		b.Received(ms(1), []Request{{Client: client, Turn: n, Backend: int(n % 3), Outstanding: &other[n%3]}})
	}
	b.reply(ms(2), 0, "late")
	turns, missed := b.Since(ms(2), 0, Size)
	if missed != 1 || len(turns) != Size {
		t.Fatalf("%d turns, %d missed", len(turns), missed)
	}
	for _, turn := range turns {
		if turn.Outcome != Waiting {
			t.Fatalf("turn %d is %s", turn.Number, turn.Outcome)
		}
	}
}

func TestOnlyTheHeadOfAReplyIsKept(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0)
	b.reply(ms(1), 0, strings.Repeat("x", 1000))
	turn, _ := b.Turn(ms(1), 0)
	if len(turn.Reply) != HeadSize || turn.Size != 1000 {
		t.Errorf("kept %d bytes of %d", len(turn.Reply), turn.Size)
	}
}

func TestATurnOutOfPlaceIsAViolation(t *testing.T) {
	type turn struct {
		number  uint64
		backend int
		passed  int
	}
	for _, tt := range []struct {
		name  string
		turns []turn
		want  uint64
	}{
		{"in order", []turn{{0, 0, 0}, {1, 1, 0}, {2, 2, 0}, {3, 0, 0}}, 0},
		{"a batch of another worker appended first", []turn{{2, 2, 0}, {3, 0, 0}, {0, 0, 0}, {1, 1, 0}}, 0},
		{"a backend that is down is passed over", []turn{{0, 0, 0}, {1, 2, 1}, {2, 0, 0}}, 0},
		{"all others are passed over", []turn{{0, 0, 0}, {1, 0, 2}}, 0},
		{"a number given twice", []turn{{0, 0, 0}, {1, 1, 0}, {1, 1, 0}}, 1},
		{"the same backend twice", []turn{{0, 0, 0}, {1, 0, 0}}, 1},
		{"a backend left out", []turn{{0, 0, 0}, {1, 2, 0}}, 1},
		{"a backend left out, seen from the other side", []turn{{1, 2, 0}, {0, 0, 0}}, 1},
		{"passing over more than there are", []turn{{0, 0, 0}, {1, 1, 3}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook()
			for _, turn := range tt.turns {
				b.Received(start, []Request{{Client: client, Disposition: DroppedDown, Turn: turn.number, Backend: turn.backend, Skipped: turn.passed}})
			}
			if got := b.Snapshot(start).OrderViolations; got != tt.want {
				t.Errorf("%d violations, want %d", got, tt.want)
			}
		})
	}
}

func TestATurnThatIsNeverRecordedIsAViolationInTheEnd(t *testing.T) {
	b := newBook()
	for n := range uint64(2*Size + 10) {
		if n != 4 && n != 4+Size {
			b.Received(start, []Request{{Client: client, Disposition: DroppedDown, Turn: n, Backend: int(n % 3)}})
		}
	}
	if got := b.Snapshot(start).OrderViolations; got != 0 {
		t.Errorf("at once: %d violations, want 0", got)
	}
	for range 2 { // and counted once
		if got := b.Snapshot(start.Add(overdueAfter + 1)).OrderViolations; got != 2 {
			t.Errorf("in the end: %d violations, want 2", got)
		}
	}
}

func TestAWorkerThatWasHeldUpForMoreThanARingIsNoViolation(t *testing.T) {
	b := newBook()
	record := func(n uint64) {
		b.Received(start, []Request{{Client: client, Disposition: DroppedDown, Turn: n, Backend: int(n % 3)}})
	}
	for n := range uint64(3 * Size) { // turns 10 to 19 are with the worker that is held up
		if n < 10 || n >= 20 {
			record(n)
		}
	}
	for n := uint64(10); n < 20; n++ {
		record(n)
	}
	s := b.Snapshot(start.Add(overdueAfter + 1))
	if s.OrderViolations != 0 || s.Received != 3*Size || s.Backends[0].Turns != Size {
		t.Errorf("%d violations, received %d, server1's turns %d", s.OrderViolations, s.Received, s.Backends[0].Turns)
	}
	record(12)
	if got := b.Snapshot(start).OrderViolations; got != 1 {
		t.Errorf("one of its turns given once more: %d violations, want 1", got)
	}
	if turns, missed := b.Since(start, 0, 1); missed != 2*Size || turns[0].Number != 2*Size {
		t.Errorf("the ring begins at turn %d, %d missed", turns[0].Number, missed)
	}
}

func TestAResumedLedgerGoesOnCounting(t *testing.T) {
	b := newBook()
	b.Resume(1_000_003)
	b.forward(ms(0), 1_000_003, 1_000_004)
	s := b.Snapshot(ms(0))
	if s.Turns != 1_000_005 || s.OrderViolations != 0 || s.Received != 2 {
		t.Errorf("got %+v", s)
	}
	turns, missed := b.Since(ms(0), 1_000_000, 10)
	if len(turns) != 2 || missed != 3 {
		t.Errorf("%d turns, %d missed", len(turns), missed)
	}
}

func TestReadersStopAtATurnThatIsStillBeingAppended(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 3)
	if turns, _ := b.Since(ms(0), 0, Size); len(turns) != 2 {
		t.Errorf("%d turns, want 2", len(turns))
	}
	b.forward(ms(0), 2)
	if turns, _ := b.Since(ms(0), 0, Size); len(turns) != 4 {
		t.Errorf("%d turns, want 4", len(turns))
	}
}

func TestWaitingCountsWhatMayStillBeAnswered(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1)
	b.forward(ms(700), 2, 3)
	b.reply(ms(710), 2, "x")
	for at, want := range map[int]int{710: 3, 1000: 1, 1699: 1, 1700: 0} {
		if got := b.Waiting(ms(at)); got != want {
			t.Errorf("at %d ms: %d, want %d", at, got, want)
		}
	}
}

func TestEveryFateHasANameAndSaysWhetherItTakesATurn(t *testing.T) {
	seen := map[string]bool{}
	for f := range Dispositions {
		if f.String() == "" || seen[f.String()] {
			t.Errorf("fate %d is called %q", f, f)
		}
		seen[f.String()] = true
	}
	for _, f := range []Disposition{NoBackend, SessionLimit, ClientRate, PortZero, Loop, Shutdown, Stranger} {
		if f.TakesTurn() {
			t.Errorf("%s takes a turn", f)
		}
	}
	for _, f := range []Disposition{Forwarded, DroppedDown, NoSocket, SendFailed} {
		if !f.TakesTurn() {
			t.Errorf("%s takes no turn", f)
		}
	}
}

// Whatever is appended by however many goroutines, every snapshot balances.
func TestReceivedIsForwardedPlusDroppedAtEveryMoment(t *testing.T) {
	const workers, batches, size = 4, 500, 16
	l := New(names, time.Second, start)
	var mu sync.Mutex
	next := uint64(0)
	var workersDone, readerDone sync.WaitGroup
	stop := make(chan struct{})
	readerDone.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := l.Snapshot(start); s.Received != s.Forwarded+s.DroppedTotal() {
				t.Errorf("received %d, forwarded %d, dropped %d", s.Received, s.Forwarded, s.DroppedTotal())
				return
			}
		}
	})
	for w := range workers {
		workersDone.Go(func() {
			var pending [3]Outstanding
			for i := range batches {
				batch := make([]Request, size)
				mu.Lock()
				for j := range batch {
					batch[j] = Request{Client: client, Disposition: Disposition((w + i + j) % int(Dispositions))}
					if batch[j].Disposition.TakesTurn() {
						batch[j].Turn, batch[j].Backend = next, int(next%3)
						batch[j].Outstanding = &pending[next%3]
						next++
					}
				}
				mu.Unlock()
				l.Received(start, batch)
				l.Dropped(Stranger, 2)
			}
		})
	}
	workersDone.Wait()
	close(stop)
	readerDone.Wait()
	s := l.Snapshot(start)
	if want := uint64(workers * batches * (size + 2)); s.Received != want {
		t.Errorf("received %d, want %d", s.Received, want)
	}
	if s.Turns != next || s.OrderViolations != 0 {
		t.Errorf("%d turns of %d, %d violations", s.Turns, next, s.OrderViolations)
	}
	if s.Dropped[Stranger] == 0 || s.Dropped[Forwarded] != 0 {
		t.Errorf("dropped %v", s.Dropped)
	}
}

func TestWhatHappensToBackends(t *testing.T) {
	l := New(names, time.Second, start)
	first, second := netip.MustParseAddrPort("192.0.2.1:2526"), netip.MustParseAddrPort("192.0.2.9:2526")
	l.BackendAt(ms(0), 0, first) // the first address is no event
	l.BackendDown(ms(10), 0, Evidence{Reason: "connection refused"})
	l.BackendDown(ms(20), 0, Evidence{Reason: "its name is gone"}) // down already: another reason, no event
	if b := l.Snapshot(ms(30)).Backends[0]; b.Up || b.Reason != "its name is gone" || b.Since != ms(10) || b.Addr != first || b.WentDownTotal() != 1 {
		t.Errorf("got %+v", b)
	}
	l.BackendAt(ms(40), 0, second)
	l.BackendUp(ms(50), 0)
	l.BackendUp(ms(60), 0)
	events, missed := l.Events(0)
	got := ""
	for _, e := range events {
		got += fmt.Sprintf("%s %s %s;", e.Backend, e.Kind, e.Reason)
	}
	if want := "server1 down connection refused;server1 moved ;server1 up ;"; got != want || missed != 0 {
		t.Errorf("%s (%d missed)", got, missed)
	}
	for i := range eventsKept {
		l.BackendDown(ms(100+i), 1, Evidence{Reason: "x"})
		l.BackendUp(ms(100+i), 1)
	}
	if events, missed = l.Events(1); len(events) != eventsKept || missed != 2*eventsKept+3-eventsKept-1 {
		t.Errorf("%d events, %d missed", len(events), missed)
	}
	if events, missed = l.Events(1_000_000); len(events) != 0 || missed != 0 {
		t.Errorf("a reader ahead of us: %d events, %d missed", len(events), missed)
	}
}

func TestSessionsAreCountedByHowTheyEnd(t *testing.T) {
	l := New(names, time.Second, start)
	for range 3 {
		l.SessionOpened()
	}
	l.SessionClosed(Idle)
	l.SessionClosed(Evicted)
	s := l.Snapshot(start)
	if s.Sessions != 1 || s.SessionsOpened != 3 || s.SessionsClosed != [closeReasons]uint64{Idle: 1, Evicted: 1} {
		t.Errorf("got %+v", s)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			l := New(names, time.Second, start)
			var pending [3]Outstanding
			arrivals, replies := make([]Request, size), make([]Reply, size)
			head := []byte("PING 7 10:04:05.120 server2")
			number := uint64(0)
			for b.Loop() {
				for i := range arrivals {
					k := int(number % 3)
					arrivals[i] = Request{Client: client, Bytes: 64, Turn: number, Backend: k, Outstanding: &pending[k]}
					replies[i] = Reply{Backend: k, Bytes: 72, Head: head, Outstanding: &pending[k]}
					number++
				}
				l.Received(start, arrivals)
				l.Replied(start, replies)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/turn")
		})
	}
}
