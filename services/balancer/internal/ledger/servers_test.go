package ledger

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"udplab/services/balancer/internal/membership"
)

func TestSilenceIsCountedUntilAnAnswerComesAfterAll(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3)
	b.reply(ms(5), 1, "x")
	expect := func(at, place int, want string) {
		t.Helper()
		if got := b.counts(ms(at), place); got != want {
			t.Errorf("after %d ms: %s, want %s", at, got, want)
		}
	}
	expect(999, 0, "answered 1, late 0, silent 0, waiting 0, unresolved 0")
	expect(999, 1, "answered 0, late 0, silent 0, waiting 1, unresolved 0")
	expect(1000, 1, "answered 0, late 0, silent 1, waiting 0, unresolved 0")
	b.reply(ms(1200), 2, "x")
	expect(1200, 1, "answered 1, late 1, silent 0, waiting 0, unresolved 0")
	b.forward(ms(1200), 4, 5)
	b.reply(ms(2199), 1, "x")
	b.reply(ms(2200), 2, "x") // silent, but nobody has looked since
	expect(2200, 0, "answered 2, late 0, silent 0, waiting 0, unresolved 0")
	expect(2200, 1, "answered 2, late 2, silent 0, waiting 0, unresolved 0")
}

func TestAReplyThatTheClientDoesNotGetIsNoAnswer(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3)
	b.lose(ms(5), 1)
	b.Snapshot(ms(1000))
	b.lose(ms(1200), 2) // it had been counted as silent
	if got := b.outcomes(ms(1200)); got != "uus" {
		t.Errorf("got %s", got)
	}
	if turn, _ := b.Turn(ms(1200), 1); turn.RTT != 5*time.Millisecond || !turn.Exact {
		t.Errorf("its server took %v, exact: %v", turn.RTT, turn.Exact)
	}
	for i, want := range []uint64{1, 1, 0} {
		s := b.Snapshot(ms(1200)).Backends[i]
		if s.Lost != want || s.Undelivered != want || s.Answered != 0 || s.Silent != 1-want || s.Waiting != 0 || s.BytesFrom != 0 {
			t.Errorf("server%d: %+v", i+1, s)
		}
	}
}

func TestATurnThatTheRingForgetsIsSilentOrUnresolved(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1)
	b.forward(ms(1), 2, 3)
	b.reply(ms(2), 3, "x")
	b.drop(ms(1000), span(4, Size+3)...)
	for place, want := range []string{
		"answered 0, late 0, silent 1, waiting 0, unresolved 0",
		"answered 0, late 0, silent 0, waiting 0, unresolved 1",
		"answered 1, late 0, silent 0, waiting 0, unresolved 0",
	} {
		if got := b.counts(ms(1000), place); got != want {
			t.Errorf("server%d: %s, want %s", place+1, got, want)
		}
	}
}

func TestWhatHappensToServers(t *testing.T) {
	b := newBook(0) // the first snapshot is no event
	b.drop(ms(5), 1, 2)
	b.apply(ms(10), down(1, "connection refused"), up(2), up(3))
	nowhere := down(1, "its name is gone") // another reason is no event
	nowhere.Addr, nowhere.Since = netip.AddrPort{}, ms(10)
	b.apply(ms(20), nowhere, up(2), up(3))
	if s := b.Snapshot(ms(30)).Backends[0]; s.Up() || s.Reason != "its name is gone" || s.Since != ms(10) || s.Addr != up(1).Addr || b.Addr(1) != s.Addr ||
		s.WentDownTotal() != 1 || s.WentDown[membership.ProbeFailed] != 1 {
		t.Errorf("got %+v", s)
	}
	b.apply(ms(40), up(1), up(2), up(3)) // where it was
	b.drop(ms(45), 3)
	moved := up(1)
	moved.Addr = up(9).Addr
	b.apply(ms(50), moved, up(2), up(3), up(4))
	gone := down(2, "its name is gone")
	gone.Cause = membership.NameNotFound
	b.apply(ms(60), moved, gone, down(5, "not heard from yet"))
	b.apply(ms(70), moved, gone, up(5))
	b.apply(ms(80))
	b.apply(ms(90), up(6))
	want := `1: turn 3, server1 down connection refused
2: turn 3, server1 up 
3: turn 4, server1 moved 
4: turn 4, server4 added 
5: turn 4, server2 down its name is gone
6: turn 4, server5 added 
7: turn 4, server3 removed 
8: turn 4, server4 removed 
9: turn 4, server5 up 
10: turn 4, server1 removed 
11: turn 4, server2 removed 
12: turn 4, server5 removed 
13: turn 4, server6 added 
`
	if got := b.happened(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if events, _ := b.Events(2); events[0].Addr != moved.Addr || events[0].At != ms(50) {
		t.Errorf("it moved: %+v", events[0])
	}
	s := b.Snapshot(ms(90)).Removed
	if s.WentUp != 2 || s.Moved != 1 || s.WentDown != [membership.Causes]uint64{membership.ProbeFailed: 1, membership.NameNotFound: 1} || s.Turns != 3 {
		t.Errorf("of the removed: %+v", s)
	}
}

func TestTheNewestEventsAreKept(t *testing.T) {
	b := newBook(0)
	for range eventsKept / 2 {
		b.apply(start, down(1, "x"), up(2))
		b.apply(start, up(1), up(2))
	}
	for after, want := range map[uint64]int{0: 1, 1: 0, 2: 0, eventsKept + 1: 0, 1_000_000: 0} { // server3's removal is forgotten
		events, missed := b.Events(after)
		if n := max(0, eventsKept+1-int(after)) - want; len(events) != n || missed != uint64(want) || n > 0 && events[0].Number != uint64(eventsKept+2-n) {
			t.Errorf("after %d: %d events, %d missed", after, len(events), missed)
		}
	}
}

func TestTheTurnsOfARemovedServerAreAnsweredOrFallSilent(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3, 4, 5, 6) // server2 has turns 2 and 5
	b.take(8)                          // and 8, which is recorded after
	b.reply(ms(1), 2, "x")
	b.lose(ms(2), 2)
	b.forward(ms(10), 7)
	b.apply(ms(10), up(1), up(3))
	b.forward(ms(10), 8)
	if got := b.counts(ms(500), -1); got != "answered 1, late 0, silent 0, waiting 1, unresolved 0" {
		t.Errorf("after 500 ms: %s", got)
	}
	if got := b.counts(ms(1010), -1); got != "answered 1, late 0, silent 1, waiting 0, unresolved 0" {
		t.Errorf("after 1010 ms: %s", got)
	}
	b.reply(ms(1200), 2, "at last")
	s := b.Snapshot(ms(1200)).Removed
	if s.Turns != 3 || s.Forwarded != 3 || s.Answered != 2 || s.Late != 1 || s.Silent != 0 || s.Undelivered != 1 || s.Replies != 2 || s.Lost != 1 ||
		s.BytesTo != 18 || s.BytesFrom != 8 || s.RTT.Count != 2 || s.RTT.Sum != 1191*time.Millisecond || s.LastSeen != ms(1200) {
		t.Errorf("got %+v", s)
	}
	if turn, _ := b.Turn(ms(1200), 8); turn.Server != "server2" || turn.Backend != 2 || string(turn.Reply) != "at last" {
		t.Errorf("got %+v", turn)
	}
	b.forward(ms(1200), 9, 10) // server3 and server1: the session goes on
	b.reply(ms(1201), 1, "x")
	if turn, _ := b.Turn(ms(1201), 10); turn.Outcome != Answered || turn.Server != "server1" || b.Snapshot(ms(1201)).OrderViolations != 0 {
		t.Errorf("got %+v", turn)
	}
}

