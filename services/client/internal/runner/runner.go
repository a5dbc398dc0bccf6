// Package runner carries out a plan of pings or of a load over the network, and shows
// what happens.
package runner

import (
	"context"
	"fmt"
	"os"
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
	Dial    transport.Dialer
	// StatusRequests has something when somebody asks how far the run is.
	StatusRequests <-chan os.Signal
}

// Pings sends pings until the plan is carried out or the context ends, and tells
// show every event. The error is nil if there was an answer and every limit was
// kept; program.ExitCode knows the others.
func (r Runner) Pings(ctx context.Context, plan ping.Plan, show func(event any)) (found ping.Results, err error) {
	sockets, err := transport.Open(ctx, r.Dial, r.Target, 1)
	if err != nil {
		return found, r.cannotReach(err)
	}
	defer sockets.Close()
	show(ping.Started{Target: r.Target, Addr: sockets.Addr, Plan: plan})
	run := ping.NewRun(plan, show)
	err = sockets.Drive(ctx, run, r.StatusRequests, show)
	found = run.Results(time.Now())
	err = r.verdict(err, found)
	show(ping.Ended{Target: r.Target, Results: found, Exit: program.ExitCode(err)})
	return found, err
}

// Load carries out a load, as Pings does pings.
func (r Runner) Load(ctx context.Context, plan load.Plan, show func(event any)) error {
	sockets, err := transport.Open(ctx, r.Dial, r.Target, plan.Clients)
	if err != nil {
		return r.cannotReach(err)
	}
	defer sockets.Close()
	show(load.Started{Target: r.Target, Addr: sockets.Addr, Plan: plan})
	run := load.NewRun(plan, time.Now())
	err = sockets.Drive(ctx, run, r.StatusRequests, show)
	found := run.Results(time.Now())
	err = r.verdict(err, found)
	show(load.Ended{Target: r.Target, Results: found, Exit: program.ExitCode(err)})
	return err
}

// verdict is what a run ends with: that its sockets failed, or what its results say.
func (r Runner) verdict(failed error, found interface{ Verdict(maxLoss float64) error }) error {
	if failed != nil {
		return r.cannotReach(failed)
	}
	return found.Verdict(r.MaxLoss)
}

// cannotReach marks an error about the target as exit code 2.
func (r Runner) cannotReach(err error) error {
	return program.CannotStart(fmt.Errorf("target %s: %w", r.Target, err))
}
