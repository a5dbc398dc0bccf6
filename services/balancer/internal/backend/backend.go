// Package backend knows where the servers are and whether they live.
//
// Names are resolved at the start, then again and again; a server that moves
// keeps its place in the rotation. Evidence that a server is down is a refusal
// (connection refused, host or network unreachable), its name being gone, or
// probes that fail. A lost reply is no evidence: the servers of the lab lose
// replies on purpose. A server is up again when it replies or a probe of it is
// answered. Where probes are off, a server that is down is given one turn every
// two seconds to try it.
package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/rotation"
	"udplab/services/kit/app"
	"udplab/services/kit/udp"
)

const (
	// trialAfter is how long a server that is down is left alone before it is
	// given a turn to try it.
	trialAfter = 2 * time.Second
	// oldAddresses is how long replies are still taken from an address that a
	// server moved away from.
	oldAddresses = time.Minute
	// startPatience is how long a resolver may fail at the start before the
	// balancer gives up.
	startPatience = 5 * time.Second
)

// Config is what a Set is made of.
type Config struct {
	Servers         List
	ResolveInterval time.Duration
	Probe           Probe
	Rotation        *rotation.Rotation
	Ledger          *ledger.Ledger
	// Lookup resolves a host's name; nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Set is all backends. Its methods may be called by several goroutines; those
// that the data path calls take no lock unless something changes.
type Set struct {
	Config
	directory atomic.Pointer[directory]
	up        []atomic.Bool
	lookNow   chan struct{}

	mu      sync.Mutex // guards the next two, and every change of the above
	members []member
	closed  bool
}

// member is what is kept of one backend.
type member struct {
	trial *time.Timer // gives it a turn to try it; nil while it is up
	old   []oldAddress
}

type oldAddress struct {
	addr netip.AddrPort
	left time.Time
}

// directory is an unchanging picture of who is where.
type directory struct {
	addrs  []netip.AddrPort // by backend; invalid: its name is gone
	owners map[netip.AddrPort]owner
}

type owner struct {
	backend int
	current bool
}

// Resolve looks up every server once and returns the set, all up. If one does
// not resolve, or two are at one address, it returns app.Problems about
// BALANCER_BACKENDS.
func Resolve(ctx context.Context, cfg Config) (*Set, error) {
	if cfg.Lookup == nil {
		cfg.Lookup = systemLookup
	}
	s := &Set{
		Config: cfg, up: make([]atomic.Bool, len(cfg.Servers)),
		lookNow: make(chan struct{}, 1), members: make([]member, len(cfg.Servers)),
	}
	addrs := make([]netip.AddrPort, len(cfg.Servers))
	failed := make([]error, len(cfg.Servers))
	var wg sync.WaitGroup
	for i := range cfg.Servers {
		s.up[i].Store(true)
		wg.Go(func() { addrs[i], failed[i] = s.lookPatiently(ctx, i) })
	}
	wg.Wait()
	var problems app.Problems
	for i, server := range cfg.Servers {
		problem := app.Problem{Name: "BALANCER_BACKENDS", Value: server.String()}
		if failed[i] != nil {
			problem.Want = fmt.Sprintf("a name that resolves (%v)", failed[i])
			problems = append(problems, problem)
		} else if j := slices.Index(addrs[:i], addrs[i]); j >= 0 {
			problem.Want = fmt.Sprintf("an address of its own; %s is at %v too", cfg.Servers[j], addrs[i])
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	s.publish(addrs)
	for i, addr := range addrs {
		s.Ledger.BackendAt(time.Now(), i, addr)
	}
	return s, nil
}

// systemLookup asks the system's resolver for IPv4 and IPv6 addresses.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// lookPatiently resolves a server's name, again and again for a while if the
// resolver fails without saying that there is no such name.
func (s *Set) lookPatiently(ctx context.Context, i int) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		addr, err := s.look(ctx, i, netip.AddrPort{})
		if err == nil || gone(err) {
			return addr, err
		}
		select {
		case <-ctx.Done():
			return netip.AddrPort{}, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// look resolves a server's name once. Of several addresses it prefers the one
// it had, then the first of IPv4, as the servers of the assignment listen
// there.
func (s *Set) look(ctx context.Context, i int, had netip.AddrPort) (netip.AddrPort, error) {
	server := s.Servers[i]
	port, _ := strconv.ParseUint(server.Port, 10, 16) // the list has checked it
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a.Unmap(), uint16(port)) }
	if addr, err := netip.ParseAddr(server.Host); err == nil {
		return at(numberedZone(addr)), nil
	}
	addrs, err := s.Lookup(ctx, server.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(addrs) == 0 {
		return netip.AddrPort{}, &net.DNSError{Err: "no address", Name: server.Host, IsNotFound: true}
	}
	best := at(addrs[0])
	for _, a := range slices.Backward(addrs) {
		if at(a).Addr().Is4() {
			best = at(a)
		}
	}
	for _, a := range addrs {
		if at(a) == had {
			best = had
		}
	}
	return best, nil
}

// numberedZone writes the zone of an IPv6 address as the kernel does, by the
// number of its interface, so that replies from there compare equal.
func numberedZone(addr netip.Addr) netip.Addr {
	if i, err := net.InterfaceByName(addr.Zone()); err == nil {
		return addr.WithZone(strconv.Itoa(i.Index))
	}
	return addr
}

// gone says whether the resolver knows that there is no such name, as opposed
// to not knowing anything.
func gone(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// Run watches over the backends until the context ends: it resolves their
// names and probes them.
func (s *Set) Run(ctx context.Context) {
	defer s.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.Probe.Payload != "" {
		for i := range s.Servers {
			wg.Go(func() { s.probeAll(ctx, i) })
		}
	}
	tick := time.NewTicker(s.ResolveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.lookNow:
		}
		s.lookAll(ctx)
	}
}

func (s *Set) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for i := range s.members {
		s.stopTrial(i)
	}
}

// lookAll resolves every name once more and obeys what it finds.
func (s *Set) lookAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.ResolveInterval)
	defer cancel()
	before := s.directory.Load().addrs
	addrs := slices.Clone(before)
	var wg sync.WaitGroup
	for i := range s.Servers {
		wg.Go(func() {
			addr, err := s.look(ctx, i, before[i])
			if err == nil || gone(err) {
				addrs[i] = addr
			} // else the resolver itself is at fault: the last address is the best guess
		})
	}
	wg.Wait()
	s.moved(before, addrs)
}

