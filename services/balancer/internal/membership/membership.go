// Package membership knows who the servers are, where they are and whether they
// live. It owns up and down: everybody else reads a Snapshot.
//
// Names are resolved at the start, then again and again (names.go); a server that
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
	// formerMax is how many such addresses are kept for each server.
	formerMax = 8
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
	// sent there would go round in circles; nil: none is.
	IsSelf func(addr netip.AddrPort) bool
	// Lookup resolves a host's name; nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Members is all servers. Its methods may be called by several goroutines; those
// that the data path calls take no lock unless something changes.
type Members struct {
	Config
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex // guards the rest, and every change of the above
	members []*member  // in turn order
	closed  bool
}

// member is what is kept of one server: the backend as the next snapshot shows
// it, and what nobody else needs to know.
type member struct {
	Backend
	server Server
	claim  netip.AddrPort // where its name leads, though that may be another's; not valid: nowhere
	found  bool           // it has had an address
	trial  *time.Timer    // makes it due for a trial; nil while it is up
	former []formerAddress

	// These tell the goroutines that watch it not to wait for their next time.
	resolve chan struct{} // it may have moved
	probe   chan struct{} // it has moved
}

// formerAddress is one that a server has left.
type formerAddress struct {
	addr netip.AddrPort
	left time.Time
}

// New returns these servers, all up and none with an address before Resolve.
func New(cfg Config) *Members {
	if cfg.Lookup == nil {
		cfg.Lookup = systemLookup
	}
	if cfg.IsSelf == nil {
		cfg.IsSelf = func(netip.AddrPort) bool { return false }
	}
	if cfg.Probe.ask == nil {
		cfg.Probe.ask = cfg.Probe.send
	}
	m := &Members{Config: cfg}
	now := time.Now()
	for i, server := range cfg.Servers {
		m.members = append(m.members, &member{
			Backend: Backend{ID: ID(i + 1), Name: server.Name, Configured: server.Address(), Since: now},
			server:  server, resolve: make(chan struct{}, 1), probe: make(chan struct{}, 1),
		})
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, b := range m.members {
		b.stopTrial()
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

// Failed takes evidence that a server is down.
func (m *Members) Failed(e Evidence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.at(e.Backend, e.Addr)
	if b == nil {
		return
	}
	wasUp := b.State == Up
	m.down(time.Now(), b, e.Cause, e.Reason)
	if !wasUp {
		return
	}
	if m.Probe.Payload == "" {
		m.tryIn(b, trialAfter)
	}
	wake(b.resolve)
}

// Answered is evidence that a server lives: a reply came from addr.
func (m *Members) Answered(id ID, addr netip.AddrPort) {
	if b := m.current.Load().Backend(id); b == nil || b.State == Up {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.at(id, addr); b != nil && b.State != Up {
		m.up(time.Now(), b)
	}
}

// Tried says that a server was given the turn to try it. If it does not answer,
// it gets another one later.
func (m *Members) Tried(id ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.byID(id); b != nil && !m.closed && b.State == Trial {
		b.State = Down
		m.publish(time.Now())
		m.tryIn(b, trialAfter)
	}
}

// at is the member of an ID that is at addr now; nil if there is none.
func (m *Members) at(id ID, addr netip.AddrPort) *member {
	if b := m.byID(id); b != nil && !m.closed && b.Addr == addr {
		return b
	}
	return nil
}

func (m *Members) byID(id ID) *member {
	if i := slices.IndexFunc(m.members, func(b *member) bool { return b.ID == id }); i >= 0 {
		return m.members[i]
	}
	return nil
}

// move puts a server at addr, as its name says.
func (m *Members) move(now time.Time, b *member, addr netip.AddrPort) {
	if b.Addr == addr {
		return
	}
	m.leave(now, b, addr)
	defer wake(b.probe) // once it is published, so that the new address is probed
	first := !b.found
	b.found = true
	switch {
	case b.State == Up: // it may live there as well
		m.publish(now)
	case first && m.Probe.Payload == "": // as at the start, nothing speaks against it
		m.up(now, b)
	default:
		m.down(now, b, AddressConflict, "it has not answered from its new address yet")
		if m.Probe.Payload == "" {
			m.tryIn(b, 0)
		}
	}
}

// evict leaves a server without an address, which is why it is down.
func (m *Members) evict(now time.Time, b *member, cause Cause, reason string) {
	m.leave(now, b, netip.AddrPort{})
	b.stopTrial()
	if b.State == Trial {
		b.State = Down
	}
	m.down(now, b, cause, reason)
}

// leave changes a server's address. It is still known at the one before for a
// while, and nobody else is at the new one any more.
func (m *Members) leave(now time.Time, b *member, to netip.AddrPort) {
	if b.Addr == to {
		return
	}
	if b.Addr.IsValid() {
		if len(b.former) == formerMax {
			b.former = slices.Delete(b.former, 0, 1)
		}
		b.former = append(b.former, formerAddress{b.Addr, now})
	}
	for _, other := range m.members {
		other.former = slices.DeleteFunc(other.former, func(f formerAddress) bool { return f.addr == to })
	}
	b.Addr = to
}

// forget drops the addresses that a server left too long ago.
func (m *Members) forget(now time.Time, b *member) {
	n := len(b.former)
	b.former = slices.DeleteFunc(b.former, func(f formerAddress) bool { return now.Sub(f.left) >= formerFor })
	if len(b.former) != n {
		m.publish(now)
	}
}

// down marks a server as down, or says anew why it is.
func (m *Members) down(now time.Time, b *member, cause Cause, reason string) {
	if b.State == Up {
		b.State, b.Since = Down, now
	}
	b.Cause, b.Reason = cause, reason
	m.publish(now)
}

// up marks a server that was down as up.
func (m *Members) up(now time.Time, b *member) {
	b.stopTrial()
	b.State, b.Since, b.Reason = Up, now, ""
	m.publish(now)
}

// tryIn makes a server that is down due for one turn, in a while.
func (m *Members) tryIn(b *member, wait time.Duration) {
	b.stopTrial()
	b.trial = time.AfterFunc(wait, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closed && b.State == Down && b.Addr.IsValid() {
			b.State = Trial
			b.Trials++
			m.publish(time.Now())
		}
	})
}

func (b *member) stopTrial() {
	if b.trial != nil {
		b.trial.Stop()
		b.trial = nil
	}
}

// publish makes the members' present state the current snapshot, unless it is
// that already.
func (m *Members) publish(now time.Time) {
	s := &Snapshot{Generation: 1, List: 1, Backends: make([]Backend, len(m.members)), owners: map[netip.AddrPort]owner{}}
	for i, b := range m.members {
		s.Backends[i] = b.Backend
		for _, f := range b.former {
			s.owners[f.addr] = owner{&s.Backends[i], false}
		}
	}
	for i, b := range m.members { // the last word: where somebody is now
		if b.Addr.IsValid() {
			s.owners[b.Addr] = owner{&s.Backends[i], true}
		}
	}
	if before := m.current.Load(); before != nil {
		if slices.Equal(before.Backends, s.Backends) && maps.EqualFunc(before.owners, s.owners, owner.equal) {
			return
		}
		s.Generation, s.List = before.Generation+1, before.List
		if !slices.EqualFunc(before.Backends, s.Backends, func(a, b Backend) bool { return a.ID == b.ID }) {
			s.List++
		}
	}
	m.current.Store(s)
	if m.Apply != nil {
		m.Apply(now, s)
	}
}

// wake ends a wait, the one under way or else the next.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
