//go:build unix

package udp

import (
	"cmp"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

func receiveBuffer(fd uintptr) (bytes int) {
	bytes, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	return bytes
}

// send sends a datagram, on a connected socket to nobody in particular. The error is
// EAGAIN if there is no room in the send buffer. Package net would wait: datagrams to
// one peer that the path there cannot take would hold up those to all others.
func (s *Socket) send(payload, control []byte, to netip.AddrPort) (err error) {
	var sa unix.Sockaddr
	switch ip := to.Addr(); {
	case ip.Zone() != "": // package net knows the numbers of zones
		_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to)
		return err
	case !to.IsValid():
	case s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6():
		sa = &unix.SockaddrInet6{Addr: ip.As16(), Port: int(to.Port())}
	default:
		sa = &unix.SockaddrInet4{Addr: ip.As4(), Port: int(to.Port())}
	}
	closed := s.raw.Write(func(fd uintptr) (done bool) {
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Sendmsg(int(fd), payload, control, sa, 0)
		}
		return true
	})
	return cmp.Or(closed, err)
}
