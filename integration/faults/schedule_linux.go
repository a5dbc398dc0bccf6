package faults

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/integration/lab"
)

// fault is one thing that breaks and is mended.
type fault struct {
	kind
	hit   []string // what it happens to
	lasts time.Duration
}

func (f fault) String() string {
	return fmt.Sprint(strings.Join(f.hit, " "), " ", f.name, " for ", f.lasts)
}

// How long a fault lasts, and the pause before the next: long enough to be
// noticed, short enough for most to overlap.
const (
	shortest, longest = 500 * time.Millisecond, 800 * time.Millisecond
	between           = 200 * time.Millisecond
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
			round := shuffled(random, others)
			half := len(round) / 2
			round = append(shuffled(random, slices.Concat(restarts, round[:half])), round[half:]...)
			for _, k := range round {
				f := fault{k, []string{k.part}, shortest + time.Duration(random.Int64N(int64(longest-shortest)))}
				if k.servers > 0 {
					f.hit = shuffled(random, whole[:k.servers])
					whole = append(whole[k.servers:], f.hit...)
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

// breakThings lets every fault of the schedule begin as soon as what it needs is
// whole, until so long has passed and every kind has been there. Later than in
// the first half the balancer is not restarted again, so that its last life,
// which is looked at for what it left open, sees many faults. It returns at the
// first error, or when all is mended.
func (r *run) breakThings(ctx context.Context, seed uint64, length time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	whole := map[string]chan struct{}{} // by need: closed when the last fault that has it is over
	begun := 0
	for f := range schedule(seed) {
		passed, again := time.Since(begin), begun >= len(restarts)+len(others)
		if ctx.Err() != nil || again && passed > length {
			break
		}
		if again && f.restarts && passed > length/2 {
			continue
		}
		begun++
		pause(ctx, between)
		over := make(chan struct{})
		for _, need := range append(f.hit, f.needs...) {
			if earlier := whole[need]; earlier != nil {
				<-earlier
			}
			whole[need] = over
		}
		group.Go(func() error {
			defer close(over)
			r.Logf("%6.2f s  %v", time.Since(begin).Seconds(), f)
			until := time.Now().Add(f.lasts)
			if err := r.inOrder(ctx, f.hit, f.begin...); err != nil {
				return fmt.Errorf("%v: %w", f, err)
			}
			pause(ctx, time.Until(until))
			if err := r.inOrder(ctx, f.hit, f.mend...); err != nil {
				return fmt.Errorf("%v, being mended: %w", f, err)
			}
			r.Logf("%6.2f s  %v: over", time.Since(begin).Seconds(), f)
			if f.restarts {
				pause(ctx, longest) // it is to run for a while before it ends again
			}
			return nil
		})
	}
	return group.Wait()
}

// inOrder takes steps one after the other until one fails.
func (r *run) inOrder(ctx context.Context, parts []string, steps ...step) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	for _, take := range steps {
		if err := take(r, ctx, parts); err != nil {
			return err
		}
	}
	return nil
}
