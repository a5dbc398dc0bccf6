package ledger

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/membership"
)

func TestATurnIsAnsweredOrFallsSilent(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3)
	b.reply(ms(5), 2, "PING 2 server2")
	if got := b.outcomes(ms(999)); got != "waw" {
		t.Errorf("after 999 ms: %s", got)
	}
	if got := b.outcomes(ms(1000)); got != "sas" {
		t.Errorf("after 1 s: %s", got)
	}
	long := strings.Repeat("x", HeadSize)
	b.reply(ms(1500), 1, long+"y")
	if got := b.outcomes(ms(1500)); got != "aas" {
		t.Errorf("a late answer is an answer: %s", got)
	}
	if turn, _ := b.Turn(ms(1500), 1); string(turn.Reply) != long || turn.Size != HeadSize+1 {
		t.Errorf("of a long reply of %d bytes it keeps %q", turn.Size, turn.Reply)
	}
	turn, _ := b.Turn(ms(1500), 2)
	if turn.Number != 2 || turn.At != ms(0) || turn.Client != client || turn.Bytes != 6 || turn.RTT != 5*time.Millisecond ||
		!turn.Exact || string(turn.Reply) != "PING 2 server2" || turn.Server != "server2" || turn.Backend != 2 || turn.Place != 2 {
		t.Errorf("got %+v", turn)
	}
	if s := b.Snapshot(ms(1500)).Backends[1]; s.LastSeen != ms(5) || s.RTTLast != turn.RTT || s.BytesTo != 6 || s.BytesFrom != 14 {
		t.Errorf("got %+v", s)
	}
}

// Only the payload tells which of two late replies is which, and it is not read. What may be wrong is not called exact.
func TestARoundTripIsNotExactWhileAnOlderTurnMayStillBeAnswered(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1)
	b.forward(ms(3000), 4)
	b.reply(ms(3299), 1, "in truth the answer to turn 1")
	b.reply(ms(4700), 1, "in truth the answer to turn 4")
	b.forward(ms(6000), 7)
	b.reply(ms(6001), 1, "nothing else is waited for")
	b.forward(ms(7000), 10, 13)
	b.reply(ms(7001), 1, "the answer to turn 13, or to turn 10")
	b.forward(ms(66_000), 16)
	b.reply(ms(66_999), 1, "turn 10 may still be answered")
	b.forward(ms(66_999), 19)
	b.reply(ms(67_000), 1, "turn 10 is not answered any more")
	for number, want := range map[uint64]bool{1: false, 4: false, 7: true, 13: false, 16: false, 19: true} {
		if turn, _ := b.Turn(ms(70_000), number); turn.Outcome != Answered || turn.Exact != want {
			t.Errorf("turn %d is %s, exact: %v, want %v", number, turn.Outcome, turn.Exact, want)
		}
	}
	if got := b.Snapshot(ms(70_000)).Backends[0].RTT.Count; got != 5 {
		t.Errorf("%d round trips are in the statistics, want those of the 5 first replies", got)
	}
}

func TestAResumedLedgerGoesOnCounting(t *testing.T) {
	const before = 1_000_003
	b := newBook(before)
	if got := b.Waiting(ms(0)); b.Last() != before || got != 0 {
		t.Errorf("before the first turn, %d has been the last and %d wait", b.Last(), got)
	}
	b.forward(ms(0), before+1, before+2)
	earlier := b.take(before + 1)
	earlier.Number = before
	b.Received(ms(0), []Request{{Client: client, Disposition: DroppedDown, Turn: earlier}})
	s := b.Snapshot(ms(0))
	if s.Turns != before+2 || s.OrderViolations != 1 || s.Received != 3 || s.Started != start || b.Started() != start {
		t.Errorf("after a turn of the earlier run: %+v", s)
	}
	if s.Newest != (Join{client, ms(0), before + 1, "server1", "server3"}) {
		t.Errorf("the client joined at %+v", s.Newest)
	}
	if _, ok := b.Turn(ms(0), before); ok {
		t.Error("a turn of the earlier run is in the ring")
	}
	if turns, missed := b.Since(ms(0), before-3, 10); len(turns) != 2 || missed != 3 {
		t.Errorf("%d turns, %d missed", len(turns), missed)
	}
	b.drop(ms(0), span(before+3, before+Size+1)...)
	for after, want := range map[uint64]uint64{before: 1, before + 1: 0, before + 2: 0} {
		if _, missed := b.Since(ms(0), after, 1); missed != want {
			t.Errorf("after turn %d: %d missed, want %d", after, missed, want)
		}
	}
}

func TestReadersStopAtATurnThatIsStillBeingAppended(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 4)
	if got := b.outcomes(ms(0)); got != "ww" {
		t.Errorf("got %s", got)
	}
	for number, want := range map[uint64]bool{0: false, 2: true, 3: false, 4: true, Size + 2: false} {
		if turn, ok := b.Turn(ms(2), number); ok != want || ok && turn.Number != number {
			t.Errorf("turn %d is read: %v, as %+v", number, ok, turn)
		}
	}
	if got := b.Waiting(ms(999)); got != 3 {
		t.Errorf("%d wait", got)
	}
	b.forward(ms(0), 3)
	for limit, want := range []int{0, 1, 2, 3, 4, 4} {
		if turns, _ := b.Since(ms(0), 0, limit); len(turns) != want {
			t.Errorf("%d turns, want %d", len(turns), want)
		}
	}
}

func TestATurnThatIsMissingHoldsUpTheCountOfSilenceForARingOnly(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), span(2, Size+5)...)
	if got := b.Waiting(ms(1000)); got != 0 {
		t.Errorf("%d wait", got)
	}
}

