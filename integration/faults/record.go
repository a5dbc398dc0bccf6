package faults

import (
	"slices"
	"strings"
)

// Record is what one life of the balancer said of itself: marks, taken again
// and again, and turns. It is pure, and judges only what can be known: a turn
// is forwarded to a server by what the balancer knows at that moment, and the
// record knows that only where it was the same for long enough before and after.
type Record struct {
	Hold  bool // a server that is down keeps its turn
	Marks []Mark
	Turns []Turn // in their order, perhaps with gaps
}

// Mark is the balancer's state at one moment.
type Mark struct {
	Turns   uint64 // so far
	Servers []State
	// Placed: every server is where the balancer takes it to be, so that a
	// turn of server2 is answered by server2.
	Placed bool
}

// State is what the balancer thinks of a server.
type State struct {
	Up    bool
	Since string // when that began
}

// Turn is a line of /api/ledger.
type Turn struct {
	Number uint64 // from 1
	Place  int    // of the server in turn order, from 1
	Reply  string // its beginning; empty: none came that is certainly this turn's
}

// Judge goes through the turns. Known is how many could be judged against the
// turn before, and named how many against who answered.
func (r *Record) Judge() (known, named int, wrong []string) {
	var found problems
	for i := range r.Turns {
		t := r.Turns[i]
		before, after := r.around(t.Number)
		steady := before != nil && slices.Equal(before.Servers, after.Servers)
		if i > 0 && t.Number == r.Turns[i-1].Number+1 && (r.Hold || steady && r.Turns[i-1].Number > before.Turns) {
			last := r.Turns[i-1].Place
			known++
			if want := r.next(last, before); t.Place != want {
				found.add("turn %d is server%d's, the one before was server%d's: want server%d's", t.Number, t.Place, last, want)
			}
		}
		if name := t.Reply[strings.LastIndexByte(t.Reply, ' ')+1:]; name != "" && steady && before.Placed && after.Placed {
			named++
			if name != servers[t.Place-1] {
				found.add("turn %d is server%d's, and was answered %q", t.Number, t.Place, t.Reply)
			}
		}
	}
	return known, named, found.all()
}

// next is whose turn comes after a server's.
func (r *Record) next(place int, m *Mark) int {
	for {
		place = place%len(servers) + 1
		if r.Hold || m.Servers[place-1].Up {
			return place
		}
	}
}

// around is the last mark but one before a turn and the first but one after
// it, nil unless nothing changed between them. One mark would not do: the
// balancer tells its servers' state to the data path and to its record one
// after the other.
func (r *Record) around(turn uint64) (before, after *Mark) {
	i, _ := slices.BinarySearchFunc(r.Marks, turn, func(m Mark, turn uint64) int {
		if m.Turns < turn {
			return -1
		}
		return 1
	}) // the first mark that has seen the turn
	if i < 2 || i+1 >= len(r.Marks) {
		return nil, nil
	}
	around := r.Marks[i-2 : i+2]
	for _, m := range around[1:] {
		if !slices.Equal(m.Servers, around[0].Servers) || m.Placed != around[0].Placed {
			return nil, nil
		}
	}
	return &around[1], &around[2]
}
