package faults

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/integration/lab"
)

// breakThings lets every fault of the schedule begin as soon as what it needs is
// whole, until so long has passed and every kind has been there. Later than in
// the first half the balancer is not restarted again, so that its last life sees
// many faults. It returns at the first error, or when all is mended.
func (r *run) breakThings(ctx context.Context, seed uint64, length time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	whole := map[string]chan struct{}{} // by need: closed when the last fault that has it is over
	begun, kinds := 0, len(restarts)+len(others)
	for f := range schedule(seed) {
		passed, again := time.Since(begin), begun >= kinds
		if ctx.Err() != nil || again && passed > length {
			break
		}
		if again && slices.Contains(restarts, f.kind) && passed > length/2 {
			continue
		}
		begun++
		pause(ctx, f.after)
		over := make(chan struct{})
		for _, need := range f.needs() {
			if earlier := whole[need]; earlier != nil {
				<-earlier
			}
			whole[need] = over
		}
		group.Go(func() error {
			defer close(over)
			if err := r.suffer(ctx, f, begin); err != nil {
				return fmt.Errorf("%v: %w", f, err)
			}
			pause(ctx, f.rest())
			return nil
		})
	}
	return group.Wait()
}

// suffer is one fault from its beginning to its end.
func (r *run) suffer(ctx context.Context, f fault, begin time.Time) error {
	inflict, mend := r.steps(f)
	r.Logf("%6.2f s  %v", time.Since(begin).Seconds(), f)
	until := time.Now().Add(f.lasts)
	if err := inOrder(ctx, inflict); err != nil {
		return err
	}
	pause(ctx, time.Until(until))
	err := inOrder(ctx, mend)
	r.Logf("%6.2f s  %v: over", time.Since(begin).Seconds(), f)
	return err
}

// step is a part of what a fault does.
type step func(context.Context) error

// inOrder takes steps one after the other until one fails.
func inOrder(ctx context.Context, steps []step) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	for _, take := range steps {
		if err := take(ctx); err != nil {
			return err
		}
	}
	return nil
}

// together makes one step of several that are taken at the same time.
func together(steps ...step) step {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, take := range steps {
			group.Go(func() error { return take(ctx) })
		}
		return group.Wait()
	}
}

// steps is how a fault begins and how it is mended.
func (r *run) steps(f fault) (inflict, mend []step) {
	var a string
	if len(f.servers) > 0 {
		a = f.servers[0]
	}
	switch f.kind {
	case killed:
		return []step{r.end(a, syscall.SIGKILL)}, []step{r.start(a)}
	case frozen:
		return []step{r.freeze(a, true)}, []step{r.freeze(a, false)}
	case stopped:
		return []step{r.end(a, syscall.SIGTERM), r.forget(a)}, []step{r.start(a), r.tell(a)}
	case moved:
		return []step{r.leave(a), r.move(a), r.start(a)}, []step{r.tell(a)}
	case swapped:
		b := f.servers[1]
		return []step{r.leave(a), r.leave(b), r.swap(a, b), r.start(a), r.start(b)}, []step{r.tell(a, b)}
	case usurped:
		return []step{r.leave(a), r.startGuest(a)}, []step{r.move(a), r.start(a), r.tell(a), r.end(guest, syscall.SIGTERM)}
	case allDown:
		var ends, starts []step
		for _, server := range f.servers {
			ends, starts = append(ends, r.end(server, syscall.SIGKILL)), append(starts, r.start(server))
		}
		return []step{together(ends...)}, []step{together(starts...)}
	case lost:
		return []step{r.silence(true)}, []step{r.silence(false)}
	case died:
		// It saves its turns by itself, every second by promise: it dies once
		// those of this moment are saved, however long a busy disk takes.
		return []step{r.noteTurns, r.awaitSaved, r.end(balancer, syscall.SIGKILL)}, []step{r.restart}
	case ended: // a stop saves the last turn
		return []step{r.noteTurns, r.end(balancer, syscall.SIGTERM)}, []step{r.restart}
	}
	return []step{r.freeze(balancer, true)}, []step{r.freeze(balancer, false)} // stalled
}

// place is where a ping server is and where it moves to. Nobody else is at
// either, but for a guest where it has just been.
type place struct {
	at, spare netip.Addr
	away      bool // on its way from one to the other
}

// change changes where servers are.
func (r *run) change(do func(places map[string]*place)) step {
	return func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		do(r.where)
		return nil
	}
}

// move lets a server that does not run start elsewhere next time.
func (r *run) move(server string) step {
	return r.change(func(where map[string]*place) {
		p := where[server]
		p.at, p.spare = p.spare, p.at
	})
}

// swap lets two servers that do not run start in each other's place next time.
func (r *run) swap(a, b string) step {
	return r.change(func(where map[string]*place) { where[a], where[b] = where[b], where[a] })
}

// places is where the servers really are, those left out that are on their way.
func (r *run) places() map[string]netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]netip.Addr{}
	for server, p := range maps.All(r.where) {
		if !p.away {
			all[server] = p.at
		}
	}
	return all
}

// at is where a server is or starts next time.
func (r *run) at(server string) netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.where[server].at
}

func (r *run) start(server string) step {
	return func(ctx context.Context) error {
		if err := r.lab.Start(ctx, server, r.at(server)); err != nil {
			return err
		}
		return r.change(func(where map[string]*place) { where[server].away = false })(ctx)
	}
}

// startGuest starts a stranger where a server has just been.
func (r *run) startGuest(server string) step {
	return func(ctx context.Context) error { return r.lab.Start(ctx, guest, r.at(server)) }
}

// end ends a part by a signal.
func (r *run) end(part string, signal syscall.Signal) step {
	return func(ctx context.Context) error {
		_, err := r.lab.End(ctx, part, signal)
		return err
	}
}

// leave stops a server that is going to be elsewhere.
func (r *run) leave(server string) step {
	return func(ctx context.Context) error {
		away := r.change(func(where map[string]*place) { where[server].away = true })
		return inOrder(ctx, []step{away, r.end(server, syscall.SIGTERM)})
	}
}

func (r *run) freeze(part string, frozen bool) step {
	return func(ctx context.Context) error { return r.lab.Freeze(ctx, part, frozen) }
}

// tell tells the resolver where these servers are, all at once.
func (r *run) tell(servers ...string) step {
	return func(context.Context) error {
		news := map[string]netip.Addr{}
		for _, server := range servers {
			news[server] = r.at(server)
		}
		r.Names.Set(news)
		return nil
	}
}

// forget takes a server's name out of the resolver.
func (r *run) forget(server string) step {
	return func(context.Context) error { r.Names.Set(map[string]netip.Addr{server: {}}); return nil }
}

func (r *run) silence(silent bool) step {
	return func(context.Context) error { r.Names.Silence(silent); return nil }
}
