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
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
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
	err := b.listen(ctx)
	if err == nil {
		err = b.members.Resolve(ctx)
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
func (b *balancer) listen(ctx context.Context) error {
	var problems config.Problems
	var err error
	b.path, err = datapath.Open(ctx, datapath.Config{
		Listen: string(b.cfg.Listen), SessionIdle: b.cfg.SessionIdle, MaxSessions: b.cfg.MaxSessions, ClientRate: b.cfg.ClientRate, Drain: b.cfg.Drain,
		Kind: b.cfg.DataPath, Workers: b.cfg.Workers,
		Scheduler: b.scheduler, Ledger: b.ledger, Members: b.members,
	})
	if err == nil {
		b.self.Add(b.path.Addr())
	} else {
		problems = append(problems, config.Problem{Name: "BALANCER_LISTEN", Value: string(b.cfg.Listen), Want: fmt.Sprintf("an address that is free here (%v)", err)})
	}
	if b.cfg.HTTP != "" {
		b.page, err = api.Listen(ctx, string(b.cfg.HTTP))
		if err != nil {
			problems = append(problems, config.Problem{Name: "BALANCER_HTTP", Value: string(b.cfg.HTTP), Want: fmt.Sprintf("an address that is free here, or empty for no page (%v)", err)})
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// resume goes on where the state file says.
func (b *balancer) resume() {
	today := names(b.members.Snapshot())
	state, cursor := persist.Open(b.cfg.StateFile, today, b.log)
	b.state = state
	b.scheduler.Resume(cursor.Turns, cursor.Next(today))
	b.ledger.Resume(cursor.Turns)
}

// cursor is where the order stands.
func (b *balancer) cursor() persist.Cursor {
	turns, servers, next := b.scheduler.Cursor()
	cursor := persist.Cursor{Turns: turns, Names: names(servers)}
	if n := len(cursor.Names); turns > 0 && n > 0 {
		cursor.Last = cursor.Names[(next+n-1)%n]
	}
	return cursor
}

// names lists the servers' names in turn order.
func names(servers *membership.Snapshot) (names []string) {
	for _, s := range servers.Backends {
		names = append(names, s.Name)
	}
	return names
}

// pageGrace is how long an answer of the page that is under way may take at the
// stop, if the drain allows.
const pageGrace = 500 * time.Millisecond

// serve runs until the context ends or the data path dies.
func (b *balancer) serve(ctx context.Context) error {
	b.announce()
	// What watches the data path ends after it. The page ends beside it: those who
	// look must not make the stop longer than the drain.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	var alive atomic.Bool
	var watchers sync.WaitGroup
	watchers.Go(func() { b.members.Run(watching) })
	watchers.Go(func() {
		turnlog.Run(watching, turnlog.Config{Ledger: b.ledger, Log: b.log, WhenDown: b.cfg.WhenDown, AnswerTimeout: b.cfg.AnswerTimeout})
	})
	watchers.Go(func() { b.state.Keep(watching, b.cursor) })
	if b.page != nil {
		server := api.New(b.page, api.Config{
			Ledger: b.ledger, Scheduler: b.scheduler, Alive: alive.Load, Hosts: b.cfg.HTTPHosts, Facts: b.facts(),
			KernelDrops: b.path.KernelDrops, Grace: min(b.cfg.Drain, pageGrace),
		})
		watchers.Go(func() {
			if err := server.Serve(looking); err != nil {
				b.log.Error(fmt.Sprintf("the page is gone: %v", err))
			}
		})
	}

	alive.Store(true)
	err := b.path.Run(ctx)
	alive.Store(false)
	stopLooking()
	stopWatching()
	watchers.Wait()
	b.sumUp()
	return err
}

// announce says where everything is. Programs that start a balancer on free
// ports read the attributes.
func (b *balancer) announce() {
	asked, granted := b.path.ReceiveBuffer()
	page := "off"
	if b.page != nil {
		page = "http://" + config.Loopback(b.page.Addr().String())
	}
	b.log.Info(fmt.Sprintf("balancer listens on %v, page %s", b.path.Addr(), page),
		"event", "listening", "addr", b.path.Addr().String(), "http", page,
		"receive_buffer_asked", asked, "receive_buffer_granted", granted)
	if granted < asked {
		b.log.Info(fmt.Sprintf("receive buffer: %d KiB granted of %d KiB asked for; the system's limit is net.core.rmem_max", granted>>10, asked>>10))
	}
	for i, s := range b.members.Snapshot().Backends {
		if s.Addr.IsValid() {
			b.log.Info(fmt.Sprintf("turn %d: %s at %v", i+1, s.Name, s.Addr), "server", s.Name, "addr", s.Addr.String())
		} else {
			b.log.Info(fmt.Sprintf("turn %d: %s, once %s resolves", i+1, s.Name, b.cfg.Backends[i].Host), "server", s.Name)
		}
	}
}

// sumUp says at the end how everything was.
func (b *balancer) sumUp() {
	s := b.ledger.Snapshot(time.Now())
	drops, attrs := "", []any{"received", s.Received, "forwarded", s.Forwarded, "replied", s.Replied, "dropped", s.DroppedTotal()}
	for d, n := range s.Dropped {
		if n > 0 {
			drops += fmt.Sprintf(", %s %d", ledger.Disposition(d), n)
			attrs = append(attrs, "dropped_"+ledger.Disposition(d).String(), n)
		}
	}
	if drops != "" {
		drops = " (" + drops[2:] + ")"
	}
	next := "nobody's: no server is up"
	if turn, ok := b.scheduler.Next(); ok {
		next = turn.Backend.Name + "'s"
	}
	kernel := ""
	if n := b.path.KernelDrops(); n > 0 {
		kernel = fmt.Sprintf(" (the kernel dropped %d more before we saw them)", n)
		attrs = append(attrs, "kernel_drops", n)
	}
	b.log.Info(fmt.Sprintf("stopped: %d received%s, %d forwarded, %d replied, %d dropped%s; the next turn is %s",
		s.Received, kernel, s.Forwarded, s.Replied, s.DroppedTotal(), drops, next), attrs...)
}

func (b *balancer) facts() api.Facts {
	return api.Facts{
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

// healthcheck asks the balancer that this configuration describes whether it
// is alive.
func healthcheck(ctx context.Context, cfg *settings) error {
	if cfg.HTTP == "" {
		return program.CannotStart(config.Problem{Name: "BALANCER_HTTP", Want: "an address: the health is asked there"})
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+config.Loopback(string(cfg.HTTP))+"/healthz", nil)
	if err != nil {
		return err
	}
	request.Host = cfg.HTTPHosts[0]
	direct := http.Transport{DisableKeepAlives: true} // no proxy, whatever the environment says
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("no balancer answers at %s: %w", request.URL, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		return fmt.Errorf("%s: %s: %s", request.URL, answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
