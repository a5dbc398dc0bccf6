// Package runner runs pings or a load over sockets: it sends what is due, takes in
// what arrives, and shows what happens.
package runner

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
	"udplab/services/client/internal/transport"
	"udplab/services/kit/program"
)

// Runner has everything that one run after the other needs.
type Runner struct {
	Target  string // HOST:PORT
	MaxLoss float64
	// OpenPings and OpenLoad open the sockets of pings and of a load.
	OpenPings, OpenLoad transport.Opener
}

// Pings sends pings until the plan is carried out or the context ends, and tells
// show every event. The error is nil if there was an answer and every limit was
// kept; program.ExitCode knows the others.
func (r Runner) Pings(ctx context.Context, plan ping.Plan, show func(event any)) (ping.Results, error) {
	sockets, addr, err := r.OpenPings(ctx, r.Target, 1)
	if err != nil {
		return ping.Results{}, r.cannotReach(err)
	}
	defer sockets.Close()
	show(ping.Started{Target: r.Target, Addr: addr, Plan: plan})
	run := ping.NewRun(plan, show)
	err = r.cannotReach(loop(ctx, sockets, run, show))
	found := run.Results(time.Now())
	if err == nil {
		err = found.Verdict(r.MaxLoss)
	}
	show(ping.Ended{Target: r.Target, Results: found, Exit: program.ExitCode(err)})
	return found, err
}

// Load carries out a load, as Pings does pings.
func (r Runner) Load(ctx context.Context, plan load.Plan, show func(event any)) error {
	sockets, addr, err := r.OpenLoad(ctx, r.Target, plan.Clients)
	if err != nil {
		return r.cannotReach(err)
	}
	defer sockets.Close()
	show(load.Started{Target: r.Target, Addr: addr, Plan: plan})
	run := load.NewRun(plan, time.Now())
	err = r.cannotReach(loop(ctx, sockets, run, show))
	found := run.Results(time.Now())
	if err == nil {
		err = found.Verdict(r.MaxLoss)
	}
	show(load.Ended{Target: r.Target, Results: found, Exit: program.ExitCode(err)})
	return err
}

// cannotReach marks an error about the target as a reason not to start: exit code
// 2. nil stays nil.
func (r Runner) cannotReach(err error) error {
	if err == nil {
		return nil
	}
	return program.CannotStart(fmt.Errorf("target %s: %w", r.Target, err))
}

// traffic is what a loop drives: the decisions of a ping.Run or a load.Run.
type traffic interface {
	// Expire gives up on what has waited for too long.
	Expire(now time.Time)
	// Send sends what is due.
	Send(now time.Time, send func(client int, payloads [][]byte))
	// Receive takes in a datagram, and Undelivered why one was not delivered.
	Receive(client int, payload string, at time.Time)
	Undelivered(why string, at time.Time)
	// Next is when one of the first two has something to do although nothing
	// arrives; over says that they never will.
	Next(now time.Time) (at time.Time, over bool)
	// Status and Progress are events that say how far the run is.
	Status(now time.Time) any
	Progress(now time.Time) any
}

// progressEvery is how often people who watch are told how far it is.
const progressEvery = 500 * time.Millisecond

// loop drives a run until it is over, the context ends, or the sockets fail, which
// is its error.
func loop(ctx context.Context, sockets transport.Transport, run traffic, show func(event any)) error {
	asked, stop := wakeUp(ctx, sockets)
	defer stop()
	refused := func(err error) { run.Undelivered(transport.Reason(err), time.Now()) }
	send := func(client int, payloads [][]byte) { sockets.Send(client, payloads, refused) }
	var failed error
	arrived := func(a transport.Arrival) {
		switch {
		case failed != nil:
		case a.Failed != nil:
			failed = a.Failed
		case a.Undelivered != "":
			run.Undelivered(a.Undelivered, a.At)
		default:
			run.Receive(a.Client, a.Payload, a.At)
		}
	}

	progressAt := time.Now().Add(progressEvery)
	for failed == nil {
		now := time.Now()
		run.Expire(now)
		if ctx.Err() != nil {
			return nil
		}
		run.Send(now, send)
		next, over := run.Next(now)
		if over {
			return nil
		}
		if asked.Swap(false) {
			show(run.Status(now))
			progressAt = now
		}
		if !now.Before(progressAt) {
			show(run.Progress(now))
			progressAt = now.Add(progressEvery)
		}
		if progressAt.Before(next) {
			next = progressAt
		}
		sockets.Receive(time.Until(next), arrived)
	}
	return failed
}

// StatusRequests hears SIGQUIT (Ctrl-\), as ping does, until stop is called. Windows
// never sends it.
func StatusRequests() (requests <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT)
	return signals, func() { signal.Stop(signals) }
}

// wakeUp wakes the sockets when the context ends, and when somebody asks how far
// the run is, which it also notes. After stop it does so no more.
func wakeUp(ctx context.Context, sockets transport.Transport) (asked *atomic.Bool, stop func()) {
	asked = new(atomic.Bool)
	requests, stopRequests := StatusRequests()
	done := make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() {
		for {
			select {
			case <-requests:
				asked.Store(true)
				sockets.Wake()
			case <-ctx.Done():
				sockets.Wake()
				return
			case <-done:
				return
			}
		}
	})
	return asked, func() {
		stopRequests()
		close(done)
		waiter.Wait()
	}
}
