package faults

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// kind is a way to break a lab and to mend it.
type kind struct {
	name        string
	servers     int      // how many it happens to
	needs       []string // besides those servers: no two that need the same happen at the same time
	restarts    bool     // the balancer, which does not outlive it
	begin, mend []step
}

// What faults need besides parts of the lab. A balancer that starts while two
// names change places may take them for one address, and refuses.
const (
	resolver = "resolver"
	swapping = "swapping"
)

// restarts are the faults that end the balancer. It saves its turns every
// second, and the last one when it stops in order.
var restarts = []kind{
	{name: "balancer killed", needs: []string{balancer, swapping}, restarts: true,
		begin: []step{(*run).noteTurns, (*run).awaitSaved, on(balancer, end(syscall.SIGKILL))}, mend: []step{(*run).restart}},
	{name: "balancer stopped", needs: []string{balancer, swapping}, restarts: true,
		begin: []step{(*run).noteTurns, on(balancer, end(syscall.SIGTERM))}, mend: []step{(*run).restart}},
}

// others are all other faults. Where servers change places, the resolver learns
// it late.
var others = []kind{
	{name: "killed", servers: 1, begin: []step{end(syscall.SIGKILL)}, mend: []step{(*run).start}},
	{name: "all servers down", servers: len(servers), begin: []step{end(syscall.SIGKILL)}, mend: []step{(*run).start}},
	{name: "frozen", servers: 1, begin: []step{freeze(true)}, mend: []step{freeze(false)}},
	{name: "stopped and forgotten", servers: 1, begin: []step{end(syscall.SIGTERM), (*run).forget}, mend: []step{(*run).start, (*run).tell}},
	{name: "moved", servers: 1, begin: []step{(*run).leave, (*run).move, (*run).start}, mend: []step{(*run).tell}},
	{name: "places swapped", servers: 2, needs: []string{swapping},
		begin: []step{(*run).leave, (*run).swap, (*run).start}, mend: []step{(*run).tell}},
	{name: "replaced by a stranger", servers: 1, needs: []string{guest},
		begin: []step{(*run).leave, (*run).startGuest},
		mend:  []step{(*run).move, (*run).start, (*run).tell, on(guest, end(syscall.SIGTERM))}},
	{name: "resolver silent", needs: []string{resolver}, begin: []step{silence(true)}, mend: []step{silence(false)}},
	{name: "balancer frozen", needs: []string{balancer}, begin: []step{on(balancer, freeze(true))}, mend: []step{on(balancer, freeze(false))}},
}

// fault is one thing that breaks and is mended.
type fault struct {
	kind
	hit   []string      // servers that it happens to
	after time.Duration // the pause before it
	lasts time.Duration
	rest  time.Duration // how long what it needed is left alone afterwards
}

func (f fault) String() string { return strings.Join(append(slices.Clone(f.hit), f.name), " ") }

// How long a fault lasts, and the pause before it: long enough to be noticed,
// short enough for most to overlap.
const (
	shortest, longest = 500 * time.Millisecond, 800 * time.Millisecond
	soonest, latest   = 100 * time.Millisecond, 300 * time.Millisecond
)

// schedule is what breaks, in order and without end: all kinds once, then all
// again in another order, the balancer's restarts in the first half of each. The
// servers that have been whole for longest are hit. It is the same for the same
// seed.
func schedule(seed uint64) iter.Seq[fault] {
	return func(yield func(fault) bool) {
		random := rand.New(rand.NewPCG(seed, 0))
		whole := shuffled(random, servers)
		for {
			rest := shuffled(random, others)
			half := len(rest) / 2
			first := shuffled(random, slices.Concat(restarts, rest[:half]))
			for _, k := range append(first, rest[half:]...) {
				f := fault{kind: k, hit: shuffled(random, whole[:k.servers]), rest: soonest}
				whole = append(whole[k.servers:], f.hit...)
				f.after = soonest + time.Duration(random.Int64N(int64(latest-soonest)))
				f.lasts = shortest + time.Duration(random.Int64N(int64(longest-shortest)))
				if k.restarts {
					f.rest = longest // it is to run for a while before it ends again
				}
				if !yield(f) {
					return
				}
			}
		}
	}
}

// shuffled is a copy in another order.
func shuffled[T any](random *rand.Rand, all []T) []T {
	all = slices.Clone(all)
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
