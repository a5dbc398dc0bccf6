package udp

import (
	"net"

	"golang.org/x/sys/windows"
)

// ReceiveBuffer is how large the system made a socket's receive buffer, in
// bytes as they are asked for by SetReadBuffer; 0 if it does not say.
func ReceiveBuffer(conn *net.UDPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	size := 0
	raw.Control(func(fd uintptr) {
		size, err = windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF)
	})
	if err != nil {
		return 0
	}
	return size
}
