// Package membership knows who the servers are, where they are and whether they
// live. It owns up and down: everybody else reads a Snapshot.
//
// Names are resolved at the start and at intervals (names.go); a server that
// moves keeps its place in the list. Evidence that a server is down is an ICMP
// error (port, host or network unreachable), having no address, or health checks
// that fail (probe.go). A lost reply is no evidence: the servers of the lab lose
// replies on purpose. A server is up again when it replies or a health check of it
// succeeds. Where health checks are off, a server that is down is given one turn
// every two seconds to try it.
//
// A server has no address while its name leads nowhere, to the balancer itself or
// to where another server has gone since.
package membership

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// trialAfter is how long a server that is down is left alone before it is
	// given a turn to try it.
	trialAfter = 2 * time.Second
	// formerFor is how long replies are still taken from an address that a
	// server moved away from: as long as a session lives without a datagram.
	formerFor = time.Minute
)

// Config is what Members are made of.
type Config struct {
	Servers         List
	ResolveInterval time.Duration
	Probe           Probe
	// Apply is told of every snapshot, in their order, beginning with the first
	// within New. It must not call back.
	Apply func(now time.Time, s *Snapshot)
	// IsSelf says whether an address is the balancer's own, so that datagrams
	// sent there would go round in circles.
	IsSelf func(addr netip.AddrPort) bool
	// Lookup resolves a host's name on network "ip"; nil: the system's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Members is all servers. Its methods may be called by several goroutines; those
// that the data path calls take no lock unless something changes.
type Members struct {
	Config
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex              // guards the rest, and every change of the above
	members []*member               // in turn order
	former  map[netip.AddrPort]left // addresses that servers have left lately
}

// member is what is kept of one server: the backend as the next snapshot shows
// it, and what only this package needs to know.
type member struct {
	Backend
	server Server
	claim  netip.AddrPort // where its name leads, though that may be another's; not valid: nowhere
	found  bool           // it has had an address
	trial  *time.Timer    // makes it due for a trial
	// Probes in a row that it answered, or failed to answer, since it last went up,
	// down or elsewhere; one of the two is 0.
	answers, failures int

	// These tell the goroutines that watch it not to wait for their next time.
	resolve chan struct{} // it may have moved
	probe   chan struct{} // it has moved
}

// left says who has left an address, and when.
type left struct {
	by ID
	at time.Time
}

// New returns these servers, all up and none with an address before Resolve.
func New(cfg Config) *Members {
	if cfg.Lookup == nil {
		cfg.Lookup = net.DefaultResolver.LookupNetIP
	}
	if cfg.Probe.ask == nil {
		cfg.Probe.ask = cfg.Probe.send
	}
	m := &Members{Config: cfg, former: map[netip.AddrPort]left{}}
	m.current.Store(&Snapshot{})
	now := time.Now()
	for i, server := range cfg.Servers {
		b := &member{
			Backend: Backend{ID: ID(i + 1), Name: server.Name, Configured: server.Address(), Since: now},
			server:  server, resolve: make(chan struct{}, 1), probe: make(chan struct{}, 1),
		}
		b.trial = time.AfterFunc(time.Hour, func() { m.try(b) })
		b.trial.Stop()
		m.members = append(m.members, b)
	}
	m.publish(now)
	return m
}

// Run watches over the servers until the context ends: it resolves their names
// and checks their health.
func (m *Members) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, b := range m.members {
		wg.Go(func() { m.watchName(ctx, b) })
		if m.Probe.Payload != "" {
			wg.Go(func() { m.probeAll(ctx, b) })
		}
	}
	wg.Wait()
	for _, b := range m.members {
		b.trial.Stop()
	}
}

// Snapshot returns the servers as they are now.
func (m *Members) Snapshot() *Snapshot { return m.current.Load() }

// Owner is that of the current snapshot.
func (m *Members) Owner(addr netip.AddrPort) (b *Backend, current bool) {
	return m.current.Load().Owner(addr)
}

// Evidence is what speaks against a server.
type Evidence struct {
	Backend ID
	Addr    netip.AddrPort // where it was asked; that says nothing about another address
	Cause   Cause
	Reason  string // for people, in a few words
}

