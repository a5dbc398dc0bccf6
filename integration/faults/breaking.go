package faults

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/integration/lab"
)

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
		pause(ctx, f.after)
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
			pause(ctx, f.rest)
			return nil
		})
	}
	return group.Wait()
}

// step is a part of what a fault does to some parts of the lab.
type step func(r *run, ctx context.Context, parts []string) error

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

// on is a step that is taken with one part, whatever the fault happens to.
func on(part string, take step) step {
	return func(r *run, ctx context.Context, _ []string) error { return take(r, ctx, []string{part}) }
}

// each is a step that does something with all parts at the same time.
func each(do func(r *run, ctx context.Context, part string) error) step {
	return func(r *run, ctx context.Context, parts []string) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, part := range parts {
			group.Go(func() error { return do(r, ctx, part) })
		}
		return group.Wait()
	}
}

func end(signal syscall.Signal) step {
	return each(func(r *run, ctx context.Context, part string) error {
		_, err := r.lab.End(ctx, part, signal)
		return err
	})
}

func freeze(frozen bool) step {
	return each(func(r *run, ctx context.Context, part string) error { return r.lab.Freeze(ctx, part, frozen) })
}

func silence(silent bool) step {
	return func(r *run, _ context.Context, _ []string) error { r.Names.Silence(silent); return nil }
}

// place is where a ping server is and where it moves to. Nobody else is at
// either, but for a guest where it has just been.
type place struct {
	at, spare netip.Addr
	away      bool // on its way from one to the other
}

// find is a server's place as it is now.
func (r *run) find(server string) place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.where[server]
}

// places is where the servers really are, those left out that are on their way.
func (r *run) places() map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for _, server := range servers {
		if p := r.find(server); !p.away {
			all[server] = p.at
		}
	}
	return all
}

// change changes servers' places.
func (r *run) change(servers []string, do func(p *place)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, server := range servers {
		do(r.where[server])
	}
}

// leave stops servers that are going to be elsewhere.
func (r *run) leave(ctx context.Context, servers []string) error {
	r.change(servers, func(p *place) { p.away = true })
	return end(syscall.SIGTERM)(r, ctx, servers)
}

// start starts servers where they belong.
func (r *run) start(ctx context.Context, servers []string) error {
	return each(func(r *run, ctx context.Context, server string) error {
		err := r.lab.Start(ctx, server, r.find(server).at)
		r.change([]string{server}, func(p *place) { p.away = p.away && err != nil })
		return err
	})(r, ctx, servers)
}

// startGuest starts a stranger where a server has just been.
func (r *run) startGuest(ctx context.Context, servers []string) error {
	return r.lab.Start(ctx, guest, r.find(servers[0]).at)
}

// move lets servers that do not run start elsewhere next time.
func (r *run) move(_ context.Context, servers []string) error {
	r.change(servers, func(p *place) { p.at, p.spare = p.spare, p.at })
	return nil
}

// swap lets two servers that do not run start in each other's place next time.
func (r *run) swap(_ context.Context, servers []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, b := servers[0], servers[1]
	r.where[a], r.where[b] = r.where[b], r.where[a]
	return nil
}

// tell tells the resolver where servers are, all at once.
func (r *run) tell(_ context.Context, servers []string) error {
	news := map[string]netip.Addr{}
	for _, server := range servers {
		news[server] = r.find(server).at
	}
	r.Names.Set(news)
	return nil
}

// forget takes servers' names out of the resolver.
func (r *run) forget(_ context.Context, servers []string) error {
	news := map[string]netip.Addr{}
	for _, server := range servers {
		news[server] = netip.Addr{}
	}
	r.Names.Set(news)
	return nil
}
