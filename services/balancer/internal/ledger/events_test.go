package ledger

import (
	"fmt"
	"net/netip"
	"testing"

	"udplab/services/balancer/internal/membership"
)

func TestWhatHappensToServers(t *testing.T) {
	b := newBook(0) // the first snapshot is no event
	b.apply(ms(10), down(1, "connection refused"), up(2), up(3))
	nowhere := down(1, "its name is gone") // another reason is no event
	nowhere.Addr, nowhere.Since = netip.AddrPort{}, ms(10)
	b.apply(ms(20), nowhere, up(2), up(3))
	if s := b.Snapshot(ms(30)).Backends[0]; s.Up() || s.Reason != "its name is gone" || s.Since != ms(10) || s.Addr != up(1).Addr || b.Addr(1) != s.Addr ||
		s.WentDownTotal() != 1 || s.WentDown[membership.ProbeFailed] != 1 {
		t.Errorf("got %+v", s)
	}
	b.apply(ms(40), up(1), up(2), up(3)) // where it was
	moved := up(1)
	moved.Addr = up(9).Addr
	b.apply(ms(50), moved, up(2), up(3))
	gone := down(2, "its name is gone")
	gone.Cause = membership.NameNotFound
	b.apply(ms(60), moved, gone, up(3))
	want := `1: server1 down connection refused
2: server1 up 
3: server1 moved 
4: server2 down its name is gone
`
	got := ""
	events, _ := b.Events(0)
	for _, e := range events {
		got += fmt.Sprintf("%d: %s %s %s\n", e.Number, e.Backend, e.Kind, e.Reason)
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if events[2].Addr != moved.Addr || events[2].At != ms(50) {
		t.Errorf("it moved: %+v", events[2])
	}
	s := b.Snapshot(ms(70)).Backends
	if s[0].WentUp != 1 || s[0].Moved != 1 || s[0].WentDownTotal() != 1 || s[1].WentDown != [membership.Causes]uint64{membership.NameNotFound: 1} {
		t.Errorf("got %+v", s)
	}
}

func TestTheNewestEventsAreKept(t *testing.T) {
	b := newBook(0)
	for range eventsKept/2 + 1 {
		b.apply(start, down(1, "x"), up(2), up(3))
		b.apply(start, up(1), up(2), up(3))
	}
	const total = eventsKept + 2
	for after, want := range map[uint64]uint64{0: 2, 1: 1, 2: 0, 3: 0, total: 0, 1_000_000: 0} {
		events, missed := b.Events(after)
		if n := total - int(min(after+want, total)); len(events) != n || missed != want || n > 0 && events[0].Number != after+want+1 {
			t.Errorf("after %d: %d events, %d missed", after, len(events), missed)
		}
	}
}
