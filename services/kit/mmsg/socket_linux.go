package mmsg

import (
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"udplab/services/kit/udp"
)

// Socket is a nonblocking UDP socket. It belongs to one goroutine. It hears ICMP
// errors about what it sent (IP_RECVERR, ip(7)): see Errors.
type Socket struct {
	fd      int
	family  int
	gso     bool // the kernel segments for us; false once it refused
	pktinfo bool // the kernel reports where each datagram was sent to
	drops   uint32
}

// option is a socket option, set before the socket is bound: a datagram may come
// at once.
type option struct {
	name                 string
	level, number, value int
}

// Listen opens a socket on an address, port 0 for a free one. The IPv6
// wildcard hears IPv4 too. On a wildcard the socket learns where each datagram
// was sent to (IP_PKTINFO, IPV6_PKTINFO: RFC 3542 section 6.2): else replies of
// a machine with several addresses would leave from the wrong one, and clients
// drop them. With share, several sockets may listen on one address and the
// kernel spreads the clients over them (SO_REUSEPORT, socket(7)).
func Listen(addr netip.AddrPort, share bool) (*Socket, error) {
	wildcard := addr.Addr().IsUnspecified()
	var options []option
	if share {
		options = append(options, option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	switch v6 := addr.Addr().Is6(); {
	case v6 && wildcard:
		options = append(options, option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0},
			option{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	case v6:
		options = append(options, option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	case wildcard:
		options = append(options, option{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	s, err := open(addr, options...)
	if err != nil {
		return nil, fmt.Errorf("listen udp %v: %w", addr, err)
	}
	s.pktinfo = wildcard
	return s, nil
}

// sendBuffer is what a socket asks for to send from, in bytes. While a neighbour
// does not answer, the kernel keeps as much for it as the default buffer holds
// (net.ipv4.neigh unres_qlen_bytes, 212,992), and nothing to anybody else would
// leave. The kernel doubles what it grants, so this is more also where the limit
// net.core.wmem_max is the same.
const sendBuffer = 212_992

// Dial opens an unconnected socket for sending to addresses of one family, on a
// free port.
func Dial(v6 bool) (*Socket, error) {
	ip := netip.IPv4Unspecified()
	if v6 {
		ip = netip.IPv6Unspecified()
	}
	s, err := open(netip.AddrPortFrom(ip, 0))
	if err != nil {
		return nil, fmt.Errorf("open udp: %w", err)
	}
	s.SetSendBuffer(sendBuffer)
	return s, nil
}

// open opens a socket of an address's family, sets its options and binds it.
// Binding gives it its port, which others may want to know before the first
// datagram.
func open(addr netip.AddrPort, options ...option) (*Socket, error) {
	s := &Socket{family: unix.AF_INET, gso: true}
	options = append(options, option{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1})
	if addr.Addr().Is6() { // it may hear IPv4 too, and asks for the errors of both (ip(7), ipv6(7))
		s.family = unix.AF_INET6
		options = append(options, option{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1})
	}
	var err error
	if s.fd, err = unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for _, o := range options {
		if err == nil {
			err = os.NewSyscallError(o.name, unix.SetsockoptInt(s.fd, o.level, o.number, o.value))
		}
	}
	if err == nil {
		var sa sockaddr
		length := putAddr(&sa, addr, s.family)
		if _, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(s.fd), uintptr(unsafe.Pointer(&sa)), uintptr(length)); errno != 0 {
			err = os.NewSyscallError("bind", errno)
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the socket. What it had not received is lost.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// FD is the socket's descriptor: no other socket of the process has it until Close.
func (s *Socket) FD() int { return s.fd }

// Addr is the address the socket is bound to; a zone is a number.
func (s *Socket) Addr() netip.AddrPort {
	var sa sockaddr
	length := uint32(sizeofInet6)
	unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&length)))
	return getAddr(&sa)
}

// SetReceiveBuffer asks for a receive buffer of so many bytes and returns how
// many the kernel granted. The limit (net.core.rmem_max) holds unless the
// process may exceed it (CAP_NET_ADMIN).
func (s *Socket) SetReceiveBuffer(bytes int) (granted int) {
	s.setBuffer(unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bytes)
	granted, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return granted / 2 // the kernel doubles what it grants, for its own bookkeeping: socket(7)
}

// SetSendBuffer asks for a send buffer of so many bytes, with the same limit
// (net.core.wmem_max).
func (s *Socket) SetSendBuffer(bytes int) { s.setBuffer(unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, bytes) }

func (s *Socket) setBuffer(force, ask, bytes int) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, force, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, ask, bytes)
	}
}

// NewDrops is how many datagrams the kernel has dropped at this socket since
// the last call, mostly because the receive buffer was full.
func (s *Socket) NewDrops() uint64 {
	total := udp.KernelDrops(s.fd)
	n := total - s.drops // right over a wrap-around too
	s.drops = total
	return uint64(n)
}