// Whatever comes in whatever order, the ledger says what a stack of unanswered
// turns for each server would say, and every forwarded turn is counted once.
func TestTheLedgerAgreesWithAModel(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBook(0)
		at, number, added := start, uint64(0), membership.ID(3)
		waiting, answered := map[membership.ID][]uint64{}, map[uint64]Outcome{}
		for range 5000 {
			at = at.Add(time.Duration(random.IntN(2000)) * time.Microsecond)
			id := added - membership.ID(random.IntN(3))
			outcome := Answered
			switch random.IntN(60) {
			case 0:
				backends := b.snapshot.Backends[random.IntN(2):]
				if len(backends) < 4 {
					added++
					backends = append(backends[:len(backends):len(backends)], up(added))
				}
				b.apply(at, backends...)
			case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24:
				for range random.IntN(10) {
					number++
					b.forward(at, number)
					id := b.taken[number].Backend.ID
					waiting[id] = append(waiting[id], number)
				}
			case 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35:
				b.lose(at, id)
				outcome = Undelivered
				fallthrough
			case 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47:
				if outcome == Answered {
					b.reply(at, id, "x")
				}
				if n := len(waiting[id]); n > 0 {
					answered[waiting[id][n-1]] = outcome
					waiting[id] = waiting[id][:n-1]
				}
			default:
				b.Snapshot(at)
			}
		}
		turns, missed := b.Since(at, 0, Size)
		ring := map[membership.ID]map[Outcome]uint64{}
		for _, turn := range turns {
			want := answered[turn.Number]
			if want == "" {
				want = Waiting
				if at.Sub(turn.At) >= time.Second {
					want = Silent
				}
			}
			if turn.Outcome != want || turn.Backend != b.taken[turn.Number].Backend.ID || turn.Server != fmt.Sprint("server", turn.Backend) {
				t.Fatalf("seed %d: want %s: %+v", seed, want, turn)
			}
			if ring[turn.Backend] == nil {
				ring[turn.Backend] = map[Outcome]uint64{}
			}
			ring[turn.Backend][turn.Outcome]++
		}
		s := b.Snapshot(at)
		if s.OrderViolations != 0 || s.Forwarded != number || s.Turns != number {
			t.Fatalf("seed %d: %d violations, %d forwarded of %d", seed, s.OrderViolations, s.Forwarded, number)
		}
		removed := maps.Clone(ring)
		forwarded := uint64(0)
		check := func(s Backend, waiting uint64) {
			forwarded += s.Forwarded
			if s.Waiting != waiting || s.Turns != s.Forwarded || s.Forwarded != s.Answered+s.Undelivered+s.Silent+s.Waiting+s.Unresolved {
				t.Fatalf("seed %d, %d turns forgotten: %+v, in the ring %d are waiting", seed, missed, s, waiting)
			}
		}
		for _, server := range s.Backends {
			check(server, ring[server.ID][Waiting])
			delete(removed, server.ID)
		}
		left := uint64(0)
		for _, outcomes := range removed {
			left += outcomes[Waiting]
		}
		check(s.Removed, left)
		if forwarded != number {
			t.Fatalf("seed %d: %d forwarded, by server %d", seed, number, forwarded)
		}
	}
}
