// Package udp is a listening UDP socket on package net that answers from the
// address it was asked at. It runs wherever Go does, one datagram per system
// call.
//
// A socket on a wildcard address (":8888") hears every address of the machine,
// and the kernel would send an answer from whichever address its routing table
// prefers. A client that asked another one drops such an answer. So the socket
// asks the kernel which address each datagram was sent to (IP_PKTINFO and
// IPV6_RECVPKTINFO, RFC 3542 section 6.2) and names that address when it
// answers. Where a system cannot do that, the kernel chooses as before.
package udp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// MaxPayload is the longest payload of a UDP datagram over IPv4, in bytes:
// 65,535 less the headers of IPv4 (20) and UDP (8). RFC 768 and RFC 791.
const MaxPayload = 65_507

// SendBuffer is what a socket needs at least to send any datagram, in bytes.
// Some systems have less by default (macOS: 9,216).
const SendBuffer = 1 << 18

// MaxDatagram is more than any UDP datagram can carry, also over IPv6: its
// length field has 16 bits. A buffer of so many bytes cuts nothing.
const MaxDatagram = 1 << 16

// Peer is who sent a datagram, and where to.
type Peer struct {
	// Addr is the sender, an IPv4 address never in its IPv6 form.
	Addr netip.AddrPort
	// asked is the control message that makes an answer leave from the
	// address the sender wrote to; empty if the kernel chooses.
	asked string
}

// Socket is a UDP socket that many peers send to. Its methods may be called by
// several goroutines; Read by one at a time.
type Socket struct {
	conn    *net.UDPConn
	sender  sender
	control func(oob []byte) []byte // received to sent control message; nil: none
	oob     []byte
	answers map[string]string // received control message to the one that answers it
}

// mostAnswers is how many control messages a socket remembers. There are as
// many as the machine has addresses: few, but for those who write to all of
// 127.0.0.0/8.
const mostAnswers = 1024

// Listen opens a socket on address, "[host]:port", with port 0 for a free one.
// An empty host is every address of the machine, IPv4 and IPv6.
func Listen(ctx context.Context, address string) (*Socket, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	s := &Socket{conn: conn.(*net.UDPConn), oob: make([]byte, 128), answers: map[string]string{}}
	if s.sender, err = newSender(s.conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = s.conn.SetWriteBuffer(SendBuffer) // what is granted will have to do
	if local := s.Addr(); local.Addr().IsUnspecified() {
		s.askForDestinations(local.Addr().Is6())
	}
	return s, nil
}

// askForDestinations makes the kernel report where each datagram was sent to.
func (s *Socket) askForDestinations(v6 bool) {
	if v6 {
		if ipv6.NewPacketConn(s.conn).SetControlMessage(ipv6.FlagDst, true) == nil {
			s.control = answerV6
		}
		return
	}
	if ipv4.NewPacketConn(s.conn).SetControlMessage(ipv4.FlagDst, true) == nil {
		s.control = answerV4
	}
}

func answerV6(oob []byte) []byte {
	var cm ipv6.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil || cm.Dst.IsMulticast() {
		return nil
	}
	// x/net leaves out an IPv4 source, which a dual-stack socket takes in its
	// IPv6 form: so write a stand-in and put the address in its place.
	standIn := net.ParseIP("2001:db8::1")
	answer := (&ipv6.ControlMessage{Src: standIn}).Marshal()
	return bytes.Replace(answer, standIn, cm.Dst.To16(), 1)
}

func answerV4(oob []byte) []byte {
	var cm ipv4.ControlMessage
	if cm.Parse(oob) != nil || cm.Dst == nil || cm.Dst.IsMulticast() || cm.Dst.Equal(net.IPv4bcast) {
		return nil
	}
	return (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
}

// Addr is the address the socket listens on.
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
	if err == nil && s.control != nil {
		peer.asked = s.answerTo(s.oob[:oobn])
	}
	return n, peer, err
}

// answerTo looks up the control message that answers the received one.
func (s *Socket) answerTo(oob []byte) string {
	if answer, ok := s.answers[string(oob)]; ok {
		return answer
	}
	if len(s.answers) == mostAnswers {
		clear(s.answers)
	}
	answer := string(s.control(oob))
	s.answers[string(oob)] = answer
	return answer
}

// Write sends a datagram to the peer from the address that the peer wrote to. It
// does not wait for room in a full send buffer, but returns an error.
func (s *Socket) Write(payload []byte, to Peer) error {
	if to.asked != "" {
		err := s.sender.send(payload, []byte(to.asked), to.Addr)
		if err == nil || isFull(err) || errors.Is(err, net.ErrClosed) {
			return err
		}
		// The address may be gone since, or the system may not know the
		// option: the kernel's choice is better than no answer.
	}
	return s.sender.send(payload, nil, to.Addr)
}

// Unmap turns an IPv4 address in its IPv6 form (::ffff:127.0.0.1) into plain
// IPv4, so that one sender has one key whatever socket it was heard on.
func Unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
