package faults

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is a way to break a lab.
type kind string

// The ways to break a lab. Each is mended after a while: what ended is started
// again, what was frozen thaws, and the resolver learns where everything is.
const (
	killed  kind = "killed"           // a server dies; its name stays
	frozen  kind = "frozen"           // a server answers nothing, and everything when it thaws
	stopped kind = "stopped"          // a server ends, and its name is gone
	moved   kind = "moved"            // a server starts again elsewhere, the resolver learning it late
	swapped kind = "places swapped"   // two servers have each other's address, the resolver learning it late
	usurped kind = "usurped"          // a server ends and a stranger has its address, the resolver learning it late
	allDown kind = "all servers down" // every server dies
	lost    kind = "resolver gone"    // no name can be looked up
	died    kind = "balancer killed"  // and its state file stays
	ended   kind = "balancer stopped" // in order, its state file saved
	stalled kind = "balancer frozen"  // datagrams wait in the kernel
)

// restarts are the faults that a balancer does not outlive.
var restarts = []kind{died, ended}

// others are all other faults.
var others = []kind{killed, frozen, stopped, moved, swapped, usurped, allDown, lost, stalled}

// victims is how many servers a fault happens to.
var victims = map[kind]int{killed: 1, frozen: 1, stopped: 1, moved: 1, usurped: 1, swapped: 2, allDown: len(servers)}

// fault is one thing that breaks and is mended.
type fault struct {
	kind
	servers []string      // that it happens to
	after   time.Duration // the pause before it
	lasts   time.Duration
}

func (f fault) String() string {
	if len(f.servers) == 0 || f.kind == allDown {
		return string(f.kind)
	}
	return strings.Join(f.servers, " and ") + " " + string(f.kind)
}

// What faults need besides parts of the lab.
const (
	resolver = "resolver"
	swapping = "swapping"
)

// needs is what a fault needs for itself: no two that need the same happen at
// the same time.
func (f fault) needs() []string {
	switch f.kind {
	case died, ended:
		// A balancer that starts while two names change places may take them for
		// one address, and refuses.
		return []string{balancer, swapping}
	case stalled:
		return []string{balancer}
	case lost:
		return []string{resolver}
	case usurped:
		return append([]string{guest}, f.servers...)
	case swapped:
		return append([]string{swapping}, f.servers...)
	}
	return f.servers
}

// rest is how long what a fault needed is left alone afterwards: a balancer is
// to run for a while before it ends again.
func (f fault) rest() time.Duration {
	if slices.Contains(restarts, f.kind) {
		return longest
	}
	return soonest
}

// How long a fault lasts, and the pause before it: long enough to be noticed,
// short enough for most to overlap.
const (
	shortest, longest = 500 * time.Millisecond, 800 * time.Millisecond
	soonest, latest   = 100 * time.Millisecond, 300 * time.Millisecond
)

// schedule is what breaks, in order and without end: all kinds once, then all
// again in another order. The servers that have been whole for longest are hit.
// It is the same for the same seed.
func schedule(seed uint64) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		random := rand.New(rand.NewPCG(seed, 0))
		whole := shuffled(random, servers)
		for {
			for _, k := range round(random) {
				hit := shuffled(random, whole[:victims[k]])
				whole = append(whole[len(hit):], hit...)
				f := fault{k, hit, soonest + jitter(random, latest-soonest), shortest + jitter(random, longest-shortest)}
				if !yield(f) {
					return
				}
			}
		}
	}
}

func jitter(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// round is every kind once, the balancer's restarts in its first half: so the
// balancer's last life, which is looked at for what it left open, sees faults.
func round(random *rand.Rand) []kind {
	rest := shuffled(random, others)
	half := len(rest) / 2
	return append(shuffled(random, slices.Concat(restarts, rest[:half])), rest[half:]...)
}

// shuffled is a copy in another order.
func shuffled[T any](random *rand.Rand, all []T) []T {
	all = slices.Clone(all)
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
