package udp

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
)

// Resolve looks up "host:port" and returns its addresses, at least one, in the
// order of SortIPv4First.
func Resolve(ctx context.Context, address string) (addrs []netip.AddrPort, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	SortIPv4First(ips)
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip, uint16(port)))
	}
	return addrs, err
}

// SortIPv4First makes addresses in their IPv6 form plain IPv4, and puts IPv4 before
// IPv6; else the resolver's order stays. The assignment's programs listen on IPv4
// only, and UDP has no handshake that would tell a wrong choice from a lost datagram.
func SortIPv4First(ips []netip.Addr) {
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
}
