package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"udplab/integration/lab"
	"udplab/integration/traffic"
	"udplab/services/kit/program"
)

const (
	// payloadSize is the length of every datagram, in bytes.
	payloadSize = 64
	// manyClients is from how many on the memory of a session can be told from
	// everything else that takes memory.
	manyClients = 1000
)

// bench is one run of all measurements.
type bench struct {
	*settings
	dir            string // for whatever is built or written
	proc           procfs.FS
	limits         limits
	core, loadCore int
	contestants    []contestant
	report         report
}

// measureAll makes every measurement and prints what came out.
func measureAll(ctx context.Context, cfg *settings, stdout, stderr io.Writer) (err error) {
	if did, err := isolate(ctx, cfg.Netns); did || err != nil {
		return err
	}
	b := &bench{settings: cfg}
	if b.dir, err = os.MkdirTemp("", "udplab-bench"); err != nil {
		return program.CannotStart(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.prepare(ctx); err != nil {
		return program.CannotStart(err)
	}
	b.heading(stdout)
	b.measureRounds(ctx, stdout, stderr)
	if err := b.report.table(stdout); err != nil {
		return err
	}
	b.report.remarks(stdout)
	if ctx.Err() != nil {
		return program.Exit(1) // what there is has been printed
	}
	return b.report.failed()
}

// prepare does what the measurements have in common.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.proc, err = procfs.NewDefaultFS(); err != nil {
		return err
	}
	if b.limits, err = systemLimits(); err != nil {
		return err
	}
	if b.contestants, err = contestants(ctx, b.settings, b.dir, b.limits.files); err != nil {
		return err
	}
	if b.core, b.loadCore, err = cores(); err != nil {
		return err
	}
	// The load's goroutine never makes room for others: they need a second
	// place to run in, though all share one core.
	runtime.GOMAXPROCS(2)
	return settleOn(b.loadCore)
}

// heading says what is measured, where and how, as benchmark configuration.
func (b *bench) heading(w io.Writer) {
	model, release := "unknown", unix.Utsname{}
	if cpus, err := b.proc.CPUInfo(); err == nil && len(cpus) > 0 {
		model = cpus[0].ModelName
	}
	_ = unix.Uname(&release) // fails for bad pointers only
	network := "the machine's loopback, with whatever rules its firewall has"
	if os.Getenv(inNamespace) != "" {
		network = "loopback in a network namespace of its own"
	}
	cores := fmt.Sprintf("%d; contestants on core %d, clients and servers on core %d", runtime.NumCPU(), b.core, b.loadCore)
	if b.core == b.loadCore {
		cores = "ONE for everything, so throughput and round trips mean little"
	}
	fmt.Fprintf(w, "goos: linux\ngoarch: %s\npkg: udplab/integration/bench\ncpu: %s\nkernel: %s\ngo: %s\ncores: %s\nnetwork: %s\nrounds: %d of %v, %d-byte datagrams\n%s",
		runtime.GOARCH, model, unix.ByteSliceToString(release.Release[:]), runtime.Version(), cores, network, b.Rounds, b.Duration, payloadSize, units)
}

// measureRounds lets the contestants take their turns in every round. It ends
// early when ctx does.
func (b *bench) measureRounds(ctx context.Context, stdout, progress io.Writer) {
	for round := range b.Rounds {
		for _, lc := range b.cases() {
			for _, c := range b.contestants {
				if why := b.limits.refuse(c, lc); why != "" {
					b.report.leaveOut(why)
					continue
				}
				fmt.Fprintf(progress, "round %d of %d: %v, %s\n", round+1, b.Rounds, lc, c.name)
				m, err := b.measure(ctx, c, lc)
				if ctx.Err() != nil {
					return
				}
				if err == nil {
					fmt.Fprintln(stdout, m.line(c.name, lc))
				}
				b.report.add(c.name, lc, m, err)
			}
		}
	}
}

// measure makes one measurement: it starts the contestant, warms it up, lets
// traffic flow for as long as it was told to, and ends the contestant. The load
// is on this thread, which sleeps only if it shares its core: so a contestant
// does not pay for waking clients and servers, as if they were other machines.
func (b *bench) measure(ctx context.Context, c contestant, lc loadCase) (m measurement, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	loop, err := traffic.NewLoop()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, loop.Close()) }()
	if b.core == b.loadCore {
		loop.Nap = 5 * time.Millisecond
	}
	var targets []netip.AddrPort
	var servers []string
	for range 3 {
		addr, err := loop.AddEcho()
		if err != nil {
			return m, err
		}
		targets, servers = append(targets, addr), append(servers, addr.String())
	}
	if c.command == nil {
		return b.load(ctx, loop, lc, nil, targets...)
	}
	r, err := start(c, servers, b.core)
	if err != nil {
		return m, err
	}
	defer func() { err = r.explain(err); r.kill() }()
	if err := awaitReply(ctx, loop, r); err != nil {
		return m, err
	}
	var before, after state
	if c.page {
		if before, err = observe(ctx, r); err != nil {
			return m, err
		}
	}
	if m, err = b.load(ctx, loop, lc, r, r.addr); err != nil || !c.page {
		return m, err
	}
	after, err = observe(ctx, r)
	m.orderViolations = after.OrderViolations
	if opened := after.Sessions - before.Sessions; lc.clients >= manyClients && opened > 0 {
		m.bytesPerSession = float64(after.memory-before.memory) / float64(opened)
	}
	return m, err
}

