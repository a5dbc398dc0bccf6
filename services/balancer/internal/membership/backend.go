// Package membership knows where the servers are and whether they live.
//
// Names are resolved at the start, then again and again; a server that moves
// keeps its place in the rotation. Evidence that a server is down is a refusal
// (connection refused, host or network unreachable), having no address, or
// probes that fail. A lost reply is no evidence: the servers of the lab lose
// replies on purpose. A server is up again when it replies or a probe of it is
// answered. Where probes are off, a server that is down is given one turn every
// two seconds to try it.
//
// A server has no address while its name leads nowhere, to the balancer itself
// or to where another server has gone since (names.go).
package membership

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/udp"
)

const (
	// trialAfter is how long a server that is down is left alone before it is
	// given a turn to try it.
	trialAfter = 2 * time.Second
	// oldFor is how long replies are still taken from an address that a
	// server moved away from: as long as a session lives without a datagram.
	oldFor = time.Minute
	// oldMax is how many such addresses are kept for each server.
	oldMax = 8
)

// Config is what a Set is made of.
type Config struct {
	Servers         List
	ResolveInterval time.Duration
	Probe           Probe
	Rotation        *balancing.Rotation
	Ledger          *ledger.Ledger
	// Itself says whether an address is the balancer's own, so that datagrams
	// sent there would go round in circles; nil: none is.
	Itself func(addr netip.AddrPort) bool
	// Lookup resolves a host's name; nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Set is all backends. Its methods may be called by several goroutines; those
// that the data path calls take no lock unless something changes.
type Set struct {
	Config
	directory atomic.Pointer[directory]
	up        []atomic.Bool
	watchers  []watcher

	mu      sync.Mutex // guards the next two, and every change of the above
	members []member
	closed  bool
}

// watcher is how the goroutines that watch one backend are told not to wait
// for their next time.
type watcher struct {
	resolve chan struct{} // it may have moved
	probe   chan struct{} // it has moved
}

// member is what is kept of one backend.
type member struct {
	claim netip.AddrPort // where its name leads, though that may be another's; invalid: nowhere
	found bool           // it has had an address
	trial *time.Timer    // gives it a turn to try it; nil while it is up
	old   []oldAddress   // the newest last
}

type oldAddress struct {
	addr netip.AddrPort
	left time.Time
}

// directory is an unchanging picture of who is where.
type directory struct {
	addrs  []netip.AddrPort // by backend; invalid: it has none
	owners map[netip.AddrPort]owner
}

type owner struct {
	backend int
	current bool
}

// New returns the set of these backends, none of which has an address before
// Resolve.
func New(cfg Config) *Set {
	n := len(cfg.Servers)
	if cfg.Lookup == nil {
		cfg.Lookup = systemLookup
	}
	if cfg.Itself == nil {
		cfg.Itself = func(netip.AddrPort) bool { return false }
	}
	if cfg.Probe.ask == nil {
		cfg.Probe.ask = cfg.Probe.send
	}
	s := &Set{Config: cfg, up: make([]atomic.Bool, n), watchers: make([]watcher, n), members: make([]member, n)}
	for i := range n {
		s.up[i].Store(true)
		s.watchers[i] = watcher{make(chan struct{}, 1), make(chan struct{}, 1)}
	}
	s.directory.Store(&directory{addrs: make([]netip.AddrPort, n)})
	return s
}

// Run watches over the backends until the context ends: it resolves their
// names and probes them.
func (s *Set) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range s.Servers {
		wg.Go(func() { s.watchName(ctx, i) })
		if s.Probe.Payload != "" {
			wg.Go(func() { s.probeAll(ctx, i) })
		}
	}
	wg.Wait()
	s.close()
}

func (s *Set) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for i := range s.members {
		s.stopTrial(i)
	}
}

// Len is how many backends there are.
func (s *Set) Len() int { return len(s.Servers) }

// Addr is where backend i is now; it is not valid while it has no address.
func (s *Set) Addr(i int) netip.AddrPort { return s.directory.Load().addrs[i] }

// Owner says whose address this is. Current is false for one that the backend
// left within the last minute; its last replies may still arrive.
func (s *Set) Owner(addr netip.AddrPort) (backend int, current, ok bool) {
	o, ok := s.directory.Load().owners[addr]
	return o.backend, o.current, ok
}

// Up says whether backend i is up.
func (s *Set) Up(i int) bool { return s.up[i].Load() }

