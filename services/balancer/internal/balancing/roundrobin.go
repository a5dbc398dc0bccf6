package balancing

import "udplab/services/balancer/internal/membership"

// roundRobin gives turns to the servers in the order of the list, again and
// again. While all are up, turn t belongs to place (t - 1) mod n. A server that
// is down is skipped (Skip), or keeps its turn and loses the datagram (Hold).
type roundRobin struct{ whenDown WhenDown }

func (r roundRobin) pick(states []membership.State, next int) (place, skipped int) {
	for place = next; r.whenDown != Hold && states[place] == membership.Down; skipped++ {
		place = after(place, len(states))
	}
	return place, skipped
}

// follows wants b's server to be the next in the circle after a's, but for those
// that b skipped.
func (roundRobin) follows(a, b Step, lists [][]membership.Backend) bool {
	due := after(a.Place, len(lists[0]))
	for i := range lists[1:] {
		due = carryOver(due, lists[i], lists[i+1])
	}
	n := len(lists[len(lists)-1])
	return b.Skipped < n && b.Place == (due+b.Skipped)%n
}
