package ledger

import (
	"net/netip"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
)

// What may follow what is the policy's to say, and proved there. Places count from
// 1 here.
func TestATurnOutOfPlaceIsAViolation(t *testing.T) {
	type turn struct {
		number  uint64
		place   int
		skipped int
	}
	for _, tt := range []struct {
		name  string
		turns []turn
		want  uint64
	}{
		{"in order", []turn{{1, 1, 0}, {2, 2, 0}, {3, 3, 0}, {4, 1, 0}}, 0},
		{"a batch of another worker appended first", []turn{{3, 3, 0}, {4, 1, 0}, {1, 1, 0}, {2, 2, 0}}, 0},
		{"a server that is down is skipped", []turn{{1, 1, 0}, {2, 3, 1}, {3, 1, 0}}, 0},
		{"a number given twice", []turn{{1, 1, 0}, {2, 2, 0}, {2, 2, 0}}, 1},
		{"no number", []turn{{0, 1, 0}}, 1},
		{"a server left out", []turn{{1, 1, 0}, {2, 3, 0}}, 1},
		{"a server left out, seen from the other side", []turn{{2, 3, 0}, {1, 1, 0}}, 1},
		{"a server left out twice, seen from the middle", []turn{{1, 1, 0}, {3, 2, 0}, {2, 3, 0}}, 2},
	} {
		b := newBook(0)
		for _, turn := range tt.turns {
			step := balancing.Step{List: 1, Place: turn.place - 1, Skipped: turn.skipped}
			b.Received(start, []Request{{Client: client, Disposition: DroppedDown,
				Turn: balancing.Turn{Number: turn.number, Step: step, Backend: &b.snapshot.Backends[step.Place]}}})
		}
		if got := b.Snapshot(start).OrderViolations; got != tt.want {
			t.Errorf("%s: %d violations, want %d", tt.name, got, tt.want)
		}
	}
}

func TestATurnThatIsNeverRecordedIsAViolationInTheEnd(t *testing.T) {
	for _, resumed := range []uint64{0, 1_000_003} {
		b := newBook(resumed)
		for _, n := range span(1, 3*Size+10) {
			if n != 5 && n != 5+Size && n != 5+2*Size && n != 100+Size { // 5 leaves a slot that was never used
				b.drop(ms(1000), resumed+n)
			}
		}
		for i, want := range []uint64{0, 0, 4, 4} { // and they are counted once
			at := ms(1000).Add([]time.Duration{0, missingAfter, missingAfter + 1, time.Hour}[i])
			if got := b.Snapshot(at).OrderViolations; got != want {
				t.Errorf("after %d turns, at %v: %d violations, want %d", resumed, at, got, want)
			}
		}
	}
}

func TestAWorkerThatWasHeldUpForMoreThanARingIsNoViolation(t *testing.T) {
	for rings := uint64(2); rings < 4; rings++ {
		b := newBook(0)
		b.take(20)                          // turns 11 to 20 are with the worker that is held up,
		b.apply(start, up(1), up(3), up(4)) // and their list is forgotten
		b.drop(start, span(1, 10)...)
		b.drop(start, span(21, rings*Size)...)
		b.apply(start, up(1), up(3), down(4, "x"))
		b.apply(start, up(1), up(4))
		for _, n := range span(11, 20) {
			newcomer := netip.AddrPortFrom(client.Addr(), uint16(n))
			b.outstanding = Outstanding{}
			b.Received(start, []Request{{Client: newcomer, Turn: b.take(n), Outstanding: &b.outstanding}})
		}
		s := b.Snapshot(start.Add(missingAfter + 1))
		turns, unresolved := s.Removed.Turns, s.Removed.Unresolved
		for _, server := range s.Backends {
			turns, unresolved = turns+server.Turns, unresolved+server.Unresolved
		}
		if s.OrderViolations != 0 || s.Received != rings*Size || turns != s.Received || unresolved != 10 || s.Clients != 11 {
			t.Errorf("%d violations, received %d, turns %d, unresolved %d, clients %d", s.OrderViolations, s.Received, turns, unresolved, s.Clients)
		}
		b.drop(start, 13)
		if got := b.Snapshot(start).OrderViolations; got != 1 {
			t.Errorf("one of its turns given once more: %d violations, want 1", got)
		}
		if turns, missed := b.Since(start, 0, 1); missed != (rings-1)*Size || turns[0].Number != missed+1 {
			t.Errorf("the ring begins at turn %d, %d missed", turns[0].Number, missed)
		}
	}
}
