package datapath

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// own are the addresses that the balancer itself sends from: the listener's and
// those of the sessions' sockets. A datagram that comes to the listener from one
// of them has gone round in a circle, by way of a backend that is the balancer
// itself, or is a forgery that would.
//
// A circle by way of somebody else, such as a balancer that has this one for its
// backend, cannot be told from a client. It goes on until a turn leads out of it
// or one of the two has no room for another session.
type own struct {
	ports [1 << 16 / 64]atomic.Uint64 // a bit for each port; nearly always enough to say no

	mu      sync.Mutex // guards the rest
	byPort  map[uint16][]netip.Addr
	machine map[netip.Addr]struct{} // the machine's addresses, as of asked
	asked   time.Time
	ask     func() ([]net.Addr, error)
}

// machineFor is how long the machine's addresses are taken to be what they were.
const machineFor = 10 * time.Second

func newOwn() *own {
	return &own{byPort: map[uint16][]netip.Addr{}, ask: net.InterfaceAddrs}
}

// add adds the address of a socket; an unspecified one is every address of the
// machine.
func (o *own) add(addr netip.AddrPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	port := addr.Port()
	o.byPort[port] = append(o.byPort[port], addr.Addr())
	o.ports[port/64].Or(1 << (port % 64))
}

// remove takes back what add added.
func (o *own) remove(addr netip.AddrPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	port := addr.Port()
	addrs := o.byPort[port]
	if i := slices.Index(addrs, addr.Addr()); i >= 0 {
		addrs = slices.Delete(addrs, i, i+1)
	}
	if o.byPort[port] = addrs; len(addrs) == 0 {
		delete(o.byPort, port)
		o.ports[port/64].And(^(1 << (port % 64)))
	}
}

// sends says whether the balancer sends from this address.
func (o *own) sends(from netip.AddrPort) bool {
	port := from.Port()
	if o.ports[port/64].Load()&(1<<(port%64)) == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, addr := range o.byPort[port] {
		everywhere := addr.IsUnspecified() && (addr.Is6() || from.Addr().Is4()) // [::] hears IPv4 too, 0.0.0.0 no IPv6
		if addr == from.Addr() || everywhere && o.isMachine(from.Addr()) {
			return true
		}
	}
	return false
}

// isMachine says whether an address is one of this machine's.
func (o *own) isMachine(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	if now := time.Now(); o.machine == nil || now.Sub(o.asked) > machineFor {
		o.asked = now
		if addrs, err := o.ask(); err == nil || o.machine == nil { // no descriptor left to ask with, say
			o.machine = map[netip.Addr]struct{}{}
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					o.machine[p.Addr().Unmap().WithZone("")] = struct{}{}
				}
			}
		}
	}
	_, ok := o.machine[ip.WithZone("")]
	return ok
}
