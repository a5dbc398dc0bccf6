package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/config"
)

const (
	// startPatience is how long the start waits for names that do not resolve
	// yet, such as those of containers that are being started too.
	startPatience = 3 * time.Second
	// startPause is how long it waits before it tries such a name again.
	startPause = 200 * time.Millisecond
	// lookTime is how long one look-up may take once the balancer runs: a
	// resolver whose first name server is dead takes five seconds.
	lookTime = 10 * time.Second
)

// Resolve looks up every server's name. One that does not resolve within a few
// seconds is down until it does. Resolve returns config.Problems about
// BALANCER_BACKENDS if a server is the balancer itself or two are at one
// address, and an error if the context ends.
func (s *Set) Resolve(ctx context.Context) error {
	addrs := make([]netip.AddrPort, s.Len())
	failed := make([]error, s.Len())
	var wg sync.WaitGroup
	for i := range s.Servers {
		wg.Go(func() { addrs[i], failed[i] = s.lookPatiently(ctx, i) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if problems := s.conflicts(addrs); len(problems) > 0 {
		return problems
	}
	for i := range s.Servers {
		s.learn(i, addrs[i], failed[i])
	}
	return nil
}

// conflicts says which servers cannot be where they are.
func (s *Set) conflicts(addrs []netip.AddrPort) (problems config.Problems) {
	for i, server := range s.Servers {
		problem := config.Problem{Name: "BALANCER_BACKENDS", Value: server.String()}
		j := slices.Index(addrs[:i], addrs[i])
		switch {
		case !addrs[i].IsValid():
			continue
		case j >= 0:
			problem.Want = fmt.Sprintf("an address of its own; %s is at %v too", s.Servers[j], addrs[i])
		case s.Itself(addrs[i]):
			problem.Want = fmt.Sprintf("another address than %v, the balancer's own (BALANCER_LISTEN)", addrs[i])
		default:
			continue
		}
		problems = append(problems, problem)
	}
	return problems
}

// lookPatiently resolves a server's name, again and again for a while.
func (s *Set) lookPatiently(ctx context.Context, i int) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		addr, err := s.look(ctx, i)
		if err == nil {
			return addr, nil
		}
		select {
		case <-ctx.Done():
			return netip.AddrPort{}, err
		case <-time.After(startPause):
		}
	}
}

// watchName resolves a server's name again and again until the context ends.
func (s *Set) watchName(ctx context.Context, i int) {
	tick := time.NewTicker(s.ResolveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.watchers[i].resolve:
		}
		s.lookAgain(ctx, i)
	}
}

// lookAgain resolves a server's name once more and obeys what it finds.
func (s *Set) lookAgain(ctx context.Context, i int) {
	brief, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	addr, err := s.look(brief, i)
	if ctx.Err() == nil {
		s.learn(i, addr, err)
	}
}

// learn draws the conclusions from a look-up of backend i's name.
func (s *Set) learn(i int, addr netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := time.Now()
	s.forget(now, i)
	m := &s.members[i]
	if err != nil && !gone(err) && m.claim.IsValid() {
		return // the resolver itself is at fault: the last address is the best guess
	}
	newcomer := m.claim != addr
	m.claim = addr
	holder := slices.Index(s.directory.Load().addrs, addr)
	switch {
	case !addr.IsValid() && m.found:
		s.place(now, i, netip.AddrPort{}, ledger.Evidence{Cause: ledger.NameNotFound, Reason: "its name is gone"})
	case !addr.IsValid():
		s.place(now, i, netip.AddrPort{}, ledger.Evidence{Cause: ledger.NameNotFound, Reason: "its name does not resolve: " + reason(err)})
	case s.Itself(addr):
		s.place(now, i, netip.AddrPort{}, ledger.Evidence{Cause: ledger.AddressConflict, Reason: "its name leads to the balancer itself"})
	case holder >= 0 && holder != i && !newcomer:
		s.place(now, i, netip.AddrPort{}, isNow(s.Servers[holder]))
	default:
		if holder >= 0 && holder != i { // who came later is there
			s.place(now, holder, netip.AddrPort{}, isNow(s.Servers[i]))
		}
		s.place(now, i, addr, ledger.Evidence{})
	}
}

// isNow is why a backend has no address while another has taken it over.
func isNow(other Server) ledger.Evidence {
	return ledger.Evidence{Cause: ledger.AddressConflict, Reason: "its address is " + other.Name + "'s now"}
}

// look resolves a server's name once. Of several addresses it prefers the one
// it had, then the first of IPv4, as the servers of the assignment listen
// there.
func (s *Set) look(ctx context.Context, i int) (netip.AddrPort, error) {
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
	addrs = slices.DeleteFunc(addrs, isNobody)
	if len(addrs) == 0 {
		return netip.AddrPort{}, &net.DNSError{Err: "no address of a server", Name: server.Host, IsNotFound: true}
	}
	s.mu.Lock()
	had := s.members[i].claim
	s.mu.Unlock()
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

// systemLookup asks the system's resolver for IPv4 and IPv6 addresses.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// numberedZone writes the zone of an IPv6 address as the kernel does, by the
// number of its interface, so that replies from there compare equal.
func numberedZone(addr netip.Addr) netip.Addr {
	if i, err := net.InterfaceByName(addr.Zone()); err == nil {
		return addr.WithZone(strconv.Itoa(i.Index))
	}
	return addr
}

// isNobody says that an address is not that of one server.
func isNobody(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsUnspecified() || addr.IsMulticast()
}

// gone says whether the resolver knows that there is no such name, as opposed
// to not knowing anything.
func gone(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// reason is why a look-up failed, in a few words.
func reason(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return cmp.Or(dns.Err, "no such host")
	}
	return err.Error()
}
