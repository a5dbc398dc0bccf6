package mmsg

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// MaxPayload is the longest payload of a UDP datagram over IPv4, in bytes.
const MaxPayload = 65_507

// sendBuffer is what a socket asks for to send from, in bytes: more than a
// neighbour that does not answer can hold up (net.ipv4.neigh unres_qlen_bytes,
// 212,992), also where the limit net.core.wmem_max is the same, since the kernel
// doubles what it grants.
const sendBuffer = 212_992

// Socket is a nonblocking UDP socket. It belongs to one goroutine.
type Socket struct {
	fd     int
	family int
	runs   bool // the kernel segments for us; false once it refused
	asked  bool // the kernel reports where each datagram was sent to
	drops  uint32
}

// Listen opens a socket on an address, port 0 for a free one. The IPv6
// wildcard hears IPv4 too. On a wildcard the socket learns where each datagram
// was sent to (IP_PKTINFO, IPV6_PKTINFO: RFC 3542 section 6.2). With share,
// several sockets may listen on one address and the kernel spreads the clients
// over them (SO_REUSEPORT, socket(7)). It hears ICMP errors about what it sent, as
// a socket of Dial does.
func Listen(addr netip.AddrPort, share bool) (*Socket, error) {
	s, err := open(addr.Addr())
	if err != nil {
		return nil, err
	}
	if err := s.listen(addr, share); err != nil {
		s.Close()
		return nil, fmt.Errorf("listen udp %v: %w", addr, err)
	}
	return s, nil
}

func (s *Socket) listen(addr netip.AddrPort, share bool) error {
	// All before bind: a datagram may come at once.
	if share {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("SO_REUSEPORT", err)
		}
	}
	if s.family == unix.AF_INET6 {
		only := 1
		if addr.Addr().IsUnspecified() {
			only = 0
		}
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("IPV6_V6ONLY", err)
		}
	}
	if addr.Addr().IsUnspecified() {
		if err := s.reportDestinations(); err != nil {
			return err
		}
	}
	if err := s.hearErrors(); err != nil {
		return err
	}
	return os.NewSyscallError("bind", bind(s.fd, addr, s.family))
}

// reportDestinations: without it, replies of a machine with several addresses
// leave from the wrong one, and clients drop them.
func (s *Socket) reportDestinations() error {
	s.asked = true
	if s.family == unix.AF_INET {
		return os.NewSyscallError("IP_PKTINFO", unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	}
	return os.NewSyscallError("IPV6_RECVPKTINFO", unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
}

// Dial opens an unconnected socket for sending to addresses of one family, on a
// free port, which hears ICMP errors about what it sent (IP_RECVERR, ip(7)).
func Dial(v6 bool) (*Socket, error) {
	ip := netip.IPv4Unspecified()
	if v6 {
		ip = netip.IPv6Unspecified()
	}
	s, err := open(ip)
	if err != nil {
		return nil, err
	}
	if err := s.hearErrors(); err != nil {
		s.Close()
		return nil, err
	}
	// The first send would do it, but then nobody could know the port before.
	if err := bind(s.fd, netip.AddrPortFrom(ip, 0), s.family); err != nil {
		s.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	// While a neighbour does not answer, the kernel keeps as much for it as the
	// default send buffer holds, and nothing to anybody else would leave.
	s.SetSendBuffer(sendBuffer)
	return s, nil
}

// hearErrors: without it, an unconnected socket is told nothing (ip(7), ipv6(7)).
// An IPv6 socket that hears IPv4 too has to ask for both.
func (s *Socket) hearErrors() error {
	if s.family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1); err != nil {
			return os.NewSyscallError("IPV6_RECVERR", err)
		}
	}
	return os.NewSyscallError("IP_RECVERR", unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
}

func open(ip netip.Addr) (*Socket, error) {
	family := unix.AF_INET
	if ip.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &Socket{fd: fd, family: family, runs: true}, nil
}

// Close closes the socket. What it had not received is lost.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Addr is the address the socket is bound to; a zone is a number.
func (s *Socket) Addr() netip.AddrPort {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrOf(sa)
}

// addrOf is an address of package unix; a zone is a number.
func addrOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(sa.Addr).Unmap(), sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// SetReceiveBuffer asks for a receive buffer of so many bytes and returns how
// many the kernel granted. The limit (net.core.rmem_max) holds unless the
// process may exceed it (CAP_NET_ADMIN).
func (s *Socket) SetReceiveBuffer(bytes int) (granted int) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
	granted, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return granted / 2 // the kernel doubles what it grants, for its own bookkeeping: socket(7)
}

// SetSendBuffer asks for a send buffer of so many bytes.
func (s *Socket) SetSendBuffer(bytes int) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
	}
}

// NewDrops is how many datagrams the kernel has dropped at this socket since
// the last call, mostly because the receive buffer was full. The kernel's own
// count (SO_MEMINFO, sock_diag(7)) is cumulative and has 32 bits.
func (s *Socket) NewDrops() uint64 {
	total, err := Drops(s.fd)
	if err != nil {
		return 0
	}
	n := total - s.drops // right over a wrap-around too
	s.drops = total
	return uint64(n)
}

// interfaceIndex is the number of a network interface.
func interfaceIndex(name string) (uint32, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}