// change makes a change hold: it is published if it is one.
func (m *Members) change(change func(now time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	change(now)
	m.publish(now)
}

// Failed takes evidence that a server is down.
func (m *Members) Failed(e Evidence) {
	m.change(func(now time.Time) {
		if b := m.find(e.Backend); b != nil && b.Addr == e.Addr {
			m.fail(now, b, e.Cause, e.Reason)
		}
	})
}

// fail takes a server down that is where it should be. It may have moved.
func (m *Members) fail(now time.Time, b *member, cause Cause, reason string) {
	if b.Up() {
		m.tryIn(b, trialAfter)
		wake(b.resolve)
	}
	b.down(now, cause, reason)
}

// Answered is evidence that a server lives: a reply came from addr.
func (m *Members) Answered(id ID, addr netip.AddrPort) {
	if b := m.Snapshot().Backend(id); b == nil || b.Up() {
		return
	}
	m.change(func(now time.Time) {
		if b := m.find(id); b != nil && b.Addr == addr && !b.Up() {
			b.up(now)
		}
	})
}

// Tried says that a server was given the turn to try it. If it does not answer,
// it gets another one later.
func (m *Members) Tried(id ID) {
	m.change(func(time.Time) {
		if b := m.find(id); b != nil && b.State == Trial {
			b.State = Down
			m.tryIn(b, trialAfter)
		}
	})
}

// find is the member of an ID, or nil if it is not in the list.
func (m *Members) find(id ID) *member {
	i := slices.IndexFunc(m.members, func(b *member) bool { return b.ID == id })
	if i < 0 {
		return nil
	}
	return m.members[i]
}

// try makes a server that is still down due for one turn.
func (m *Members) try(b *member) {
	m.change(func(time.Time) {
		if b.State == Down && b.Addr.IsValid() {
			b.State, b.Tried = Trial, true
			b.Trials++
		}
	})
}

// tryIn makes a server that is down due for one turn, in a while, unless health
// checks find out how it is.
func (m *Members) tryIn(b *member, wait time.Duration) {
	if m.Probe.Payload == "" {
		b.trial.Reset(wait)
	}
}

// move puts a server at addr, as its name says.
func (m *Members) move(now time.Time, b *member, addr netip.AddrPort) {
	if b.Addr == addr {
		return
	}
	m.leave(now, b, addr)
	wake(b.probe)
	first := !b.found
	b.found = true
	switch {
	case b.Up(): // it may live there as well
	case first && m.Probe.Payload == "": // as at the start, nothing speaks against it
		b.up(now)
	default:
		b.down(now, AddressConflict, "it has not answered from its new address yet")
		m.tryIn(b, 0)
	}
}

// evict leaves a server without an address, which is why it is down.
func (m *Members) evict(now time.Time, b *member, cause Cause, reason string) {
	m.leave(now, b, netip.AddrPort{})
	b.trial.Stop()
	b.down(now, cause, reason)
	b.State, b.Tried = Down, false
}

// leave changes a server's address. It is still known at the one before for a
// while, and no other server is at the new one any more.
func (m *Members) leave(now time.Time, b *member, to netip.AddrPort) {
	if b.Addr.IsValid() {
		m.former[b.Addr] = left{b.ID, now}
	}
	delete(m.former, to)
	b.Addr, b.answers, b.failures = to, 0, 0
}

// down marks a server as down, or says anew why it is.
func (b *member) down(now time.Time, cause Cause, reason string) {
	if b.Up() {
		b.State, b.Since, b.answers, b.failures = Down, now, 0, 0
	}
	b.Cause, b.Reason = cause, reason
}

// up marks a server that was down as up.
func (b *member) up(now time.Time) {
	b.trial.Stop()
	b.State, b.Tried, b.Since, b.Reason, b.answers, b.failures = Up, false, now, "", 0, 0
}

// publish makes the members' present state the current snapshot, unless it is
// that already.
func (m *Members) publish(now time.Time) {
	backends := make([]Backend, len(m.members))
	for i, b := range m.members {
		backends[i] = b.Backend
	}
	before := m.Snapshot()
	s := NewSnapshot(before.List, backends...)
	for addr, left := range m.former {
		s.owners[addr] = left.by
	}
	if slices.Equal(before.Backends, s.Backends) && maps.Equal(before.owners, s.owners) {
		return
	}
	if !slices.EqualFunc(before.Backends, backends, func(a, b Backend) bool { return a.ID == b.ID }) {
		s.List++
	}
	m.current.Store(s)
	m.Apply(now, s)
}

// wake ends a wait, the one under way or else the next.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
