package balancing

import (
	"slices"

	"udplab/services/balancer/internal/membership"
)

// Order checks the order of turns after the fact, by the policy's own rule. It
// remembers the lists that turns were taken from. Its methods are for one
// goroutine at a time.
type Order struct {
	policy policy
	first  uint64 // the number of lists[0]
	lists  [][]membership.Backend
	from   []uint64 // the first turn that may have been taken from each
}

// NewOrder returns the check for the policy of New, which knows no list yet.
func NewOrder() Order { return Order{policy: roundRobin{}} }

// Apply tells that a snapshot's list holds from a turn on. Lists count up one by
// one.
func (o *Order) Apply(s *membership.Snapshot, turn uint64) {
	switch {
	case len(o.lists) == 0:
		o.first = s.List
	case s.List < o.first+uint64(len(o.lists)): // only states have changed
		return
	}
	o.lists = append(o.lists, s.Backends)
	o.from = append(o.from, turn)
}

// Forget drops the lists that no turn from this one on was taken from.
func (o *Order) Forget(turn uint64) {
	for len(o.from) > 1 && o.from[1] <= turn {
		o.first++
		o.lists, o.from = slices.Delete(o.lists, 0, 1), slices.Delete(o.from, 0, 1)
	}
}

// Before is whose turn comes before a step's, skipped servers left aside, if the
// list has not changed in between; nil if the list is forgotten.
func (o *Order) Before(s Step) *membership.Backend {
	if s.List < o.first {
		return nil
	}
	list := o.lists[s.List-o.first]
	n := len(list)
	return &list[((s.Place-1-s.Skipped)%n+n)%n]
}

// Follows says whether turn b may come directly after turn a, as far as the lists
// between them are still known.
func (o *Order) Follows(a, b Step) bool {
	if a.List > b.List {
		return false
	}
	if a.List < o.first {
		return true
	}
	return o.policy.follows(a, b, o.lists[a.List-o.first:b.List-o.first+1])
}

// after is the place after one of n in the circle.
func after(place, n int) int {
	if place++; place < n {
		return place
	}
	return 0
}

// carryOver finds the place, in another list, of the server whose turn is next. If
// it is gone, its turn is that of the first after it that is still there; if none
// is, that of the first server.
func carryOver(next int, from, to []membership.Backend) int {
	for range from {
		same := func(b membership.Backend) bool { return b.ID == from[next].ID }
		if place := slices.IndexFunc(to, same); place >= 0 {
			return place
		}
		next = after(next, len(from))
	}
	return 0
}