// Refused is evidence that backend i, asked at addr, is down: the system
// reported err for a datagram to it, or its probes were not answered.
func (s *Set) Refused(i int, addr netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || addr != s.Addr(i) {
		return
	}
	wasUp := s.up[i].Load()
	cause := ledger.ProbeFailed
	if udp.IsRefusal(err) {
		cause = ledger.Refusal
	}
	s.down(time.Now(), i, ledger.Evidence{Cause: cause, Reason: udp.Reason(err)})
	if !wasUp {
		return
	}
	if s.Probe.Payload == "" {
		s.tryIn(i, trialAfter)
	}
	wake(s.watchers[i].resolve)
}

// Answered is evidence that backend i lives: a reply came from addr.
func (s *Set) Answered(i int, addr netip.AddrPort) {
	if s.up[i].Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || addr != s.Addr(i) {
		return
	}
	s.raise(time.Now(), i)
}

// Tried says that backend i was given the turn to try it. If it does not
// answer, it gets another one later.
func (s *Set) Tried(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.up[i].Load() {
		s.tryIn(i, trialAfter)
	}
}

// place puts backend i at addr, or nowhere if that is not valid, which is why
// it is down then.
func (s *Set) place(now time.Time, i int, addr netip.AddrPort, why ledger.Evidence) {
	m := &s.members[i]
	before := s.Addr(i)
	if before != addr {
		m.remember(before, now)
		for j := range s.members { // replies from there are this one's from now on
			s.members[j].disown(addr)
		}
		s.publish(i, addr)
	}
	if !addr.IsValid() {
		s.stopTrial(i)
		s.Rotation.Set(i, balancing.Down) // it may have been about to be tried
		s.down(now, i, why)
		return
	}
	if before == addr {
		return
	}
	s.Ledger.BackendAt(now, i, addr)
	wake(s.watchers[i].probe)
	first := !m.found
	m.found = true
	switch {
	case s.up[i].Load(): // it may live there just as well
	case s.Probe.Payload != "":
		s.down(now, i, notHeardOf)
	case first: // as at the start, nothing speaks against it
		s.raise(now, i)
	default:
		s.down(now, i, notHeardOf)
		s.tryIn(i, 0)
	}
}

// notHeardOf is why a backend that was down is still down where it is now.
var notHeardOf = ledger.Evidence{Cause: ledger.AddressConflict, Reason: "it has not answered from its new address yet"}

// publish shows the data path backend i at another address.
func (s *Set) publish(i int, addr netip.AddrPort) {
	d := &directory{addrs: slices.Clone(s.directory.Load().addrs), owners: map[netip.AddrPort]owner{}}
	d.addrs[i] = addr
	for j, a := range d.addrs {
		for _, o := range s.members[j].old {
			d.owners[o.addr] = owner{j, false}
		}
		if a.IsValid() {
			d.owners[a] = owner{j, true}
		}
	}
	s.directory.Store(d)
}

// remember keeps an address that the backend has left.
func (m *member) remember(addr netip.AddrPort, now time.Time) {
	if !addr.IsValid() {
		return
	}
	if len(m.old) == oldMax {
		m.old = slices.Delete(m.old, 0, 1)
	}
	m.old = append(m.old, oldAddress{addr, now})
}

// disown drops an address that is somebody's again.
func (m *member) disown(addr netip.AddrPort) {
	m.old = slices.DeleteFunc(m.old, func(o oldAddress) bool { return o.addr == addr })
}

// forget drops the addresses that backend i left too long ago.
func (s *Set) forget(now time.Time, i int) {
	m := &s.members[i]
	n := len(m.old)
	m.old = slices.DeleteFunc(m.old, func(o oldAddress) bool { return now.Sub(o.left) >= oldFor })
	if len(m.old) != n {
		s.publish(i, s.Addr(i))
	}
}

// down marks a backend as down, or says anew why it is.
func (s *Set) down(now time.Time, i int, why ledger.Evidence) {
	if s.up[i].Swap(false) {
		s.Rotation.Set(i, balancing.Down)
	}
	s.Ledger.BackendDown(now, i, why)
}

// raise marks a backend that may be down as up.
func (s *Set) raise(now time.Time, i int) {
	if s.up[i].Swap(true) {
		return
	}
	s.stopTrial(i)
	s.Rotation.Set(i, balancing.Up)
	s.Ledger.BackendUp(now, i)
}

// tryIn gives a backend that is down one turn, in a while.
func (s *Set) tryIn(i int, wait time.Duration) {
	s.stopTrial(i)
	s.members[i].trial = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed && !s.up[i].Load() && s.Addr(i).IsValid() {
			s.Rotation.Set(i, balancing.Trial)
		}
	})
}

func (s *Set) stopTrial(i int) {
	if t := s.members[i].trial; t != nil {
		t.Stop()
		s.members[i].trial = nil
	}
}

// wake ends a wait, the one under way or else the next.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
