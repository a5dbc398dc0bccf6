package balancing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"udplab/services/balancer/internal/membership"
)

// servers is a list of servers that a test changes; every change is a snapshot.
type servers struct {
	list    []membership.Backend
	version uint64 // of the list
}

// newServers returns n servers, all up: server1 with ID 1 and so on.
func newServers(n int) *servers {
	s := &servers{version: 1}
	for range n {
		s.list = append(s.list, newServer(len(s.list)+1))
	}
	return s
}

func newServer(id int) membership.Backend {
	return membership.Backend{ID: membership.ID(id), Name: fmt.Sprintf("server%d", id)}
}

func (s *servers) snapshot() *membership.Snapshot {
	return membership.NewSnapshot(s.version, s.list...)
}

// set changes the state at a place.
func (s *servers) set(place int, state membership.State) {
	b := &s.list[place]
	if b.State = state; state == membership.Trial {
		b.Trials++
	}
}

// change makes the list another.
func (s *servers) change(list []membership.Backend) {
	s.list = list
	s.version++
}

// model is round-robin as one would explain it at a blackboard: the servers stand
// in a line, and whoever has had a turn walks to its end. It shares nothing with
// the code but the type of a turn.
type model struct {
	line     []membership.ID // whose turn comes first, first
	state    map[membership.ID]membership.State
	trials   map[membership.ID]uint64
	tried    map[membership.ID]uint64 // the trial of each that was used last
	whenDown WhenDown
	taken    uint64
}

// apply takes over a snapshot. Who was first of the line and is still there, stays
// first.
func (m *model) apply(s *membership.Snapshot) {
	var list []membership.ID
	m.state = map[membership.ID]membership.State{}
	for _, b := range s.Backends {
		list = append(list, b.ID)
		m.state[b.ID] = b.State
		if b.State == membership.Trial && m.tried[b.ID] == b.Trials {
			m.state[b.ID] = membership.Down
		}
		m.trials[b.ID] = b.Trials
	}
	first := 0
	for _, id := range slices.Backward(m.line) {
		if i := slices.Index(list, id); i >= 0 {
			first = i
		}
	}
	m.line = append(slices.Clone(list[first:]), list[:first]...)
}

// take is what becomes of n datagrams: the numbers of the turns and who has them.
func (m *model) take(n int) (turns []string) {
	for range n {
		if !slices.ContainsFunc(m.line, func(id membership.ID) bool { return m.state[id] != membership.Down }) {
			break
		}
		skipped := 0
		walk := func() (id membership.ID) {
			id, m.line = m.line[0], append(m.line[1:], m.line[0])
			return id
		}
		for m.whenDown != Hold && m.state[m.line[0]] == membership.Down {
			walk()
			skipped++
		}
		id := walk()
		state := m.state[id]
		if state == membership.Trial {
			m.state[id] = membership.Down
			m.tried[id] = m.trials[id]
		}
		m.taken++
		turns = append(turns, fmt.Sprint(m.taken, id, skipped, state == membership.Down, state == membership.Trial))
	}
	return turns
}

// shown is a turn of the code as the model writes it.
func shown(t Turn) string {
	return fmt.Sprint(t.Number, t.Backend.ID, t.Step.Skipped, t.DroppedDown, t.Trial)
}

// twins are the code and the model side by side, and the check of order behind
// them.
type twins struct {
	*servers
	code    *Scheduler
	model   *model
	order   Order
	history []any
	last    Turn
}

func newTwins(n int, whenDown WhenDown) *twins {
	w := &twins{order: NewOrder(), servers: newServers(n), code: New(whenDown), model: &model{whenDown: whenDown, trials: map[membership.ID]uint64{}, tried: map[membership.ID]uint64{}}}
	w.apply()
	return w
}

func (w *twins) apply() {
	s := w.snapshot()
	var states []string
	for _, b := range s.Backends {
		states = append(states, fmt.Sprint(b.ID, b.State))
	}
	w.history = append(w.history, states)
	w.model.apply(s)
	w.code.Apply(s, func(turn uint64) {
		w.order.Apply(s, turn)
		if turn != w.model.taken+1 {
			panic(fmt.Sprintf("the snapshot holds from turn %d, want %d", turn, w.model.taken+1))
		}
	})
}

// take takes a batch of both, and fails the test if they differ.
func (w *twins) take(t *testing.T, n int) {
	t.Helper()
	w.history = append(w.history, n)
	next, ok := w.code.Next()
	turns := make([]Turn, n)
	turns = turns[:w.code.Take(turns)]
	var got []string
	for _, turn := range turns {
		got = append(got, shown(turn))
		if w.last.Number > 0 {
			w.checkOrder(t, w.last, turn)
		}
		w.last = turn
	}
	want := w.model.take(n)
	if !slices.Equal(got, want) {
		t.Fatalf("%v:\ngot  %v\nwant %v", w.history, got, want)
	}
	if n > 0 && (ok != (len(want) > 0) || ok && next != turns[0]) {
		t.Fatalf("%v: the next turn was to be %+v (%v), and %v were taken", w.history, next, ok, got)
	}
}

// checkOrder holds the check of order to the turns that were given: they are in
// order, and the same turns with anything changed are not.
func (w *twins) checkOrder(t *testing.T, a, b Turn) {
	t.Helper()
	if !w.order.Follows(a.Step, b.Step) {
		t.Fatalf("%v: %+v is said not to follow %+v", w.history, b.Step, a.Step)
	}
	wrong := b.Step
	wrong.Place = after(wrong.Place, len(w.list))
	if len(w.list) > 1 && w.order.Follows(a.Step, wrong) {
		t.Fatalf("%v: %+v is said to follow %+v", w.history, wrong, a.Step)
	}
	wrong = b.Step
	wrong.Skipped += len(w.list)
	if w.order.Follows(a.Step, wrong) {
		t.Fatalf("%v: a turn may skip everybody: %+v", w.history, wrong)
	}
}

// Long histories of states and lists.
func TestRandomHistoriesAreTheModels(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		n := 1 + random.IntN(7)
		w := newTwins(n, []WhenDown{Skip, Hold}[seed%2])
		ids := n
		for range 40 {
			for range random.IntN(3) {
				w.set(random.IntN(len(w.list)), membership.State(random.IntN(3)))
			}
			if random.IntN(4) == 0 {
				list := slices.Clone(w.list)
				for range random.IntN(3) {
					if len(list) > 1 {
						i := random.IntN(len(list))
						list = slices.Delete(list, i, i+1)
					}
				}
				for range random.IntN(3) {
					ids++
					list = append(list, newServer(ids))
				}
				if !slices.Equal(list, w.list) {
					w.change(list)
				}
			}
			w.apply()
			w.take(t, random.IntN(2*n+3))
			w.order.Forget(w.last.Number)
		}
	}
}
