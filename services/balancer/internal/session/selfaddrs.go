package session

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// SelfAddrs are the addresses that the balancer itself sends from: the listener's
// and those of the sessions' sockets. A datagram that comes to the listener from
// one of them has gone round in a circle: a server is the balancer itself. Or it
// is a forgery that would go round. Methods may be called by several goroutines.
//
// A circle by way of somebody else, such as a balancer that has this one for its
// server, cannot be told from a client. It goes on until a turn leads out of it
// or one of the two has no room for another session.
type SelfAddrs struct {
	ports [1 << 16 / 64]atomic.Uint64 // a bit for each port; nearly always enough to say no

	mu         sync.Mutex // guards the rest
	byPort     map[uint16][]netip.Addr
	machine    []netip.Addr // the machine's addresses, as of looked
	looked     time.Time
	interfaces func() ([]net.Addr, error)
}

// machineFor is how long the machine's addresses are taken to be what they were.
const machineFor = 10 * time.Second

// NewSelfAddrs returns an empty set. It asks interfaces, such as
// net.InterfaceAddrs, for the machine's addresses when it needs them.
func NewSelfAddrs(interfaces func() ([]net.Addr, error)) *SelfAddrs {
	return &SelfAddrs{byPort: map[uint16][]netip.Addr{}, interfaces: interfaces}
}

// Add adds the address of a socket; an unspecified one is every address of the
// machine.
func (s *SelfAddrs) Add(addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	port := addr.Port()
	s.byPort[port] = append(s.byPort[port], addr.Addr())
	s.ports[port/64].Or(1 << (port % 64))
}

// Remove takes back what Add added.
func (s *SelfAddrs) Remove(addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	port := addr.Port()
	if i := slices.Index(s.byPort[port], addr.Addr()); i >= 0 {
		s.byPort[port] = slices.Delete(s.byPort[port], i, i+1)
	}
	if len(s.byPort[port]) == 0 {
		delete(s.byPort, port)
		s.ports[port/64].And(^(1 << (port % 64)))
	}
}

// Contains says whether the balancer sends from this address.
func (s *SelfAddrs) Contains(now time.Time, from netip.AddrPort) bool {
	port := from.Port()
	if s.ports[port/64].Load()&(1<<(port%64)) == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range s.byPort[port] {
		everywhere := addr.IsUnspecified() && (addr.Is6() || from.Addr().Is4()) // [::] hears IPv4 too, 0.0.0.0 no IPv6
		if addr == from.Addr() || everywhere && s.isMachine(now, from.Addr()) {
			return true
		}
	}
	return false
}

// isMachine says whether an address is one of this machine's.
func (s *SelfAddrs) isMachine(now time.Time, ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	if now.Sub(s.looked) > machineFor {
		s.looked = now
		if addrs, err := s.interfaces(); err == nil { // else no descriptor is left to ask with, say
			s.machine = s.machine[:0]
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					s.machine = append(s.machine, p.Addr().Unmap().WithZone(""))
				}
			}
		}
	}
	return slices.Contains(s.machine, ip.WithZone(""))
}
