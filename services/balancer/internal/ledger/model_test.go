package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"udplab/services/balancer/internal/membership"
)

// model is the ledger as one would keep it on paper, which has room for all turns
// and for a stack of unanswered ones at each server.
type model struct {
	turns   []paperTurn // by number; 0 is none
	waiting map[membership.ID][]int
	fresh   map[membership.ID]bool // no reply since the newest
}

type paperTurn struct {
	server       membership.ID
	at           time.Time
	outcome      Outcome // empty: no reply yet
	rtt          time.Duration
	exact, fresh bool
}

// kept says whether the ring still has a turn.
func (m *model) kept(number int) bool { return number >= len(m.turns)-Size }

func (m *model) record(t paperTurn) {
	if t.outcome == "" {
		m.waiting[t.server] = append(m.waiting[t.server], len(m.turns))
		m.fresh[t.server] = true
	}
	m.turns = append(m.turns, t)
}

func (m *model) reply(at time.Time, server membership.ID, outcome Outcome) {
	stack := m.waiting[server]
	n := len(stack)
	if n == 0 || !m.kept(stack[n-1]) {
		delete(m.waiting, server)
		return
	}
	t := &m.turns[stack[n-1]]
	t.outcome, t.rtt, t.fresh = outcome, at.Sub(t.at), m.fresh[server]
	t.exact = t.fresh && (n == 1 || !m.kept(stack[n-2]) || at.Sub(m.turns[stack[n-2]].at) >= time.Minute)
	m.waiting[server], m.fresh[server] = stack[:n-1], false
}

// count is what is to be said of the turns of some servers together.
func (m *model) count(now time.Time, of func(membership.ID) bool) (b Counters, waiting uint64) {
	for number, t := range m.turns {
		if number == 0 || !of(t.server) {
			continue
		}
		b.Turns++
		if t.outcome == Dropped {
			continue
		}
		b.Forwarded++
		until := now
		if !m.kept(number) {
			until = m.turns[number+Size].at
		}
		switch {
		case t.outcome == Undelivered:
			b.Undelivered++
		case t.outcome == Answered && t.rtt >= time.Second:
			b.Late++
			fallthrough
		case t.outcome == Answered:
			b.Answered++
		case until.Sub(t.at) >= time.Second:
			b.Silent++
		case m.kept(number):
			waiting++
		default:
			b.Unresolved++
		}
		if t.fresh {
			b.RTT.Count++
			b.RTT.Sum += t.rtt
		}
	}
	return b, waiting
}

// Whatever comes in whatever order, the ledger says what the model says, also of
// servers that have been removed.
func TestTheLedgerAgreesWithAModel(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBook(0)
		m := model{turns: make([]paperTurn, 1), waiting: map[membership.ID][]int{}, fresh: map[membership.ID]bool{}}
		at, newest, replied := start, membership.ID(3), uint64(0)
		check := func(s Backend, of func(membership.ID) bool) uint64 {
			got := Counters{Turns: s.Turns, Forwarded: s.Forwarded, Answered: s.Answered, Late: s.Late, Undelivered: s.Undelivered,
				Silent: s.Silent, Unresolved: s.Unresolved, RTT: Latencies{Count: s.RTT.Count, Sum: s.RTT.Sum}}
			want, waiting := m.count(at, of)
			if got != want || s.Waiting() != waiting {
				t.Fatalf("seed %d, turn %d, server %d:\ngot  %+v, %d waiting\nwant %+v, %d waiting", seed, b.Last(), s.ID, got, s.Waiting(), want, waiting)
			}
			return waiting
		}
		for range 2000 {
			at = at.Add(time.Duration(random.IntN(3)) * 50 * time.Millisecond) // so that limits are met exactly
			server := newest - membership.ID(random.IntN(4))
			switch what := random.IntN(100); {
			case what < 2: // the list changes
				backends := slices.Clone(b.snapshot.Backends[random.IntN(2):])
				if len(backends) < 4 {
					newest++
					backends = append(backends, up(newest))
				}
				b.apply(at, backends...)
			case what < 40: // turns are taken, now and then very many
				n, outcome, record := random.IntN(5), Outcome(""), b.forward
				if what == 2 {
					n = random.IntN(Size * 5 / 4)
				}
				if what < 6 {
					outcome, record = Dropped, b.drop
				}
				for range n {
					number := uint64(len(m.turns))
					record(at, number)
					m.record(paperTurn{server: b.take(number).Backend.ID, at: at, outcome: outcome})
				}
			case what < 70:
				b.reply(at, server, "x")
				m.reply(at, server, Answered)
				replied++
			case what < 80:
				b.lose(at, server)
				m.reply(at, server, Undelivered)
			default:
				b.Snapshot(at)
			}
		}
		s := b.Snapshot(at)
		waiting := check(s.Removed, func(id membership.ID) bool { return b.snapshot.Backend(id) == nil })
		for _, server := range s.Backends {
			waiting += check(server, func(id membership.ID) bool { return id == server.ID })
		}
		if s.OrderViolations != 0 || s.Replied != replied || waiting != b.Waiting(at) {
			t.Fatalf("seed %d: %d violations, %d replies of %d, %d waiting of %d", seed, s.OrderViolations, s.Replied, replied, b.Waiting(at), waiting)
		}
		turns, _ := b.Since(at, 0, Size)
		for _, turn := range turns {
			want := m.turns[turn.Number]
			if want.outcome == "" {
				want.outcome = Waiting
				if at.Sub(want.at) >= time.Second {
					want.outcome = Silent
				}
			}
			if turn.Outcome != want.outcome || turn.Backend != want.server || turn.Server != up(want.server).Name || turn.RTT != want.rtt || turn.Exact != want.exact {
				t.Fatalf("seed %d: got %+v, want %+v", seed, turn, want)
			}
		}
	}
}
