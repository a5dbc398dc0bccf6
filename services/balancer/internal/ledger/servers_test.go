package ledger

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"udplab/services/balancer/internal/membership"
)

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
	got := ""
	events, _ := b.Events(0)
	for _, e := range events {
		got += fmt.Sprintf("%d: turn %d, %s %s %s\n", e.Number, e.Turn, e.Backend, e.Kind, e.Reason)
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if events[2].Addr != moved.Addr || events[2].At != ms(50) {
		t.Errorf("it moved: %+v", events[2])
	}
	s := b.Snapshot(ms(90)).Removed
	if s.WentUp != 2 || s.Moved != 1 || s.WentDown != [membership.Causes]uint64{membership.ProbeFailed: 1, membership.NameNotFound: 1} || s.Turns != 3 {
		t.Errorf("of the removed: %+v", s)
	}
}

func TestTheNewestEventsAreKept(t *testing.T) {
	b := newBook(0)
	for range eventsKept/2 + 1 {
		b.apply(start, down(1, "x"), up(2))
		b.apply(start, up(1), up(2))
	}
	const total = eventsKept + 3 // with server3's removal
	for after, want := range map[uint64]uint64{0: 3, 1: 2, 3: 0, 4: 0, total: 0, 1_000_000: 0} {
		events, missed := b.Events(after)
		if n := total - int(min(after+want, total)); len(events) != n || missed != want || n > 0 && events[0].Number != after+want+1 {
			t.Errorf("after %d: %d events, %d missed", after, len(events), missed)
		}
	}
}

func TestTheTurnsOfARemovedServerAreAnsweredOrFallSilent(t *testing.T) {
	b := newBook(0)
	b.forward(ms(0), 1, 2, 3, 4, 5, 6, 7) // server2 has turns 2 and 5
	b.take(8)                             // and 8, which is recorded after
	b.reply(ms(1), 2, "x")
	b.lose(ms(2), 2)
	b.apply(ms(10), up(1), up(3))
	b.forward(ms(10), 8)
	b.reply(ms(1200), 2, "at last")
	s := b.Snapshot(ms(1200)).Removed
	if s.Turns != 3 || s.Answered != 2 || s.Late != 1 || s.Undelivered != 1 || s.Replies != 2 || s.Lost != 1 ||
		s.BytesTo != 18 || s.BytesFrom != 8 || s.RTT.Sum != 1191*time.Millisecond || s.LastSeen != ms(1200) {
		t.Errorf("got %+v", s)
	}
	if turn, _ := b.Turn(ms(1200), 8); turn.Server != "server2" || turn.Backend != 2 || string(turn.Reply) != "at last" {
		t.Errorf("got %+v", turn)
	}
	b.outstanding = Outstanding{}
	other := netip.MustParseAddrPort("192.0.2.7:41731")
	b.Received(ms(1300), []Request{{Client: other, Turn: b.take(9), Outstanding: &b.outstanding}}) // server2 had the turn before
	if s := b.Snapshot(ms(1300)); s.Newest.After != "server2" || s.Newest.Server != "server3" || s.OrderViolations != 0 {
		t.Errorf("the newest client joined at %+v, %d violations", s.Newest, s.OrderViolations)
	}
}

func TestASessionOfServersThatComeAndGoTakesNoMoreMemory(t *testing.T) {
	b := newBook(0)
	for n := range uint64(20) {
		id := membership.ID(n + 4)
		b.apply(start, up(id))
		b.forward(start, n+1)
		b.reply(start, id, "x")
	}
	if n := len(b.outstanding.servers); n != 1 {
		t.Errorf("%d servers are remembered", n)
	}
}
