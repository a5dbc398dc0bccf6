package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"udplab/services/kit/program"
)

// filesWanted is how many files the hungriest contestant opens: our portable
// data path takes three sockets for each client of the largest case.
const filesWanted = 1 << 16

// longestWarmUp is how long the clients may take until every one of them has
// been answered, beyond the warm-up itself.
const longestWarmUp = 5 * time.Second

// bench is one run of all measurements.
type bench struct {
	*settings
	progress       io.Writer
	dir            string // for whatever is built or written
	limits         limits
	core, loadCore int
	contestants    []contestant
	report         *report
}

// measureAll makes every measurement and prints what came out.
func measureAll(ctx context.Context, cfg *settings, stdout, stderr io.Writer) (err error) {
	if did, err := isolate(ctx, cfg.Netns); did || err != nil {
		return err
	}
	b := &bench{settings: cfg, progress: stderr}
	if b.dir, err = os.MkdirTemp("", "udplab-bench"); err != nil {
		return program.CannotStart(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.open(ctx); err != nil {
		return program.CannotStart(err)
	}
	b.measureRounds(ctx)
	b.report.sumUp()
	if err := b.print(stdout); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return program.Exit(1) // what there is has been printed
	}
	return b.report.failed()
}

// open prepares everything that the measurements have in common.
func (b *bench) open(ctx context.Context) (err error) {
	b.report = &report{
		Machine: machine(), Command: strings.Join(append([]string{"go run ./integration/bench"}, os.Args[1:]...), " "),
		Rounds: b.Rounds, Seconds: b.Duration.Seconds(), LeftOut: []string{}, Namespace: os.Getenv(inNamespace) != "",
	}
	files, err := raiseFileLimit(filesWanted)
	if err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	b.limits.files = int(files)
	if b.limits.ports, err = portRange(); err != nil {
		return err
	}
	if b.contestants, err = prepare(ctx, b.settings, b.dir, b.limits.files); err != nil {
		return err
	}
	for _, c := range b.contestants {
		if c.missing != "" {
			b.report.leaveOut(c.name + ": " + c.missing)
		}
	}
	if b.core, b.loadCore, err = cores(); err != nil {
		return err
	}
	b.report.Core, b.report.LoadCore = b.core, b.loadCore
	// The load's goroutine never makes room for others: they need a second
	// place to run in, though all share one core.
	runtime.GOMAXPROCS(2)
	return settleOn(b.loadCore)
}

// measureRounds lets the contestants take their turns in every round. It ends
// early when ctx does.
func (b *bench) measureRounds(ctx context.Context) {
	for round := range b.Rounds {
		for _, lc := range b.cases() {
			for _, c := range b.contestants {
				if c.missing != "" {
					continue
				}
				if why := b.limits.refuse(c.name, lc); why != "" {
					b.report.leaveOut(fmt.Sprintf("%v: %s: %s", lc, c.name, why))
					continue
				}
				fmt.Fprintf(b.progress, "round %d of %d: %v: %s\n", round+1, b.Rounds, lc, c.name)
				m, err := b.measure(ctx, c, lc)
				if ctx.Err() != nil {
					return
				}
				b.report.add(c.name, lc, m, err)
			}
		}
	}
}

// print prints the report in the form that was asked for.
func (b *bench) print(w io.Writer) error {
	switch {
	case b.JSON:
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(b.report)
	case b.Markdown:
		return b.report.markdown(w)
	}
	return b.report.text(w)
}

// mark is the state of everything that is measured, at one moment.
type mark struct {
	at     time.Time
	counts counts
	cpu    time.Duration // of the contestant
	ticks  time.Duration // the same, from another source
	own    time.Duration // of this process
	busy   time.Duration // of both cores
}

func (b *bench) mark(t *traffic, pids []int) (m mark, err error) {
	var errs [4]error
	m.at, m.counts = time.Now(), t.counts
	m.cpu, errs[0] = cpuTime(pids)
	m.ticks, errs[1] = tickTime(pids)
	m.own, errs[2] = cpuTime([]int{os.Getpid()})
	m.busy, errs[3] = busy(slices.Compact([]int{b.core, b.loadCore})...)
	return m, errors.Join(errs[:]...)
}

// measure makes one measurement: it starts the contestant, warms it up, lets
// the traffic flow for as long as it was told to, and ends the contestant.
func (b *bench) measure(ctx context.Context, c contestant, lc loadCase) (m measurement, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := newTraffic(b.core == b.loadCore)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()

	var pids []int
	var r *running
	targets := t.addrs()
	var before balancerStatus
	memory := int64(0)
	if c.command != nil {
		if r, err = start(ctx, c, targets, b.core, b.dir); err != nil {
			return m, err
		}
		defer func() {
			err = r.blame(err)
			r.kill()
		}()
		if err := awaitAnswer(ctx, t, r); err != nil {
			return m, err
		}
		targets = []netip.AddrPort{r.addr}
		if pids, err = family(r.cmd.Process.Pid); err != nil {
			return m, err
		}
		if r.page != "" {
			if before, err = askStatus(ctx, r.page); err != nil {
				return m, err
			}
		}
		if memory, err = resident(pids); err != nil {
			return m, err
		}
	}

	if err := t.connect(lc, targets); err != nil {
		return m, err
	}
	beginning := time.Since(t.start)
	err = t.run(ctx, func(now time.Duration) bool {
		since := now - beginning
		return since >= b.WarmUp && (t.settled() || since >= b.WarmUp+longestWarmUp)
	})
	if err != nil {
		return m, err
	}
	t.trips.reset()
	first, err := b.mark(t, pids)
	if err != nil {
		return m, err
	}
	until := time.Since(t.start) + b.Duration
	if err := t.run(ctx, func(now time.Duration) bool { return now >= until }); err != nil {
		return m, err
	}
	last, err := b.mark(t, pids)
	if err != nil {
		return m, err
	}
	m = between(first, last, &t.trips)
	m.Unanswered = len(t.slots) - t.once
	if r != nil && r.page != "" {
		after, err := resident(pids)
		if err != nil {
			return m, err
		}
		status, err := askStatus(ctx, r.page)
		if err != nil {
			return m, err
		}
		m.Status = &status
		if opened := status.Sessions - before.Sessions; opened > 0 {
			m.MemoryPerSession = float64(after-memory) / 1024 / float64(opened)
		}
	}
	return m, nil
}

// between is what was measured from one mark to the next.
func between(first, last mark, trips *histogram) measurement {
	counts := last.counts.less(first.counts)
	seconds := last.at.Sub(first.at).Seconds()
	answered := float64(max(counts.Answered, 1))
	cpu, own := last.cpu-first.cpu, last.own-first.own
	return measurement{
		counts:     counts,
		Throughput: float64(counts.Answered) / seconds,
		CPU:        micros(cpu) / answered,
		CPUTime:    cpu,
		TickTime:   last.ticks - first.ticks,
		P50:        micros(trips.quantile(0.50)),
		P99:        micros(trips.quantile(0.99)),
		Cores:      cpu.Seconds() / seconds,
		Others:     max(last.busy-first.busy-cpu-own, 0).Seconds() / seconds,
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// awaitAnswer returns once a datagram through the contestant has been
// answered: it does not matter how a contestant says that it is ready.
func awaitAnswer(ctx context.Context, t *traffic, r *running) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var answered atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil && !answered.Load() {
			answered.Store(answers(r.addr))
		}
	}()
	defer func() { <-ended }()
	defer cancel()
	err := t.run(ctx, func(time.Duration) bool { return answered.Load() || r.ended() != nil })
	if err != nil {
		return fmt.Errorf("no datagram came back within 10 s: %w", err)
	}
	return nil
}

// answers says whether a datagram that is sent to an address is answered soon.
func answers(addr netip.AddrPort) bool {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("ready?")); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // fails on closed connections only
	_, err = conn.Read(make([]byte, payloadSize))
	if err != nil && !os.IsTimeout(err) {
		time.Sleep(10 * time.Millisecond) // refused: nobody listens yet
	}
	return err == nil
}

// askStatus asks our balancer how it is.
func askStatus(ctx context.Context, page string) (s balancerStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"/api/status", nil)
	if err != nil {
		return s, err
	}
	direct := http.Transport{DisableKeepAlives: true} // no proxy, whatever the environment says
	answer, err := direct.RoundTrip(request)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s: %s", request.URL, answer.Status)
	}
	return s, json.NewDecoder(answer.Body).Decode(&s)
}
