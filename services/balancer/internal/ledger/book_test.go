package ledger

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/membership"
)

var (
	start  = time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC)
	client = netip.MustParseAddrPort("192.0.2.7:41730")
)

func ms(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }

// up is the server of an ID, and down is the same while it is down.
func up(id membership.ID) membership.Backend {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(id)}), 2526)
	return membership.Backend{ID: id, Name: fmt.Sprint("server", id), Addr: addr}
}

func down(id membership.ID, reason string) membership.Backend {
	b := up(id)
	b.State, b.Cause, b.Reason = membership.Down, membership.ProbeFailed, reason
	return b
}

// book is a ledger with one client's session, and the scheduler that its turns
// are taken from.
type book struct {
	*Ledger
	scheduler   *balancing.Scheduler
	snapshot    *membership.Snapshot
	taken       map[uint64]balancing.Turn
	newest      uint64
	outstanding Outstanding
}

// newBook has server1, server2 and server3, and turns up to a number are an
// earlier run's: the next is server1's.
func newBook(resumed uint64) *book {
	b := &book{Ledger: New(time.Second, start), scheduler: balancing.New(balancing.Skip), newest: resumed,
		snapshot: membership.NewSnapshot(0), taken: map[uint64]balancing.Turn{}}
	b.Resume(resumed)
	b.scheduler.Resume(resumed, 0)
	b.apply(start, up(1), up(2), up(3))
	return b
}

// apply makes these the servers from the next turn that is taken.
func (b *book) apply(at time.Time, backends ...membership.Backend) {
	list := b.snapshot.List
	if !slices.EqualFunc(b.snapshot.Backends, backends, func(x, y membership.Backend) bool { return x.ID == y.ID }) {
		list++
	}
	b.snapshot = membership.NewSnapshot(list, backends...)
	b.scheduler.Apply(b.snapshot, func(turn uint64) { b.Apply(at, b.snapshot, turn) })
}

// take takes the turns up to a number and returns that one.
func (b *book) take(number uint64) balancing.Turn {
	for b.newest < number {
		var turn [1]balancing.Turn
		if b.scheduler.Take(turn[:]) == 0 {
			panic("no server is up")
		}
		b.newest = turn[0].Number
		b.taken[b.newest] = turn[0]
	}
	return b.taken[number]
}

// forward and drop record turns, which are taken before as far as they have not
// been. A turn that is dropped has no session.
func (b *book) forward(at time.Time, numbers ...uint64) {
	for _, n := range numbers {
		b.Received(at, []Request{{Client: client, Bytes: 6, Turn: b.take(n), Outstanding: &b.outstanding}})
	}
}

func (b *book) drop(at time.Time, numbers ...uint64) {
	for _, n := range numbers {
		b.Received(at, []Request{{Client: client, Bytes: 6, Disposition: DroppedDown, Turn: b.take(n)}})
	}
}

// reply records a reply, and lose one that the kernel would not take for the
// client.
func (b *book) reply(at time.Time, server membership.ID, text string) {
	b.Replied(at, []Reply{{Backend: server, Bytes: len(text), Head: []byte(text), Outstanding: &b.outstanding}})
}

func (b *book) lose(at time.Time, server membership.ID) {
	b.Replied(at, []Reply{{Backend: server, Bytes: 1, Head: []byte("x"), Outstanding: &b.outstanding, Lost: true}})
}

// span is the numbers from first to last.
func span(first, last uint64) (numbers []uint64) {
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// outcomes shows the turns from the first as one letter each: w(aiting),
// a(nswered), u(ndelivered), s(ilent), d(ropped).
func (b *book) outcomes(now time.Time) (out string) {
	turns, _ := b.Since(now, 0, Size)
	for _, t := range turns {
		out += string(t.Outcome[0])
	}
	return out
}
