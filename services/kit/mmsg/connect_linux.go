package mmsg

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Connect opens a socket that talks to one address and hears nobody else. Like
// one from Dial it hears ICMP errors about what it sent. Datagrams are added to
// an Outbox with its Peer as their destination.
func Connect(to netip.AddrPort) (*Socket, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	s, err := Dial(to.Addr().Is6())
	if err != nil {
		return nil, err
	}
	if err := connect(s.fd, to, s.family); err != nil {
		s.Close()
		return nil, fmt.Errorf("connect udp %v: %w", to, os.NewSyscallError("connect", err))
	}
	return s, nil
}

func connect(fd int, to netip.AddrPort, family int) error {
	if family == unix.AF_INET {
		return unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	return unix.Connect(fd, &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port()), ZoneId: zone(to.Addr().Zone())})
}

// Peer is the address the socket is connected to, as the kernel has it: for
// 0.0.0.0 that is this machine, and a zone is a number. It is not valid if the
// socket is not connected.
func (s *Socket) Peer() netip.AddrPort {
	sa, err := unix.Getpeername(s.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrOf(sa)
}
