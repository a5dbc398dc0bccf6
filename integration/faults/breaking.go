package faults

import (
	"context"
	"fmt"
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
	if err := inOrder(ctx, inflict...); err != nil {
		return err
	}
	pause(ctx, time.Until(until))
	err := inOrder(ctx, mend...)
	r.Logf("%6.2f s  %v: over", time.Since(begin).Seconds(), f)
	return err
}

// step is a part of what a fault does.
type step func(context.Context) error

// inOrder takes steps one after the other until one fails.
func inOrder(ctx context.Context, steps ...step) error {
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
		return []step{r.leave(a), r.startAs(guest, a)}, []step{r.move(a), r.start(a), r.tell(a), r.end(guest, syscall.SIGTERM)}
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

// change is a step that changes where parts are, or what the resolver says.
func (r *run) change(do func()) step {
	return func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		do()
		return nil
	}
}

// move lets a server that does not run start elsewhere next time.
func (r *run) move(server string) step {
	return r.change(func() {
		p := r.where[server]
		p.at, p.spare = p.spare, p.at
	})
}

// swap lets two servers that do not run start in each other's place next time.
func (r *run) swap(a, b string) step {
	return r.change(func() { r.where[a], r.where[b] = r.where[b], r.where[a] })
}

// tell tells the resolver where these servers are, all at once.
func (r *run) tell(servers ...string) step {
	return r.change(func() {
		news := map[string]netip.Addr{}
		for _, server := range servers {
			news[server] = r.where[server].at
		}
		r.Names.Set(news)
	})
}

// forget takes a server's name out of the resolver.
func (r *run) forget(server string) step {
	return r.change(func() { r.Names.Set(map[string]netip.Addr{server: {}}) })
}

func (r *run) silence(silent bool) step {
	return r.change(func() { r.Names.Silence(silent) })
}

// places is where the servers really are, those left out that are on their way.
func (r *run) places() map[string]netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]netip.Addr{}
	for server, p := range r.where {
		if !p.away {
			all[server] = p.at
		}
	}
	return all
}

func (r *run) start(server string) step {
	return func(ctx context.Context) error {
		arrive := r.change(func() { r.where[server].away = false })
		return inOrder(ctx, r.startAs(server, server), arrive)
	}
}

// startAs starts a part, which may be a stranger, where a server belongs.
func (r *run) startAs(part, server string) step {
	return func(ctx context.Context) error {
		r.mu.Lock()
		at := r.where[server].at
		r.mu.Unlock()
		return r.lab.Start(ctx, part, at)
	}
}

// leave stops a server that is going to be elsewhere.
func (r *run) leave(server string) step {
	return func(ctx context.Context) error {
		depart := r.change(func() { r.where[server].away = true })
		return inOrder(ctx, depart, r.end(server, syscall.SIGTERM))
	}
}

// end ends a part by a signal.
func (r *run) end(part string, signal syscall.Signal) step {
	return func(ctx context.Context) error {
		_, err := r.lab.End(ctx, part, signal)
		return err
	}
}

func (r *run) freeze(part string, frozen bool) step {
	return func(ctx context.Context) error { return r.lab.Freeze(ctx, part, frozen) }
}
