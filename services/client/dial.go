package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"udplab/services/kit/program"
	"udplab/services/kit/udp"
)

// dialer opens a connected UDP socket to the target and says which address
// that is. A connected socket hears nobody else, and hears a refusal. The
// error is one that program.ExitCode knows as a reason not to start.
type dialer func(ctx context.Context, target address) (io.ReadWriteCloser, netip.AddrPort, error)

func dial(ctx context.Context, target address) (io.ReadWriteCloser, netip.AddrPort, error) {
	to, err := resolve(ctx, target)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, netip.AddrPort{}, cannotReach(target, err)
	}
	return conn, udp.Unmap(conn.RemoteAddr().(*net.UDPAddr).AddrPort()), nil
}

// resolve finds the target's address. Its error is one that program.ExitCode knows
// as a reason not to start.
func resolve(ctx context.Context, target address) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(string(target))
	if err != nil {
		return netip.AddrPort{}, cannotReach(target, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, cannotReach(target, err)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, cannotReach(target, err)
	}
	return netip.AddrPortFrom(preferIPv4(addrs), uint16(port)), nil
}

// cannotReach marks an error about the target as a reason not to start; nil
// stays nil.
func cannotReach(target address, err error) error {
	if err == nil {
		return nil
	}
	return program.CannotStart(fmt.Errorf("target %s: %w", target, err))
}

// preferIPv4 chooses among the addresses of one name. The assignment's
// programs listen on IPv4 only, and UDP has no handshake that would tell a
// wrong choice from a lost datagram.
func preferIPv4(addrs []netip.Addr) netip.Addr {
	for _, addr := range addrs {
		if addr.Unmap().Is4() {
			return addr.Unmap()
		}
	}
	return addrs[0]
}
