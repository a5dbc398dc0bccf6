package faults

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is a way to break a lab.
type Kind string

// The ways to break a lab. Each is mended after a while: what ended is started
// again, what was frozen thaws, and the resolver learns where everybody is.
const (
	Killed  Kind = "killed"           // a server dies; its name stays
	Frozen  Kind = "frozen"           // a server answers nothing, and everything when it thaws
	Stopped Kind = "stopped"          // a server ends, and its name is gone
	Moved   Kind = "moved"            // a server starts again elsewhere, the resolver learning it late
	Swapped Kind = "places swapped"   // two servers have each other's address, the resolver learning it late
	Usurped Kind = "usurped"          // a server ends and a stranger has its address, the resolver learning it late
	AllDown Kind = "all servers down" // every server dies
	Lost    Kind = "resolver gone"    // no name can be looked up
	Died    Kind = "balancer killed"  // and its state file stays
	Ended   Kind = "balancer stopped" // in order, its state file saved
	Stalled Kind = "balancer frozen"  // datagrams wait in the kernel
)

// restarts are the faults that a balancer does not outlive.
var restarts = []Kind{Died, Ended}

// others are all other faults.
var others = []Kind{Killed, Frozen, Stopped, Moved, Swapped, Usurped, AllDown, Lost, Stalled}

// Fault is one thing that breaks and is mended. Times are since the beginning.
type Fault struct {
	Kind    Kind
	Servers []string // that it happens to; nil if to none
	At      time.Duration
	Mend    time.Duration
}

func (f Fault) String() string {
	if len(f.Servers) == 0 || f.Kind == AllDown {
		return string(f.Kind)
	}
	return strings.Join(f.Servers, " and ") + " " + string(f.Kind)
}

// needs is what a fault needs for itself: no two that need the same happen at
// the same time.
func (f Fault) needs() []string {
	switch f.Kind {
	case Died, Ended:
		// A balancer that starts while two names change places may take them for
		// one address, and refuses.
		return []string{balancer, swapping}
	case Stalled:
		return []string{balancer}
	case Lost:
		return []string{resolver}
	case Usurped:
		return append([]string{guest}, f.Servers...)
	case Swapped:
		return append([]string{swapping}, f.Servers...)
	}
	return f.Servers
}

// What faults need beside parts of the lab.
const (
	resolver = "resolver"
	swapping = "swapping"
)

// How long a fault lasts, and how long after one begins the next does if
// nothing it needs is taken: long enough to be noticed, short enough for most
// to overlap.
const (
	shortest, longest = 500 * time.Millisecond, 800 * time.Millisecond
	soonest, latest   = 100 * time.Millisecond, 300 * time.Millisecond
)

// rest is how long what a fault needed is left alone afterwards: a balancer is
// to have a life before it loses it again.
func (f Fault) rest() time.Duration {
	if slices.Contains(restarts, f.Kind) {
		return longest
	}
	return soonest
}

// Schedule is what breaks in so long a time, and when: all kinds in an order
// of their own, then all again in another. It is the same for the same seed. In
// its second half the balancer does not restart any more, so that its last life,
// which is looked at for what it left open, has seen many faults.
func Schedule(seed uint64, length time.Duration) (faults []Fault) {
	dice := rand.New(rand.NewPCG(seed, 0))
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(dice.Int64N(int64(high-low))) }
	taken := map[string]time.Duration{} // until when
	at := time.Duration(0)
	for {
		for _, kind := range deck(dice) {
			if slices.Contains(restarts, kind) && at > length/2 {
				continue
			}
			at += between(soonest, latest)
			f := Fault{Kind: kind, Servers: victims(dice, kind, taken)}
			for _, need := range f.needs() {
				at = max(at, taken[need])
			}
			f.At, f.Mend = at, at+between(shortest, longest)
			if f.Mend > length {
				return faults
			}
			for _, need := range f.needs() {
				taken[need] = f.Mend + f.rest()
			}
			faults = append(faults, f)
		}
	}
}

// deck is every kind once, shuffled, the balancer's restarts in its first half.
func deck(dice *rand.Rand) []Kind {
	shuffle := func(kinds []Kind) {
		dice.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	}
	rest := slices.Clone(others)
	shuffle(rest)
	half := len(rest) / 2
	first := append(slices.Clone(restarts), rest[:half]...)
	shuffle(first)
	return append(first, rest[half:]...)
}

// victims are the servers that a fault happens to: those that have been whole
// for longest, or any that are.
func victims(dice *rand.Rand, kind Kind, taken map[string]time.Duration) []string {
	n := map[Kind]int{Killed: 1, Frozen: 1, Stopped: 1, Moved: 1, Usurped: 1, Swapped: 2, AllDown: len(servers)}[kind]
	if n == 0 {
		return nil
	}
	chosen := slices.Clone(servers)
	dice.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	slices.SortStableFunc(chosen, func(a, b string) int { return cmp.Compare(taken[a], taken[b]) })
	return chosen[:n]
}
