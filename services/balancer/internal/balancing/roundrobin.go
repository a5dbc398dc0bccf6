package balancing

import "udplab/services/balancer/internal/membership"

// roundRobin gives turns to the servers in the order of the list, again and
// again. While all are up, turn t belongs to place (t - 1) mod n. A server that
// is down is skipped (Skip), or keeps its turn and loses the datagram (Hold).
type roundRobin struct {
	whenDown WhenDown
	place    int // whose turn comes next, up or not
}

func (r *roundRobin) pick(states []membership.State) (place, skipped int) {
	place = r.place
	if r.whenDown == Hold {
		return place, 0
	}
	for states[place] == membership.Down {
		place = after(place, len(states))
		skipped++
	}
	return place, skipped
}

func (r *roundRobin) took(place, n int) { r.place = after(place, n) }

func (r *roundRobin) next() int { return r.place }

func (r *roundRobin) setNext(place int) { r.place = place }

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
		for place := range to {
			if to[place].ID == from[next].ID {
				return place
			}
		}
		next = after(next, len(from))
	}
	return 0
}

// follows says whether turn b may come directly after turn a: b's server is the
// next in the circle, but for those that b skipped. lists are the lists from a's to
// b's.
func (roundRobin) follows(a, b Step, lists [][]membership.Backend) bool {
	due := after(a.Place, len(lists[0]))
	for i := range lists[1:] {
		due = carryOver(due, lists[i], lists[i+1])
	}
	n := len(lists[len(lists)-1])
	return b.Skipped < n && b.Place == (due+b.Skipped)%n
}
