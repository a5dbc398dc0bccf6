package udp

import (
	"net"
	"net/netip"
)

// sender sends on a socket of package net.
type sender struct{ conn *net.UDPConn }

func newSender(conn *net.UDPConn) (sender, error) { return sender{conn}, nil }

// send sends a datagram, on a connected socket to nobody in particular.
func (s sender) send(payload, control []byte, to netip.AddrPort) error {
	if !to.IsValid() {
		_, err := s.conn.Write(payload)
		return err
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to)
	return err
}
