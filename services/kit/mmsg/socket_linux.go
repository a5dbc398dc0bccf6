package mmsg

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// MaxPayload is the longest payload of a UDP datagram over IPv4, in bytes.
const MaxPayload = 65_507

// Socket is a nonblocking UDP socket. It belongs to one goroutine. It hears ICMP
// errors about what it sent (IP_RECVERR, ip(7)): see Errors.
type Socket struct {
	fd      int
	family  int
	gso     bool // the kernel segments for us; false once it refused
	pktinfo bool // the kernel reports where each datagram was sent to
	drops   uint32
}

// Listen opens a socket on an address, port 0 for a free one. The IPv6
// wildcard hears IPv4 too. On a wildcard the socket learns where each datagram
// was sent to (IP_PKTINFO, IPV6_PKTINFO: RFC 3542 section 6.2): else replies of
// a machine with several addresses would leave from the wrong one, and clients
// drop them. With share, several sockets may listen on one address and the
// kernel spreads the clients over them (SO_REUSEPORT, socket(7)).
func Listen(addr netip.AddrPort, share bool) (*Socket, error) {
	wildcard := addr.Addr().IsUnspecified()
	// All before bind: a datagram may come at once.
	return open(addr, "listen udp "+addr.String(), func(s *Socket) error {
		if share {
			if err := s.set("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return err
			}
		}
		s.pktinfo = wildcard
		switch {
		case s.family == unix.AF_INET && wildcard:
			return s.set("IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		case s.family == unix.AF_INET6 && wildcard:
			if err := s.set("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
				return err
			}
			return s.set("IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		case s.family == unix.AF_INET6:
			return s.set("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		}
		return nil
	})
}

// sendBuffer is what a socket asks for to send from, in bytes: more than a
// neighbour that does not answer can hold up (net.ipv4.neigh unres_qlen_bytes,
// 212,992), also where the limit net.core.wmem_max is the same, since the kernel
// doubles what it grants.
const sendBuffer = 212_992

// Dial opens an unconnected socket for sending to addresses of one family, on a
// free port.
func Dial(v6 bool) (*Socket, error) {
	ip := netip.IPv4Unspecified()
	if v6 {
		ip = netip.IPv6Unspecified()
	}
	return open(netip.AddrPortFrom(ip, 0), "open udp", func(s *Socket) error {
		// While a neighbour does not answer, the kernel keeps as much for it as
		// the default send buffer holds, and nothing to anybody else would leave.
		s.SetSendBuffer(sendBuffer)
		return nil
	})
}

// Connect opens a socket that talks to one address and hears nobody else.
// Datagrams are added to an Outbox with its Peer as their destination.
func Connect(to netip.AddrPort) (*Socket, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	s, err := Dial(to.Addr().Is6())
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(s.fd, unixAddr(to, s.family)); err != nil {
		s.Close()
		return nil, fmt.Errorf("connect udp %v: %w", to, os.NewSyscallError("connect", err))
	}
	return s, nil
}

// open opens a socket of an address's family, sets it up and binds it. Binding
// gives it its port, which others may want to know before the first datagram.
func open(addr netip.AddrPort, doing string, setUp func(*Socket) error) (*Socket, error) {
	s := &Socket{family: unix.AF_INET, gso: true}
	if addr.Addr().Is6() {
		s.family = unix.AF_INET6
	}
	var err error
	if s.fd, err = unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, os.NewSyscallError("socket", err))
	}
	if err = setUp(s); err == nil {
		err = s.hearErrors()
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(s.fd, unixAddr(addr, s.family)))
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return s, nil
}

// hearErrors: an IPv6 socket that hears IPv4 too has to ask for the errors of
// both (ip(7), ipv6(7)).
func (s *Socket) hearErrors() error {
	if s.family == unix.AF_INET6 {
		if err := s.set("IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1); err != nil {
			return err
		}
	}
	return s.set("IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

func (s *Socket) set(name string, level, option, value int) error {
	return os.NewSyscallError(name, unix.SetsockoptInt(s.fd, level, option, value))
}

// Close closes the socket. What it had not received is lost.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Addr is the address the socket is bound to; a zone is a number.
func (s *Socket) Addr() netip.AddrPort { return fromUnix(unix.Getsockname(s.fd)) }

// Peer is the address the socket is connected to, as the kernel has it: for
// 0.0.0.0 that is this machine, and a zone is a number. It is not valid if the
// socket is not connected.
func (s *Socket) Peer() netip.AddrPort { return fromUnix(unix.Getpeername(s.fd)) }

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

// SetSendBuffer asks for a send buffer of so many bytes, with the same limit
// (net.core.wmem_max).
func (s *Socket) SetSendBuffer(bytes int) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
	}
}

// NewDrops is how many datagrams the kernel has dropped at this socket since
// the last call, mostly because the receive buffer was full; 0 if it does not
// say. The kernel's own count is cumulative and has 32 bits.
func (s *Socket) NewDrops() uint64 {
	total, err := Drops(s.fd)
	if err != nil {
		return 0
	}
	n := total - s.drops // right over a wrap-around too
	s.drops = total
	return uint64(n)
}