// state is what our balancer says of itself, and the kernel of its memory.
type state struct {
	lab.Status
	memory int64
}

func observe(ctx context.Context, r *running) (s state, err error) {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	if s.Status, err = lab.ReadStatus(ctx, r.url); err != nil {
		return s, err
	}
	s.memory, err = lab.Resident(r.Process.Pid)
	return s, err
}

// clientSettings is what the clients of a case send. Datagrams are lost after a
// while that grows with their number.
func clientSettings(lc loadCase) traffic.Settings {
	timeout := max(200*time.Millisecond, time.Duration(lc.clients*lc.outstanding)*100*time.Microsecond)
	return traffic.Settings{Count: math.MaxUint64, Window: lc.outstanding, Timeout: timeout, Sizes: traffic.Sizes{Usual: payloadSize}}
}

// awaitReply returns once a datagram through the contestant has been answered:
// that works however a contestant says that it is ready.
func awaitReply(ctx context.Context, loop *traffic.Loop, r *running) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	s := clientSettings(loadCase{1, 1})
	s.Client, s.Timeout = mostClients, 20*time.Millisecond
	probe := traffic.NewBook(s)
	defer probe.Stop()
	if err := loop.Connect([]*traffic.Book{probe}, r.addr); err != nil {
		return err
	}
	err := loop.Run(ctx, func(time.Duration) bool { return probe.InTime > 0 || r.ended() })
	if err != nil || probe.InTime == 0 {
		return fmt.Errorf("no datagram came back within %v (%v)", lab.Patience, err)
	}
	return nil
}

// longestWarmUp is how long the clients may take until every one of them has
// been answered, beyond the warm-up itself.
const longestWarmUp = 5 * time.Second

// load lets the clients of a case send to these addresses and measures what
// that costs a contestant, if there is one.
func (b *bench) load(ctx context.Context, loop *traffic.Loop, lc loadCase, r *running, to ...netip.AddrPort) (m measurement, err error) {
	books := traffic.NewBooks(lc.clients, clientSettings(lc))
	if err := loop.Connect(books, to...); err != nil {
		return m, err
	}
	unanswered := func() (n int) {
		for _, book := range books {
			if book.InTime == 0 {
				n++
			}
		}
		return n
	}
	warm := loop.Now() + b.WarmUp
	err = loop.Run(ctx, func(now time.Duration) bool {
		return now >= warm+longestWarmUp || now >= warm && unanswered() == 0
	})
	if err != nil {
		return m, err
	}
	first, err := b.mark(books, r)
	if err != nil {
		return m, err
	}
	var trips sample
	loop.Trip = trips.add
	until := loop.Now() + b.Duration
	if err := loop.Run(ctx, func(now time.Duration) bool { return now >= until }); err != nil {
		return m, err
	}
	last, err := b.mark(books, r)
	cpu, own := last.cpu-first.cpu, last.own-first.own
	slices.Sort(trips.kept)
	return measurement{
		Counts: last.Counts.Minus(first.Counts), unanswered: unanswered(), took: last.at.Sub(first.at), cpu: cpu,
		others: max(last.busy-first.busy-cpu-own, 0), p50: trips.quantile(0.50), p99: trips.quantile(0.99),
	}, err
}

// mark is the state of everything that is measured, at one moment.
type mark struct {
	at time.Time
	traffic.Counts
	cpu, own, busy time.Duration // of the contestant, of this process, of both cores
}

func (b *bench) mark(books []*traffic.Book, r *running) (m mark, err error) {
	var errs [3]error
	m.at, m.Counts = time.Now(), traffic.Sum(books)
	if r != nil {
		m.cpu, errs[0] = cpuTime(b.proc, r.Process.Pid)
	}
	m.own, errs[1] = cpuTime(b.proc, os.Getpid())
	m.busy, errs[2] = busy(b.proc, b.core, b.loadCore)
	return m, errors.Join(errs[:]...)
}

// sample keeps some of many round trips, each as likely as any other.
type sample struct {
	kept []time.Duration
	seen uint64
}

// sampleSize is large enough for hundreds of trips beyond the 99th percentile.
const sampleSize = 1 << 16

func (s *sample) add(trip time.Duration) {
	s.seen++
	if len(s.kept) < sampleSize {
		s.kept = append(s.kept, trip)
	} else if i := rand.Uint64N(s.seen); i < sampleSize {
		s.kept[i] = trip
	}
}

// quantile is a trip that a share q of the sorted trips are not longer than; 0
// if there are none.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.kept) == 0 {
		return 0
	}
	return s.kept[int(q*float64(len(s.kept)-1))]
}
