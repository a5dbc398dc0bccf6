package balancing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"udplab/services/balancer/internal/membership"
)

// servers is servers whose states a test changes.
type servers []membership.Backend

// started is a scheduler for n servers, all up: server1 with ID 1 and so on.
func started(n int, whenDown WhenDown) (servers, *Scheduler) {
	list, s := make(servers, n), New(whenDown)
	for i := range list {
		list[i].ID = membership.ID(i + 1)
	}
	s.Apply(list.snapshot())
	return list, s
}

func (s servers) snapshot() *membership.Snapshot { return membership.NewSnapshot(slices.Clone(s)...) }

// set changes the state at a place.
func (s servers) set(place int, state membership.State) {
	b := &s[place]
	if b.State = state; state == membership.Trial {
		b.Trials++
	}
}

// model is round-robin as one would explain it at a blackboard: the servers stand
// in a line, and whoever has had a turn walks to its end. It shares nothing with
// the code but the types.
type model struct {
	whenDown WhenDown
	servers  servers
	line     []int    // places; whose turn comes first, first
	used     []uint64 // by place; the trial that was used last
	taken    uint64
}

// state is a server's; one whose trial has been used is down.
func (m *model) state(place int) membership.State {
	if b := m.servers[place]; b.State != membership.Trial || b.Trials > m.used[place] {
		return b.State
	}
	return membership.Down
}

// walk sends the first of the line to its end.
func (m *model) walk() (place int) {
	place, m.line = m.line[0], append(m.line[1:], m.line[0])
	return place
}

// take is the turns of n datagrams.
func (m *model) take(n int) (turns []string) {
	alive := func(place int) bool { return m.state(place) != membership.Down }
	for range n {
		if !slices.ContainsFunc(m.line, alive) {
			break
		}
		skipped := 0
		for ; m.whenDown != Hold && !alive(m.line[0]); skipped++ {
			m.walk()
		}
		place := m.walk()
		state := m.state(place)
		if state == membership.Trial {
			m.used[place] = m.servers[place].Trials
		}
		m.taken++
		turns = append(turns, fmt.Sprint(m.taken, m.servers[place].ID, place, skipped, state == membership.Down, state == membership.Trial))
	}
	return turns
}

// shown is a turn of the code as the model writes it.
func shown(t Turn) string {
	return fmt.Sprint(t.Number, t.Backend.ID, t.Step.Place, t.Step.Skipped, t.DroppedDown, t.Trial)
}

// Long histories of states. The code's turns are the model's, and by the check of
// order they follow each other, and would not if they were any others.
func TestRandomHistoriesAreTheModels(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		n, whenDown := 1+random.IntN(7), []WhenDown{Skip, Hold}[seed%2]
		list, code := started(n, whenDown)
		m := &model{whenDown: whenDown, servers: list, used: make([]uint64, n)}
		for place := range n {
			m.line = append(m.line, place)
		}
		var last Turn
		for step := range 40 {
			for range random.IntN(3) {
				list.set(random.IntN(n), membership.State(random.IntN(3)))
			}
			code.Apply(list.snapshot())
			next, ok := code.Next()
			turns := make([]Turn, random.IntN(2*n+3))
			taken := turns[:code.Take(turns)]
			var got []string
			for _, turn := range taken {
				got = append(got, shown(turn))
				if last.Number > 0 {
					checkOrder(t, last.Step, turn.Step, n)
				}
				last = turn
			}
			if want := m.take(len(turns)); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d, %s:\ngot  %v\nwant %v", seed, step, whenDown, got, want)
			}
			if len(turns) > 0 && (ok != (len(taken) > 0) || ok && next != taken[0]) {
				t.Fatalf("seed %d, step %d: the next turn was to be %+v (%v), and %v were taken", seed, step, next, ok, got)
			}
		}
	}
}

// checkOrder holds the check of order to two turns of n servers in a row.
func checkOrder(t *testing.T, a, b Step, n int) {
	t.Helper()
	if !Follows(a, b, n) {
		t.Fatalf("%+v is said not to follow %+v", b, a)
	}
	if wrong := (Step{after(b.Place, n), b.Skipped}); n > 1 && Follows(a, wrong, n) {
		t.Fatalf("%+v is said to follow %+v", wrong, a)
	}
	if wrong := (Step{b.Place, b.Skipped + n}); Follows(a, wrong, n) {
		t.Fatalf("a turn may skip everybody: %+v", wrong)
	}
}
