// Package udp is a listening UDP socket on package net that answers from the
// address it was asked at. It runs wherever Go does, one datagram per system
// call.
//
// A socket on a wildcard address (":8888") hears every address of the machine,
// and the kernel would send an answer from whichever address its routing table
// prefers. A client that asked another one drops such an answer. The socket
// therefore asks the kernel which address each datagram was sent to (IP_PKTINFO
// and IPV6_RECVPKTINFO, RFC 3542 section 6.2) and names that address when it
// answers. Where a system cannot do that, the kernel chooses as before.
package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// MaxPayload is the longest payload of a UDP datagram over IPv4, in bytes:
// 65,535 less the headers of IPv4 (20) and UDP (8). RFC 768 and RFC 791.
const MaxPayload = 65_507

// MaxDatagram is more than any UDP datagram can carry, also over IPv6: its
// length field has 16 bits. A buffer of so many bytes cuts nothing.
const MaxDatagram = 1 << 16

// SendBuffer is what a socket needs at least to send any datagram, in bytes.
// Some systems have less by default (macOS: 9,216).
const SendBuffer = 1 << 18

// Peer is the sender of a datagram, and the address that it was sent to.
type Peer struct {
	// Addr is the sender, an IPv4 address never in its IPv6 form.
	Addr   netip.AddrPort
	source []byte // control message for an answer; nil: the kernel chooses
}

// Socket is a UDP socket that answers many peers, or is connected to one and hears
// nobody else. Its methods may be called by several goroutines; Read by one at a
// time.
type Socket struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	oob    []byte
	v6     bool     // of an IPv6 address, which IPv4 peers have in its form
	source *sources // nil: the kernel chooses where answers leave from
}

// Listen opens a socket on address, "[host]:port", with port 0 for a free one.
// An empty host is every address of the machine, IPv4 and IPv6.
func Listen(ctx context.Context, address string) (*Socket, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	s := newSocket(conn.(*net.UDPConn))
	if local := s.Addr().Addr(); local.IsUnspecified() {
		s.source = reportDestinations(s.conn, local.Is6())
	}
	return s, nil
}

// Dial opens a socket that is connected to an address. Its Peer is the zero one.
func Dial(to netip.AddrPort) (*Socket, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	return newSocket(conn), nil
}

func newSocket(conn *net.UDPConn) *Socket {
	raw, _ := conn.SyscallConn()        // fails for no open socket
	_ = conn.SetWriteBuffer(SendBuffer) // a smaller one serves too
	s := &Socket{conn: conn, raw: raw, oob: make([]byte, 128)}
	s.v6 = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6()
	return s
}

// Addr is the socket's own address.
func (s *Socket) Addr() netip.AddrPort {
	return Unmap(s.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

// Conn is the socket itself, for options and deadlines.
func (s *Socket) Conn() *net.UDPConn { return s.conn }

// Close ends the socket; a Read that waits returns net.ErrClosed.
func (s *Socket) Close() error { return s.conn.Close() }

// Read waits for a datagram, copies it into buf (MaxDatagram bytes hold any)
// and returns its length and sender.
func (s *Socket) Read(buf []byte) (int, Peer, error) {
	n, oobn, _, addr, err := s.conn.ReadMsgUDPAddrPort(buf, s.oob)
	peer := Peer{Addr: Unmap(addr)}
	if err == nil && s.source != nil {
		peer.source = s.source.of(s.oob[:oobn])
	}
	return n, peer, err
}

// Write sends a datagram to the peer from the address that the peer wrote to, and on
// a connected socket to the zero Peer. It does not wait for room in a full send buffer,
// but returns an error.
func (s *Socket) Write(payload []byte, to Peer) error {
	if to.source != nil {
		err := s.send(payload, to.source, to.Addr)
		full := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS)
		if err == nil || full || errors.Is(err, net.ErrClosed) {
			return err
		}
		// The address may be gone since, or the system may not know the
		// option: the kernel's choice is better than no answer.
	}
	return s.send(payload, nil, to.Addr)
}

// Unmap turns an IPv4 address in its IPv6 form (::ffff:127.0.0.1) into plain
// IPv4, so that one sender has one key whatever socket it was heard on.
func Unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
