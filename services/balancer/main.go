// The balancer hands every UDP datagram to the next server in strict order and
// carries the replies back. This file wires its rooms together; the way of a
// datagram begins in internal/datapath.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/balancer/internal/api"
	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/datapath"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/persist"
	"udplab/services/balancer/internal/session"
	"udplab/services/balancer/internal/turnlog"
	"udplab/services/balancer/internal/view"
	"udplab/services/kit/config"
	"udplab/services/kit/program"
)

func main() {
	program.Main("balancer", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	})
}

// run is the balancer from its arguments to its exit.
func run(ctx context.Context, args, environ []string, stdout io.Writer) error {
	check := len(args) > 0 && args[0] == "healthcheck"
	if check {
		args = args[1:]
	}
	cfg, warnings, err := load(args, environ)
	if errors.Is(err, config.ErrHelp) {
		config.Help(stdout, usage, cfg)
		return nil
	}
	if err != nil {
		return err
	}
	if check {
		return healthcheck(ctx, cfg)
	}
	log := cfg.Logger(stdout)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	b, err := open(ctx, cfg, log)
	if ctx.Err() != nil && err != nil {
		return nil // told to stop before it had started
	}
	if err != nil {
		return program.CannotStart(err)
	}
	return b.serve(ctx)
}

// balancer is everything that is open.
type balancer struct {
	cfg       *settings
	log       *slog.Logger
	scheduler *balancing.Scheduler
	ledger    *ledger.Ledger
	members   *membership.Members
	path      datapath.DataPath
	self      *session.SelfAddrs // the listener's, which no server may have
	page      net.Listener       // nil: off
	state     *persist.Store     // nil: off
}

// open opens everything and starts nothing, or opens nothing.
func open(ctx context.Context, cfg *settings, log *slog.Logger) (*balancer, error) {
	b := &balancer{
		cfg: cfg, log: log,
		scheduler: balancing.New(cfg.WhenDown),
		ledger:    ledger.New(cfg.AnswerTimeout, time.Now()),
		self:      session.NewSelfAddrs(net.InterfaceAddrs),
	}
	b.members = membership.New(membership.Config{
		Servers: cfg.Backends, ResolveInterval: cfg.ResolveInterval,
		Probe: membership.Probe{
			Payload: cfg.Probe, Interval: cfg.ProbeInterval, Timeout: cfg.ProbeTimeout,
			Rise: cfg.ProbeRise, Fall: cfg.ProbeFall,
		},
		Apply: b.apply, IsSelf: func(addr netip.AddrPort) bool { return b.self.Contains(time.Now(), addr) },
	})
	var err error
	wrong := func(variable, value, want string) {
		err = errors.Join(err, config.Problem{Name: variable, Value: value, Want: want})
	}
	b.listen(ctx, wrong)
	if err == nil {
		failed := b.members.Resolve(ctx, func(entry, want string) { wrong("BALANCER_BACKENDS", entry, want) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	if cfg.StateFile != "" {
		b.resume()
	}
	return b, nil
}

// close closes what open has opened, for a balancer that is not going to serve.
func (b *balancer) close() {
	if b.path != nil {
		b.path.Close()
	}
	if b.page != nil {
		b.page.Close()
	}
}

// apply makes a snapshot of the servers hold from the next turn on. The ledger
// knows of it before that turn is taken.
func (b *balancer) apply(now time.Time, s *membership.Snapshot) {
	b.scheduler.Apply(s, func(turn uint64) { b.ledger.Apply(now, s, turn) })
}

// listen opens the clients' port and the page's.
func (b *balancer) listen(ctx context.Context, wrong func(variable, value, want string)) {
	var err error
	b.path, err = datapath.Open(ctx, datapath.Config{
		Listen: string(b.cfg.Listen), SessionIdle: b.cfg.SessionIdle, MaxSessions: b.cfg.MaxSessions, ClientRate: b.cfg.ClientRate, Drain: b.cfg.Drain,
		Kind: b.cfg.DataPath, Workers: b.cfg.Workers,
		Scheduler: b.scheduler, Ledger: b.ledger, Members: b.members,
	})
	if err == nil {
		b.self.Add(b.path.Addr())
	} else {
		wrong("BALANCER_LISTEN", string(b.cfg.Listen), fmt.Sprintf("an address that is free here (%v)", err))
	}
	if b.cfg.HTTP == "" {
		return
	}
	if b.page, err = api.Listen(ctx, string(b.cfg.HTTP)); err != nil {
		wrong("BALANCER_HTTP", string(b.cfg.HTTP), fmt.Sprintf("an address that is free here, or empty for no page (%v)", err))
	}
}

// pageGrace is how long an answer of the page that is under way may take at the
// stop, if the drain allows.
const pageGrace = 500 * time.Millisecond

// serve runs until the context ends or the data path dies.
func (b *balancer) serve(ctx context.Context) error {
	b.announce()
	// What watches the data path ends after it. The page ends beside it, so that its
	// readers do not make the stop longer than the drain.
	watchCtx, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	pageCtx, stopPage := context.WithCancel(ctx)
	defer stopPage()
	var alive atomic.Bool
	var watchers sync.WaitGroup
	watchers.Go(func() { b.members.Run(watchCtx) })
	watchers.Go(func() {
		turnlog.Run(watchCtx, turnlog.Config{Ledger: b.ledger, Log: b.log, WhenDown: b.cfg.WhenDown, AnswerTimeout: b.cfg.AnswerTimeout})
	})
	watchers.Go(func() { b.state.Keep(watchCtx, b.cursor) })
	if b.page != nil {
		server := api.New(b.page, api.Config{
			Ledger: b.ledger, Scheduler: b.scheduler, Alive: alive.Load, Hosts: b.cfg.HTTPHosts, HostsFrom: "BALANCER_HTTP_HOSTS", Facts: b.facts(),
			KernelDrops: b.path.KernelDrops, Grace: min(b.cfg.Drain, pageGrace),
		})
		watchers.Go(func() {
			if err := server.Serve(pageCtx); err != nil {
				b.log.Error(fmt.Sprintf("the page is gone: %v", err))
			}
		})
	}

	alive.Store(true)
	err := b.path.Run(ctx)
	alive.Store(false)
	stopPage()
	stopWatching()
	watchers.Wait()
	b.sumUp()
	return err
}

func (b *balancer) facts() view.Facts {
	return view.Facts{
		Version: version(), Listen: b.path.Addr().String(),
		DataPath: string(b.cfg.DataPath.Choose()), WhenDown: string(b.cfg.WhenDown),
		AnswerTimeout: float64(b.cfg.AnswerTimeout) / float64(time.Millisecond),
	}
}

// version is the module's version as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
