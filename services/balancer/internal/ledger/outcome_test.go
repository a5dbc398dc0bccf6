package ledger

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// counts shows what a backend's turns have come to.
func (b *book) counts(at time.Time, i int) string {
	s := b.Snapshot(at).Backends[i]
	return fmt.Sprintf("answered %d, late %d, silent %d, waiting %d, untold %d", s.Answered, s.Late, s.Silent, s.Waiting, s.Unresolved)
}

func TestSilenceIsCountedUntilAnAnswerComesAfterAll(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2)
	b.reply(ms(5), 0, "x")
	expect := func(at, backend int, want string) {
		t.Helper()
		if got := b.counts(ms(at), backend); got != want {
			t.Errorf("after %d ms: %s, want %s", at, got, want)
		}
	}
	expect(999, 0, "answered 1, late 0, silent 0, waiting 0, untold 0")
	expect(999, 1, "answered 0, late 0, silent 0, waiting 1, untold 0")
	expect(1000, 1, "answered 0, late 0, silent 1, waiting 0, untold 0")
	b.reply(ms(1200), 1, "x")
	expect(1200, 1, "answered 1, late 1, silent 0, waiting 0, untold 0")
	b.reply(ms(1300), 2, "x") // silent, but nobody has looked since
	expect(1300, 2, "answered 1, late 1, silent 0, waiting 0, untold 0")
}

func TestAReplyThatTheClientDoesNotGetIsNoAnswer(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2)
	b.lose(ms(5), 0)
	b.Snapshot(ms(1000))
	b.lose(ms(1200), 1) // it had been counted as silent
	if got := b.outcomes(ms(1200)); got != "uus" {
		t.Errorf("got %s", got)
	}
	if turn, _ := b.Turn(ms(1200), 0); turn.RTT != 5*time.Millisecond || !turn.Exact {
		t.Errorf("its server took %v, exact: %v", turn.RTT, turn.Exact)
	}
	for i, want := range []uint64{1, 1, 0} {
		s := b.Snapshot(ms(1200)).Backends[i]
		if s.Lost != want || s.Undelivered != want || s.Answered != 0 || s.Silent != 1-want {
			t.Errorf("server%d: %+v", i+1, s)
		}
	}
}

func TestATurnThatTheRingForgetsIsSilentOrUntold(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0)
	b.forward(ms(500), 1, 2)
	for n := uint64(3); n < Size+2; n++ {
		b.Received(ms(1100), []Request{{Client: client, Turn: n, Backend: int(n % 3), Disposition: DroppedDown}})
	}
	if got, want := b.counts(ms(1100), 0), "answered 0, late 0, silent 1, waiting 0, untold 0"; got != want {
		t.Errorf("after the answer timeout: %s, want %s", got, want)
	}
	if got, want := b.counts(ms(1100), 1), "answered 0, late 0, silent 0, waiting 0, untold 1"; got != want {
		t.Errorf("before: %s, want %s", got, want)
	}
}

// Whatever comes in whatever order, what is waiting is what is left.
func TestEveryForwardedTurnIsCountedOnce(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBook()
		at, number := start, uint64(0)
		for range 5000 {
			at = at.Add(time.Duration(random.IntN(2000)) * time.Microsecond)
			switch random.IntN(5) {
			case 0, 1:
				for range random.IntN(10) {
					b.forward(at, number)
					number++
				}
			case 2:
				b.reply(at, random.IntN(3), "x")
			case 3:
				b.Snapshot(at)
			case 4:
				b.lose(at, random.IntN(3))
			}
		}
		turns, missed := b.Since(at, 0, Size)
		var ring [3]map[Outcome]uint64
		for i := range ring {
			ring[i] = map[Outcome]uint64{}
		}
		for _, turn := range turns {
			ring[turn.Backend][turn.Outcome]++
		}
		for i, s := range b.Snapshot(at).Backends {
			if s.Waiting != ring[i][Waiting] || s.Forwarded != s.Answered+s.Undelivered+s.Silent+s.Waiting+s.Unresolved {
				t.Fatalf("seed %d, %d turns forgotten: %s, in the ring %v", seed, missed, b.counts(at, i), ring[i])
			}
		}
	}
}

func TestTheFirstTurnOfAClientIsMarked(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2, 3) // three backends: three Pendings of one session
	other := netip.MustParseAddrPort("192.0.2.7:41731")
	b.Received(ms(1), []Request{{Client: other, Turn: 4, Backend: 1, Disposition: DroppedDown}}) // no Outstanding at all
	var again Outstanding
	b.Received(ms(2), []Request{{Client: client, Turn: 5, Backend: 2, Outstanding: &again}}) // a new session, a known address
	turns, _ := b.Since(ms(2), 0, Size)
	got := ""
	for _, turn := range turns {
		if turn.First {
			got += fmt.Sprint(turn.Number, " ")
		}
	}
	s := b.Snapshot(ms(2))
	if got != "0 4 " || s.Clients != 2 || s.Newest != (Run{other, ms(1), 4, 1, 0}) {
		t.Errorf("first turns are %s; %d clients, the newest %+v", got, s.Clients, s.Newest)
	}
}

func TestAFloodOfClientsDoesNotFillTheMemory(t *testing.T) {
	var c clientele
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 4000)
	}
	for i := range 10 * clientsKept {
		if !c.meet(addr(i)) {
			t.Fatalf("client %d is not new", i)
		}
		if c.meet(addr(0)) && i < clientsKept {
			t.Fatalf("client 0 was forgotten after %d others", i)
		}
	}
	if len(c.young)+len(c.old) > 2*clientsKept {
		t.Errorf("%d clients remembered", len(c.young)+len(c.old))
	}
	if last := 10*clientsKept - 1; c.meet(addr(last)) {
		t.Error("the last client was forgotten at once")
	}
}

func TestTurnsAreReadAgain(t *testing.T) {
	b := newBook()
	b.forward(ms(0), 0, 1, 2)
	b.reply(ms(1), 1, "x")
	turns := b.Turns(ms(2), []uint64{1, 2, 3, Size + 1})
	if len(turns) != 2 || turns[0].Outcome != Answered || turns[1].Outcome != Waiting {
		t.Errorf("got %+v", turns)
	}
}
