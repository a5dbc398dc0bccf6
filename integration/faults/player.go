package faults

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"udplab/integration/lab"
)

// player breaks a lab by a schedule and mends it. It knows where every ping
// server really is.
type player struct {
	Lab
	// said is told of every beginning and end.
	said func(format string, args ...any)
	// usurped is told that a stranger is about to answer.
	usurped func()
	// saved returns once so many turns are in the balancer's state file.
	saved func(ctx context.Context, turns uint64) error
	// ended is told that the balancer has ended in this way, after so many turns
	// at least, and is about to be started again; check is called once it runs.
	ended func(kind Kind, turns uint64) (check func(context.Context) error, err error)
	// seen is how many turns the balancer has had at least.
	seen func() uint64

	mu    sync.Mutex
	where map[string]netip.Addr // by ping server; none while it is on its way
	going map[string]netip.Addr // by ping server that is on its way: the place that it takes
	turns uint64                // that the balancer had had before it ended
}

// newPlayer returns a player for a lab in which nothing runs.
func newPlayer(l Lab) *player {
	return &player{
		Lab: l, where: map[string]netip.Addr{}, going: map[string]netip.Addr{},
		said:    func(string, ...any) {},
		usurped: func() {},
		saved:   func(context.Context, uint64) error { return nil },
		seen:    func() uint64 { return 0 },
		ended: func(Kind, uint64) (func(context.Context) error, error) {
			return func(context.Context) error { return nil }, nil
		},
	}
}

// open starts the ping servers, which the resolver then knows, and the
// balancer.
func (p *player) open(ctx context.Context) error {
	for _, server := range servers {
		if err := p.start(ctx, server, p.choose(server)); err != nil {
			return err
		}
	}
	p.tell(servers...)
	return p.Start(ctx, balancer, netip.Addr{})
}

// play lets every fault begin and end in its time, or as soon after it as what
// it needs is whole again; on a machine so slow that all takes twice its time,
// the rest is left out. It returns at the first error, or when all is mended.
func (p *player) play(ctx context.Context, faults []Fault) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	begin := time.Now()
	whole := map[string]chan struct{}{} // by need: closed when the last fault that has it is over
	var wg sync.WaitGroup
	for _, f := range faults {
		over := make(chan struct{})
		var before []chan struct{}
		for _, need := range f.needs() {
			if earlier := whole[need]; earlier != nil {
				before = append(before, earlier)
			}
			whole[need] = over
		}
		wg.Go(func() {
			defer close(over)
			for _, earlier := range before {
				<-earlier
			}
			pause(ctx, time.Until(begin.Add(f.At)))
			if ctx.Err() != nil {
				return
			}
			if last := faults[len(faults)-1]; time.Since(begin) > 2*last.Mend {
				p.said("%v: left out, it is late", f)
				return
			}
			if err := p.suffer(ctx, f); err != nil {
				fail(fmt.Errorf("%v: %w", f, err))
			}
			pause(ctx, f.rest())
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// suffer is one fault from its beginning to its end.
func (p *player) suffer(ctx context.Context, f Fault) error {
	step := func(do func(context.Context, Fault) error) error {
		ctx, cancel := context.WithTimeout(ctx, lab.Patience)
		defer cancel()
		return do(ctx, f)
	}
	p.said("%v", f)
	begin := time.Now()
	if err := step(p.inflict); err != nil {
		return err
	}
	pause(ctx, time.Until(begin.Add(f.Mend-f.At)))
	err := step(p.mend)
	p.said("%v: over", f)
	return err
}

// inflict is how a fault begins.
func (p *player) inflict(ctx context.Context, f Fault) error {
	switch f.Kind {
	case Killed, AllDown:
		return p.each(f.Servers, func(server string) error { return p.end(ctx, server, syscall.SIGKILL) })
	case Frozen:
		return p.Freeze(ctx, f.Servers[0], true)
	case Stopped:
		if err := p.end(ctx, f.Servers[0], syscall.SIGTERM); err != nil {
			return err
		}
		p.Site().Names.Set(map[string]netip.Addr{f.Servers[0]: {}})
		return nil
	case Moved:
		if _, err := p.leave(ctx, f.Servers[0]); err != nil {
			return err
		}
		return p.start(ctx, f.Servers[0], p.choose(f.Servers[0]))
	case Swapped:
		return p.swap(ctx, f.Servers[0], f.Servers[1])
	case Usurped:
		place, err := p.leave(ctx, f.Servers[0])
		if err != nil {
			return err
		}
		p.usurped()
		return p.start(ctx, guest, place)
	case Lost:
		p.Site().Names.Silence(true)
		return nil
	case Died:
		// It saves its turns by itself, every second by promise: it dies once
		// those of this moment are saved, however long a busy disk takes.
		p.turns = p.seen()
		if err := p.saved(ctx, p.turns); err != nil {
			return err
		}
		return p.end(ctx, balancer, syscall.SIGKILL)
	case Ended:
		p.turns = p.seen() // a stop saves the last turn
		return p.end(ctx, balancer, syscall.SIGTERM)
	case Stalled:
		return p.Freeze(ctx, balancer, true)
	}
	return fmt.Errorf("nobody knows how that begins")
}

// mend is how a fault ends.
func (p *player) mend(ctx context.Context, f Fault) error {
	switch f.Kind {
	case Killed, AllDown:
		return p.each(f.Servers, func(server string) error { return p.Start(ctx, server, p.at(server)) })
	case Frozen:
		return p.Freeze(ctx, f.Servers[0], false)
	case Stopped:
		if err := p.Start(ctx, f.Servers[0], p.at(f.Servers[0])); err != nil {
			return err
		}
		p.tell(f.Servers...)
		return nil
	case Moved, Swapped:
		p.tell(f.Servers...)
		return nil
	case Usurped:
		if err := p.start(ctx, f.Servers[0], p.choose(f.Servers[0])); err != nil {
			return err
		}
		p.tell(f.Servers...)
		_, err := p.leave(ctx, guest)
		return err
	case Lost:
		p.Site().Names.Silence(false)
		return nil
	case Died, Ended:
		return p.revive(ctx, f.Kind)
	case Stalled:
		return p.Freeze(ctx, balancer, false)
	}
	return fmt.Errorf("nobody knows how that ends")
}

// end ends a part by a signal.
func (p *player) end(ctx context.Context, part string, signal syscall.Signal) error {
	_, err := p.End(ctx, part, signal)
	return err
}

// each does something with every server and returns the first error.
func (p *player) each(servers []string, do func(server string) error) error {
	for _, server := range servers {
		if err := do(server); err != nil {
			return err
		}
	}
	return nil
}

// at is where a ping server is.
func (p *player) at(server string) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.where[server]
}

// places is where the servers really are, those left out that are on their way.
func (p *player) places() map[string]netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.where)
}

