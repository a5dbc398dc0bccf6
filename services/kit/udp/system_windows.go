package udp

import (
	"net"
	"net/netip"

	"golang.org/x/sys/windows"
)

// Windows reports an ICMP port unreachable as a reset connection, and its
// sockets have numbers of their own for host and network errors.
const (
	errConnReset = windows.WSAECONNRESET
	errHostDown  = windows.WSAEHOSTUNREACH
)

func receiveBuffer(fd uintptr) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF)
}

// sender sends on a socket of package net.
type sender struct{ conn *net.UDPConn }

func newSender(conn *net.UDPConn) sender { return sender{conn} }

// send sends a datagram, on a connected socket to nobody in particular.
func (s sender) send(payload, control []byte, to netip.AddrPort) error {
	if !to.IsValid() {
		_, err := s.conn.Write(payload)
		return err
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to)
	return err
}
