package udp

import (
	"net/netip"

	"golang.org/x/sys/windows"
)

func receiveBuffer(fd uintptr) (bytes int) {
	bytes, _ = windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF)
	return bytes
}

// send sends a datagram, on a connected socket to nobody in particular.
func (s *Socket) send(payload, control []byte, to netip.AddrPort) error {
	if !to.IsValid() {
		_, err := s.conn.Write(payload)
		return err
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to)
	return err
}
