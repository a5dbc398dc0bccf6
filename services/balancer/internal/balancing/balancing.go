// Package balancing decides whose turn it is.
//
// Every datagram takes one turn. Turns are numbered from 1 since the first start,
// and the policy says which server each goes to. A policy is one file
// (roundrobin.go): it picks, and it says whether one turn may follow another, so
// that the balancer can check itself.
//
// The package is pure: no sockets, no clock, no goroutines. One short lock per
// call makes turns exact for any number of goroutines, also while the state of a
// server changes.
package balancing

import (
	"fmt"
	"maps"
	"sync"

	"udplab/services/balancer/internal/membership"
)

// WhenDown says what becomes of the turn of a server that is down; empty is Skip.
type WhenDown string

const (
	// Skip gives the turn to the next server that is up; the order goes on
	// after that one.
	Skip WhenDown = "skip"
	// Hold leaves the turn with the server, and the datagram is lost, as a
	// client of a balancer that knows nothing of its servers would see it.
	Hold WhenDown = "hold"
)

// UnmarshalText reads "skip" or "hold".
func (w *WhenDown) UnmarshalText(text []byte) error {
	if got := WhenDown(text); got != Skip && got != Hold {
		return fmt.Errorf("%q is neither skip nor hold", text)
	}
	*w = WhenDown(text)
	return nil
}

// Turn is one datagram's right to go to a server.
type Turn struct {
	Number      uint64 // counted from 1 since the first start; 0: no turn
	Step        Step
	Backend     *membership.Backend // whose turn it is, as it was at this moment
	DroppedDown bool                // it is down and keeps its turn: do not send
	Trial       bool                // it is down and this turn tries it
}

// Step is what the order of turns depends on.
type Step struct {
	List    uint64 // the list of servers that the turn was taken from: membership.Snapshot.List
	Place   int    // of the server in that list, counted from 0
	Skipped int    // how many servers were skipped because they are down
}

// policy decides whose turn comes next, and checks it.
type policy interface {
	// pick says which place has the turn when the order has come to next, and how
	// many it skips. At least one server is not down.
	pick(states []membership.State, next int) (place, skipped int)
	// follows says whether turn b may come directly after turn a. lists are the
	// lists from a's to b's.
	follows(a, b Step, lists [][]membership.Backend) bool
}

// Scheduler hands out turns. Its methods may be called by several goroutines.
type Scheduler struct {
	mu       sync.Mutex
	policy   policy
	next     int // the place that the order has come to, also if the server there is down
	snapshot *membership.Snapshot
	states   []membership.State       // by place; the snapshot's, but for trials that have been used
	alive    int                      // how many of them are not down
	used     map[membership.ID]uint64 // the trial of each server that was taken last
	number   uint64                   // of the newest turn
}

// New returns a scheduler for round-robin, which has no servers before Apply.
func New(whenDown WhenDown) *Scheduler {
	return &Scheduler{policy: roundRobin{whenDown}, snapshot: &membership.Snapshot{}, used: map[membership.ID]uint64{}}
}

// Apply makes a snapshot hold from the next turn on. Whose turn is next stays,
// unless that server is gone: then it is its successor's. Before any turn is
// taken, it calls from with the number of that turn.
func (s *Scheduler) Apply(snapshot *membership.Snapshot, from func(turn uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot.List != s.snapshot.List {
		s.next = carryOver(s.next, s.snapshot.Backends, snapshot.Backends)
		maps.DeleteFunc(s.used, func(id membership.ID, _ uint64) bool { return snapshot.Place(id) < 0 })
	}
	s.snapshot, s.states, s.alive = snapshot, s.states[:0], 0
	for _, b := range snapshot.Backends {
		state := b.State
		if state == membership.Trial && s.used[b.ID] == b.Trials {
			state = membership.Down
		}
		if state != membership.Down {
			s.alive++
		}
		s.states = append(s.states, state)
	}
	if from != nil {
		from(s.number + 1)
	}
}

// Take fills turns with consecutive turns and returns how many there are. It is
// fewer than asked for only when no server is up (any more): the rest take no
// turn.
func (s *Scheduler) Take(turns []Turn) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range turns {
		if s.alive == 0 {
			return i
		}
		turn := &turns[i]
		s.fill(turn)
		if turn.Trial {
			s.used[turn.Backend.ID] = turn.Backend.Trials
			s.states[turn.Step.Place] = membership.Down
			s.alive--
		}
		s.number++
		s.next = after(turn.Step.Place, len(s.states))
	}
	return len(turns)
}

// fill makes turn the one that comes next. At least one server is not down.
func (s *Scheduler) fill(turn *Turn) {
	place, skipped := s.policy.pick(s.states, s.next)
	state := s.states[place]
	turn.Number = s.number + 1
	turn.Step = Step{List: s.snapshot.List, Place: place, Skipped: skipped}
	turn.Backend = &s.snapshot.Backends[place]
	turn.DroppedDown, turn.Trial = state == membership.Down, state == membership.Trial
}

// Next is the turn that the next datagram takes; ok is false while no server is
// up, when it would take none.
func (s *Scheduler) Next() (turn Turn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive == 0 {
		return Turn{}, false
	}
	s.fill(&turn)
	return turn, true
}

// Cursor is where the order stands: the number of the newest turn, 0 for none,
// and the place where it goes on in the present list.
func (s *Scheduler) Cursor() (turns uint64, next int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number, s.next
}

// Resume goes on after so many turns with the server at a place. It is to be
// called before the first turn is taken.
func (s *Scheduler) Resume(turns uint64, next int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.next = turns, next
}
