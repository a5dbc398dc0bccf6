package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"udplab/services/kit/config"
	"udplab/services/kit/udp"
)

const (
	// startPatience is how long the start waits for names that do not resolve
	// yet, such as those of containers that are being started too.
	startPatience = 3 * time.Second
	// startPause is how long it waits before it tries such a name again.
	startPause = 200 * time.Millisecond
	// lookUpTime is how long one look-up may take once the balancer runs: a
	// resolver whose first name server is dead takes five seconds.
	lookUpTime = 10 * time.Second
)

// Resolve looks up every server's name. One that does not resolve within a few
// seconds is down until it does. Resolve returns config.Problems about
// BALANCER_BACKENDS if a server is the balancer itself or two are at one
// address, and an error if the context ends.
func (m *Members) Resolve(ctx context.Context) error {
	addrs := make([]netip.AddrPort, len(m.members))
	failed := make([]error, len(m.members))
	var wg sync.WaitGroup
	for i, b := range m.members {
		wg.Go(func() { addrs[i], failed[i] = m.lookUpPatiently(ctx, b) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if problems := m.conflicts(addrs); len(problems) > 0 {
		return problems
	}
	for i, b := range m.members {
		m.learn(b, addrs[i], failed[i])
	}
	return nil
}

// conflicts says which servers cannot be where they are.
func (m *Members) conflicts(addrs []netip.AddrPort) (problems config.Problems) {
	for i, b := range m.members {
		want := ""
		switch j := slices.Index(addrs, addrs[i]); {
		case !addrs[i].IsValid():
			continue
		case j < i:
			want = fmt.Sprintf("an address of its own; %s is at %v too", m.members[j].server, addrs[i])
		case m.IsSelf(addrs[i]):
			want = fmt.Sprintf("another address than %v, the balancer's own (BALANCER_LISTEN)", addrs[i])
		default:
			continue
		}
		problems = append(problems, config.Problem{Name: "BALANCER_BACKENDS", Value: b.server.String(), Want: want})
	}
	return problems
}

// lookUpPatiently resolves a server's name, again and again for a while.
func (m *Members) lookUpPatiently(ctx context.Context, b *member) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		addr, err := m.lookUp(ctx, b)
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
func (m *Members) watchName(ctx context.Context, b *member) {
	tick := time.NewTicker(m.ResolveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.resolve:
		}
		m.lookUpAgain(ctx, b)
	}
}

// lookUpAgain resolves a server's name once more and acts on what it finds.
func (m *Members) lookUpAgain(ctx context.Context, b *member) {
	brief, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	addr, err := m.lookUp(brief, b)
	if ctx.Err() == nil {
		m.learn(b, addr, err)
	}
}

// learn draws the conclusions from a look-up of a server's name.
func (m *Members) learn(b *member, addr netip.AddrPort, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	now := time.Now()
	m.forget(now, b)
	if err != nil && !notFound(err) && b.claim.IsValid() {
		return // the resolver itself is at fault: the last address is the best guess
	}
	isNew := b.claim != addr
	b.claim = addr
	var holder *member // another server that is there already
	if there, current := m.Owner(addr); current && there.ID != b.ID {
		holder = m.find(there.ID)
	}
	switch {
	case !addr.IsValid() && b.found:
		m.evict(now, b, NameNotFound, "its name is gone")
	case !addr.IsValid():
		m.evict(now, b, NameNotFound, "its name does not resolve: "+reason(err))
	case m.IsSelf(addr):
		m.evict(now, b, AddressConflict, "its name leads to the balancer itself")
	case holder != nil && !isNew:
		m.evict(now, b, AddressConflict, "its address is "+holder.Name+"'s now")
	default:
		if holder != nil { // the one that came later is there
			m.evict(now, holder, AddressConflict, "its address is "+b.Name+"'s now")
		}
		m.move(now, b, addr)
	}
}

// lookUp resolves a server's name once. Of several addresses it prefers the one
// it had, then the first of IPv4, as the servers of the assignment listen there.
func (m *Members) lookUp(ctx context.Context, b *member) (netip.AddrPort, error) {
	port, _ := strconv.ParseUint(b.server.Port, 10, 16) // the list has checked it
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a.Unmap(), uint16(port)) }
	if addr, err := netip.ParseAddr(b.server.Host); err == nil {
		return at(numberedZone(addr)), nil
	}
	addrs, err := m.Lookup(ctx, "ip", b.server.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs = slices.DeleteFunc(addrs, isNobody)
	if len(addrs) == 0 {
		return netip.AddrPort{}, &net.DNSError{Err: "no address of a server", Name: b.server.Host, IsNotFound: true}
	}
	udp.SortIPv4First(addrs)
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(addrs, b.claim.Addr()) {
		return b.claim, nil
	}
	return at(addrs[0]), nil
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

// notFound says whether the resolver knows that there is no such name, as opposed
// to not knowing anything.
func notFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// reason is why a look-up failed, in a few words.
func reason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	return err.Error()
}