// moved publishes new addresses and draws the conclusions.
func (s *Set) moved(before, addrs []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := time.Now()
	expired := false
	for i := range s.members {
		m := &s.members[i]
		n := len(m.old)
		m.old = slices.DeleteFunc(m.old, func(o oldAddress) bool { return now.Sub(o.left) > oldAddresses })
		expired = expired || len(m.old) != n
		if before[i] != addrs[i] && before[i].IsValid() {
			m.old = append(m.old, oldAddress{before[i], now})
		}
	}
	if !expired && slices.Equal(before, addrs) {
		return
	}
	s.publish(addrs)
	for i, addr := range addrs {
		if addr == before[i] {
			continue
		}
		s.Ledger.BackendAt(now, i, addr)
		switch {
		case !addr.IsValid():
			s.down(now, i, "its name is gone")
			s.stopTrial(i)
			s.Rotation.Set(i, rotation.Down)
		case !s.up[i].Load() && s.Probe.Payload == "":
			s.tryIn(i, 0) // at a new place it may live
		}
	}
}

// publish shows the data path a new directory.
func (s *Set) publish(addrs []netip.AddrPort) {
	d := &directory{addrs: addrs, owners: map[netip.AddrPort]owner{}}
	for i := range s.members {
		for _, o := range s.members[i].old {
			d.owners[o.addr] = owner{i, false}
		}
	}
	for i, addr := range addrs { // who is there now has precedence
		if addr.IsValid() {
			d.owners[addr] = owner{i, true}
		}
	}
	s.directory.Store(d)
}

// Len is how many backends there are.
func (s *Set) Len() int { return len(s.Servers) }

// Addr is where backend i is now; it is not valid while its name is gone.
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
// reported err for a datagram to it.
func (s *Set) Refused(i int, addr netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || addr != s.Addr(i) || !s.up[i].Load() {
		return
	}
	s.down(time.Now(), i, udp.Reason(err))
	if s.Probe.Payload == "" {
		s.tryIn(i, trialAfter)
	}
	select { // it may have moved
	case s.lookNow <- struct{}{}:
	default:
	}
}

// Answered is evidence that backend i lives: a reply came from addr.
func (s *Set) Answered(i int, addr netip.AddrPort) {
	if s.up[i].Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || addr != s.Addr(i) || s.up[i].Load() {
		return
	}
	s.stopTrial(i)
	s.up[i].Store(true)
	s.Rotation.Set(i, rotation.Up)
	s.Ledger.BackendUp(time.Now(), i)
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

// down marks a backend that is up as down.
func (s *Set) down(now time.Time, i int, why string) {
	if !s.up[i].Load() {
		return
	}
	s.up[i].Store(false)
	s.Rotation.Set(i, rotation.Down)
	s.Ledger.BackendDown(now, i, why)
}

// tryIn gives a backend that is down one turn, in a while.
func (s *Set) tryIn(i int, wait time.Duration) {
	s.stopTrial(i)
	s.members[i].trial = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed && !s.up[i].Load() && s.Addr(i).IsValid() {
			s.Rotation.Set(i, rotation.Trial)
		}
	})
}

func (s *Set) stopTrial(i int) {
	if t := s.members[i].trial; t != nil {
		t.Stop()
		s.members[i].trial = nil
	}
}
