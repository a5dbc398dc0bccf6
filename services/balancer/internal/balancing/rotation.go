// Package balancing decides whose turn it is.
//
// The backends stand in a circle in the order of configuration. Every datagram
// takes one turn, turns are numbered from 0, and each goes to the backend after
// the one that had the turn before. While all are up, turn t belongs to backend
// t mod N. A backend that is down is passed over (Skip) or keeps its turn and
// loses the datagram (Hold).
//
// The package is pure: no sockets, no clock, no names. Backends are known by
// their place, counted from 0. One short lock per call makes turns exact for
// any number of goroutines, also while the state of a backend changes.
package balancing

import (
	"fmt"
	"sync"
)

// WhenDown says what becomes of the turn of a backend that is down.
type WhenDown uint8

const (
	// Skip gives the turn to the next backend that is up; the rotation goes
	// on after that one.
	Skip WhenDown = iota
	// Hold leaves the turn with the backend, and the datagram is lost, as a
	// client of a balancer that knows nothing of its servers would see it.
	Hold
)

func (w WhenDown) String() string {
	if w == Hold {
		return "hold"
	}
	return "skip"
}

// UnmarshalText reads "skip" or "hold".
func (w *WhenDown) UnmarshalText(text []byte) error {
	switch string(text) {
	case "skip":
		*w = Skip
	case "hold":
		*w = Hold
	default:
		return fmt.Errorf("%q is neither skip nor hold", text)
	}
	return nil
}

// State is what the rotation knows of a backend.
type State uint8

const (
	// Up has its turns.
	Up State = iota
	// Down has none (Skip) or loses them (Hold).
	Down
	// Trial is down, but the next turn that comes to it is sent, to see
	// whether it lives. Taking that turn makes it Down again.
	Trial
)

// Turn is one place in the rotation.
type Turn struct {
	Number      uint64 // counted from 0 since the first start
	Backend     int    // whose turn it is
	Skipped     int    // how many backends were passed over because they are down
	DroppedDown bool   // the backend is down and keeps its turn: do not send
	Trial       bool   // the backend is down and this turn tries it
}

// Rotation hands out turns. Its methods may be called by several goroutines.
type Rotation struct {
	whenDown WhenDown // never changes

	mu     sync.Mutex
	states []State
	up     int    // how many are Up
	trials int    // how many are on Trial
	next   int    // whose place in the circle comes next, up or not
	number uint64 // of the next turn
}

// New returns a rotation over n ≥ 1 backends, all up, whose first turn is
// number 0 and belongs to backend 0.
func New(n int, whenDown WhenDown) *Rotation {
	return &Rotation{whenDown: whenDown, states: make([]State, n), up: n}
}

// Take fills turns with consecutive turns and returns how many there are. It
// is fewer than asked for only when no backend is up (any more): the rest take
// no turn.
func (r *Rotation) Take(turns []Turn) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up == len(r.states) { // nothing to pass over
		for i := range turns {
			turns[i] = Turn{Number: r.number, Backend: r.next}
			r.number++
			r.next = r.after(r.next)
		}
		return len(turns)
	}
	for i := range turns {
		if r.up == 0 && r.trials == 0 {
			return i
		}
		turns[i] = r.takeOne()
	}
	return len(turns)
}

// takeOne takes a turn while not all backends are up, but one can be asked.
func (r *Rotation) takeOne() Turn {
	turn := r.peek()
	if turn.Trial {
		r.set(turn.Backend, Down)
	}
	r.number++
	r.next = r.after(turn.Backend)
	return turn
}

// peek is the turn that comes next, if one can be asked.
func (r *Rotation) peek() Turn {
	turn := Turn{Number: r.number, Backend: r.next}
	if r.whenDown == Skip {
		turn.Backend, turn.Skipped = r.firstFrom(r.next)
	}
	state := r.states[turn.Backend]
	turn.DroppedDown, turn.Trial = state == Down, state == Trial
	return turn
}

// firstFrom finds the first backend from place i on that is not Down, and how
// many it passed over. There must be one.
func (r *Rotation) firstFrom(i int) (backend, passed int) {
	for r.states[i] == Down {
		i = r.after(i)
		passed++
	}
	return i, passed
}

// after is the place in the circle after i.
func (r *Rotation) after(i int) int {
	if i++; i < len(r.states) {
		return i
	}
	return 0
}

// Set changes what the rotation knows of a backend. The turn that is taken
// next obeys it.
func (r *Rotation) Set(backend int, state State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(backend, state)
}

func (r *Rotation) set(backend int, state State) {
	r.count(r.states[backend], -1)
	r.states[backend] = state
	r.count(state, +1)
}

func (r *Rotation) count(state State, by int) {
	switch state {
	case Up:
		r.up += by
	case Trial:
		r.trials += by
	}
}

// Next is the turn that the next datagram takes; ok is false while no backend is
// up, when it would take none.
func (r *Rotation) Next() (turn Turn, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up == 0 && r.trials == 0 {
		return Turn{}, false
	}
	return r.peek(), true
}

// State is what the rotation knows of a backend.
func (r *Rotation) State(backend int) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[backend]
}

// Cursor is where the rotation stands: the number of the next turn and whose
// place comes next. Resume goes on from there.
func (r *Rotation) Cursor() (number uint64, next int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.number, r.next
}

// Resume makes the rotation go on where another stood. It is to be called
// before the first turn is taken.
func (r *Rotation) Resume(number uint64, next int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number, r.next = number, next
}
