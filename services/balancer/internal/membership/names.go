package membership

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"udplab/services/kit/udp"
)

const (
	// startWait is how long the start waits for names that do not resolve yet,
	// such as those of containers that are being started too.
	startWait = 3 * time.Second
	// startPause is how long it waits before it tries such a name again.
	startPause = 200 * time.Millisecond
	// lookUpTime is how long one look-up may take once the balancer runs: a
	// resolver whose first name server is dead takes five seconds.
	lookUpTime = 10 * time.Second
)

// Resolve looks up every server's name. One that does not resolve within a few
// seconds is down until it does. Resolve calls wrong for each server that is the
// balancer itself or at another's address, with its entry in the list and what
// would be right. Its error is the context's.
func (m *Members) Resolve(ctx context.Context, wrong func(entry, want string)) error {
	addrs := make([]netip.AddrPort, len(m.members))
	failed := make([]error, len(m.members))
	var wg sync.WaitGroup
	for i, b := range m.members {
		wg.Go(func() { addrs[i], failed[i] = m.lookUpAtStart(ctx, b) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, b := range m.members {
		switch first := slices.Index(addrs, addrs[i]); {
		case !addrs[i].IsValid():
		case first < i:
			wrong(b.server.String(), fmt.Sprintf("an address of its own; %s is at %v too", m.members[first].server, addrs[i]))
		case m.IsSelf(addrs[i]):
			wrong(b.server.String(), fmt.Sprintf("another address than %v, the balancer's own", addrs[i]))
		}
		m.learn(b, addrs[i], failed[i])
	}
	return nil
}

// lookUpAtStart resolves a server's name, with retries for a while.
func (m *Members) lookUpAtStart(ctx context.Context, b *member) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
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

// watchName resolves a server's name at intervals until the context ends.
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
	m.change(func(now time.Time) {
		maps.DeleteFunc(m.former, func(_ netip.AddrPort, l left) bool { return now.Sub(l.at) >= formerFor })
		if err != nil && !notFound(err) && b.claim.IsValid() {
			return // the resolver itself is at fault: the last address is the best guess
		}
		isNew := b.claim != addr
		b.claim = addr
		var holder *member // another server that is there already
		if i := slices.IndexFunc(m.members, func(other *member) bool { return other != b && other.Addr == addr }); i >= 0 {
			holder = m.members[i]
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
	})
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
	addrs = slices.DeleteFunc(addrs, isNoHost)
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

// isNoHost says whether an address is not that of one host.
func isNoHost(addr netip.Addr) bool {
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
