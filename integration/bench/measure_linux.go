package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"udplab/integration/lab"
	"udplab/integration/traffic"
)

const (
	// payloadSize is the length of every datagram, in bytes.
	payloadSize = 64
	// manyClients is from how many on the memory of a session can be told from
	// everything else that takes memory.
	manyClients = 1000
)

// bench is what all measurements have in common.
type bench struct {
	duration time.Duration
	core     int    // the contestants'
	dir      string // of our programs, and for whatever is built or written
	limits   limits
}

// job is what a contestant is started for.
type job struct {
	*bench
	listen  netip.AddrPort
	page    string // where our balancer's page is to listen
	servers []string
}

// measure makes one measurement. The load is on this thread, which sleeps only
// if it shares its core: so a contestant does not pay for waking clients and
// servers, as if they were other machines.
func (b *bench) measure(ctx context.Context, c contestant, lc loadCase) (f figures, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	loop, err := traffic.NewLoop()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, loop.Close()) }()
	if own, err := affinity(); err != nil {
		return nil, err
	} else if own.IsSet(b.core) {
		loop.Nap = 5 * time.Millisecond
	}
	j := &job{bench: b}
	var targets []netip.AddrPort
	for range 3 {
		addr, err := loop.AddEcho()
		if err != nil {
			return nil, err
		}
		targets, j.servers = append(targets, addr), append(j.servers, addr.String())
	}
	if c.name == direct {
		return b.load(ctx, loop, lc, 0, targets...)
	}
	return b.through(ctx, loop, c, j, lc)
}

// through starts a contestant, lets traffic flow through it, and ends it.
func (b *bench) through(ctx context.Context, loop *traffic.Loop, c contestant, j *job, lc loadCase) (f figures, err error) {
	udp, err1 := lab.FreePort("udp")
	tcp, err2 := lab.FreePort("tcp")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	j.listen, j.page = netip.MustParseAddrPort("127.0.0.1:"+udp), "127.0.0.1:"+tcp
	cmd, err := c.command(j)
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said // and stdout goes to /dev/null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOn(b.core, cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends when the process does
	var running sync.WaitGroup
	running.Go(func() {
		defer cancel()
		_ = cmd.Wait() // how it ended is in ProcessState
	})
	defer func() {
		_ = cmd.Process.Kill() // fails only if it has ended
		running.Wait()
		if err != nil {
			err = fmt.Errorf("%w; the process ended with %v\n%s", err, cmd.ProcessState, bytes.TrimSpace(said.Bytes()))
		}
	}()
	pid := cmd.Process.Pid
	err1 = awaitReady(ctx, c, j, pid)
	before, err2 := lab.Resident(pid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if f, err = b.load(ctx, loop, lc, pid, j.listen); err != nil || !c.ours {
		return f, err
	}
	status, err1 := lab.ReadStatus(ctx, "http://"+j.page)
	after, err2 := lab.Resident(pid)
	if lc.clients >= manyClients && status.Sessions > 0 {
		f["B/session"] = float64(after-before) / float64(status.Sessions)
	}
	f["violations"] = float64(status.OrderViolations)
	return f, errors.Join(err1, err2)
}

// awaitReady waits until a contestant listens, however it says so, and our
// balancer's page is there. A datagram before that would be lost.
func awaitReady(ctx context.Context, c contestant, j *job, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	return lab.Until(ctx, func(ctx context.Context) error {
		sockets, err := lab.UDPSockets(pid)
		if !slices.ContainsFunc(sockets, func(s lab.UDPSocket) bool { return s.Port == int(j.listen.Port()) }) {
			return errors.Join(err, errors.New("it does not listen"))
		}
		if c.ours {
			_, err = lab.ReadStatus(ctx, "http://"+j.page)
		}
		return err
	})
}

// load lets the clients of a case send to these addresses, and measures from
// when all of them have been answered. The contestant's process is 0 if there
// is none.
func (b *bench) load(ctx context.Context, loop *traffic.Loop, lc loadCase, pid int, to ...netip.AddrPort) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience+2*b.duration)
	defer cancel()
	books := traffic.NewBooks(lc.clients, traffic.Settings{
		Count: math.MaxUint64, Window: lc.outstanding, Sizes: traffic.Sizes{Usual: payloadSize},
		Timeout: time.Second + time.Duration(lc.clients)*500*time.Microsecond, // a busy machine takes its time
	})
	trips := make([]time.Duration, 0, 1<<20)
	if err := loop.Connect(books, to...); err != nil {
		return nil, err
	}
	warm := loop.Now() + b.duration/2
	err := loop.Run(ctx, func(now time.Duration) bool {
		return now >= warm && !slices.ContainsFunc(books, func(book *traffic.Book) bool { return book.Replies() == 0 })
	})
	if err != nil {
		return nil, fmt.Errorf("not every client has got a reply: %w", err)
	}
	loop.Trip = func(trip time.Duration) { trips = append(trips, trip) }
	start, counts := loop.Now(), traffic.Sum(books)
	cpu, err1 := cpuTime(pid)
	err2 := loop.Run(ctx, func(now time.Duration) bool { return now >= start+b.duration && len(trips) > 0 })
	took := loop.Now() - start
	cpuAfter, err3 := cpuTime(pid)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	counts = traffic.Sum(books).Minus(counts)
	slices.Sort(trips)
	n := len(trips)
	f := figures{
		"trips": float64(n), "trips/s": float64(n) / took.Seconds(),
		"p50-ns": float64(trips[n/2]), "p99-ns": float64(trips[n*99/100]),
		"lost": float64(counts.Lost), "odd": float64(counts.Replies() - counts.InTime),
	}
	if pid != 0 {
		f["cpu-ns/trip"] = float64(cpuAfter-cpu) / float64(n)
	}
	return f, nil
}