// choose chooses a place for a ping server at which nobody is, nobody is going
// to be, and the resolver knows nobody.
func (p *player) choose(server string) netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, place := range p.Site().Places {
		taken := false
		for _, known := range []map[string]netip.Addr{p.where, p.going, p.Site().Names.places()} {
			for _, other := range known {
				taken = taken || other == place
			}
		}
		if !taken {
			p.going[server] = place
			return place
		}
	}
	return netip.Addr{} // no lab has so few places
}

// start starts a ping server at a place.
func (p *player) start(ctx context.Context, server string, place netip.Addr) error {
	if err := p.Start(ctx, server, place); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.going, server)
	p.where[server] = place
	return nil
}

// leave stops a ping server that is going to be elsewhere, or nowhere, and
// returns where it was.
func (p *player) leave(ctx context.Context, server string) (place netip.Addr, err error) {
	p.mu.Lock()
	place = p.where[server]
	delete(p.where, server)
	p.going[server] = place // it is still there
	p.mu.Unlock()
	err = p.end(ctx, server, syscall.SIGTERM)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.going, server)
	return place, err
}

// swap restarts two servers in each other's place.
func (p *player) swap(ctx context.Context, a, b string) error {
	atA, err := p.leave(ctx, a)
	if err != nil {
		return err
	}
	atB, err := p.leave(ctx, b)
	if err != nil {
		return err
	}
	if err := p.start(ctx, a, atB); err != nil {
		return err
	}
	return p.start(ctx, b, atA)
}

// tell tells the resolver where these servers are, all at once.
func (p *player) tell(servers ...string) {
	news := map[string]netip.Addr{}
	for _, server := range servers {
		news[server] = p.at(server)
	}
	p.Site().Names.Set(news)
}

// revive starts the balancer again.
func (p *player) revive(ctx context.Context, kind Kind) error {
	check, err := p.ended(kind, p.turns)
	if err != nil {
		return err
	}
	if err := p.Start(ctx, balancer, netip.Addr{}); err != nil {
		return err
	}
	return check(ctx)
}