func TestEveryDispositionHasItsNameAndSaysWhetherItTakesATurn(t *testing.T) {
	got := ""
	for d := range Dispositions {
		got += fmt.Sprintf("%s %v, ", d, d.TakesTurn())
	}
	want := "forwarded true, held true, no_socket true, send_failed true, no_backend false, session_limit false, client_rate false, " +
		"port_zero false, loop false, shutdown false, stranger false, "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever is appended by however many goroutines, every snapshot balances, also
// while the list of servers changes.
func TestReceivedIsForwardedPlusDroppedAtEveryMoment(t *testing.T) {
	const workers, batches, size = 4, 500, 16
	b := newBook(0)
	check := func() Snapshot {
		s := b.Snapshot(start)
		forwarded := s.Removed.Forwarded
		for _, server := range s.Backends {
			forwarded += server.Forwarded
		}
		if s.Received != s.Forwarded+s.DroppedTotal() || s.Forwarded != forwarded || s.Dropped[Forwarded] != 0 {
			t.Errorf("received %d, forwarded %d (by server %d), dropped %v", s.Received, s.Forwarded, forwarded, s.Dropped)
		}
		return s
	}
	var busy, others sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	others.Go(func() {
		for i := membership.ID(4); ctx.Err() == nil; i++ {
			check()
			b.apply(start, up(i-2), up(i-1), up(i))
		}
	})
	for w := range workers {
		busy.Go(func() {
			var outstanding Outstanding
			turns, batch := make([]balancing.Turn, size), make([]Request, size)
			for i := range batches {
				b.scheduler.Take(turns)
				for j, turn := range turns {
					disposition := Disposition((w + i + j) % int(NoBackend))
					batch[j] = Request{Client: client, Disposition: disposition, Turn: turn, Outstanding: &outstanding}
				}
				b.Received(start, batch)
				b.Dropped(Stranger, 2)
				b.ReplyRefused()
			}
		})
	}
	busy.Wait()
	stop()
	others.Wait()
	s := check()
	if s.Received != workers*batches*(size+2) || s.Dropped[Stranger] != workers*batches*2 || s.RepliesRefused != workers*batches {
		t.Errorf("received %d, strangers %d, refused %d", s.Received, s.Dropped[Stranger], s.RepliesRefused)
	}
	if s.Turns != workers*batches*size || s.OrderViolations != 0 {
		t.Errorf("%d turns, %d violations", s.Turns, s.OrderViolations)
	}
}

func TestTheFirstTurnOfAClientIsMarked(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3, 4)
	if s := b.Snapshot(ms(0)); s.Newest != (Join{client, ms(0), 1, "server1", ""}) {
		t.Errorf("the first of all joined at %+v", s.Newest)
	}
	other := netip.MustParseAddrPort("192.0.2.7:41731")
	b.Received(ms(1), []Request{{Client: other, Turn: b.take(5), Disposition: DroppedDown}}) // no session at all
	b.outstanding = Outstanding{}                                                            // a new session, a known address
	b.forward(ms(2), 6)
	got := ""
	turns, _ := b.Since(ms(2), 0, Size)
	for _, turn := range turns {
		if turn.First {
			got += fmt.Sprint(turn.Number, " ")
		}
	}
	if s := b.Snapshot(ms(2)); got != "1 5 " || s.Clients != 2 || s.Newest != (Join{other, ms(1), 5, "server2", "server1"}) {
		t.Errorf("first turns are %s; %d clients, the newest %+v", got, s.Clients, s.Newest)
	}
}

func TestAFloodOfClientsDoesNotFillTheMemory(t *testing.T) {
	var c recentClients
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000)
	}
	for i := range 4 * clientsKept {
		if !c.observe(addr(i)) {
			t.Fatalf("client %d is not new", i)
		}
		if c.observe(addr(0)) && i < clientsKept {
			t.Fatalf("client 0 was forgotten after %d others", i)
		}
	}
	if len(c.young)+len(c.old) > 2*clientsKept {
		t.Errorf("%d clients remembered", len(c.young)+len(c.old))
	}
	if last := 4*clientsKept - 1; c.observe(addr(last)) {
		t.Error("the last client was forgotten at once")
	}
}

func TestSessionsAreCountedByHowTheyEnd(t *testing.T) {
	l := New(time.Second, start)
	for range 6 {
		l.SessionOpened()
	}
	for _, reason := range []CloseReason{Idle, Evicted, Evicted, Stopped} {
		l.SessionClosed(reason)
	}
	if got := fmt.Sprint(Idle, Evicted, Stopped); got != "idle evicted stopped" {
		t.Errorf("the reasons are called %s", got)
	}
	s := l.Snapshot(start)
	if s.Sessions != 2 || s.SessionsOpened != 6 || s.SessionsClosed != [closeReasons]uint64{Idle: 1, Evicted: 2, Stopped: 1} {
		t.Errorf("got %+v", s)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			book := newBook(0)
			turns, requests, replies := make([]balancing.Turn, size), make([]Request, size), make([]Reply, size)
			head := []byte("PING 7 10:04:05.120 server2")
			b.ReportAllocs()
			for b.Loop() {
				book.scheduler.Take(turns)
				for i, turn := range turns {
					requests[i] = Request{Client: client, Bytes: 64, Turn: turn, Outstanding: &book.outstanding}
					replies[i] = Reply{Backend: turn.Backend.ID, Bytes: 72, Head: head, Outstanding: &book.outstanding}
				}
				book.Received(start, requests)
				book.Replied(start, replies)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/turn")
		})
	}
}
