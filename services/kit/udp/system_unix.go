//go:build unix

package udp

import (
	"cmp"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

func receiveBuffer(fd uintptr) (bytes int) {
	bytes, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	return bytes
}

// send sends a datagram, on a connected socket to nobody in particular. The error is
// EAGAIN if there is no room in the send buffer. Package net would wait: datagrams to
// one peer that the path there cannot take would hold up those to all others.
func (s *Socket) send(payload, control []byte, to netip.AddrPort) error {
	if to.Addr().Zone() != "" { // package net knows the numbers of zones
		_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to)
		return err
	}
	c := calls.Get().(*call)
	defer calls.Put(c)
	c.payload, c.control, c.to = payload, control, nil
	switch {
	case !to.IsValid():
	case s.v6:
		c.v6 = unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
		c.to = &c.v6
	default:
		c.v4 = unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
		c.to = &c.v4
	}
	closed := s.raw.Write(c.make)
	return cmp.Or(closed, c.err)
}

// call is a call of sendmsg(2): what it is about and what became of it.
type call struct {
	payload, control []byte
	to               unix.Sockaddr
	v4               unix.SockaddrInet4
	v6               unix.SockaddrInet6
	err              error
	make             func(fd uintptr) (done bool)
}

// calls are kept, so that none is allocated for a datagram.
var calls = sync.Pool{New: func() any {
	c := new(call)
	c.make = func(fd uintptr) bool {
		for c.err = unix.EINTR; c.err == unix.EINTR; {
			c.err = unix.Sendmsg(int(fd), c.payload, c.control, c.to, 0)
		}
		return true
	}
	return c
}}
