package udp

import "golang.org/x/sys/windows"

// Windows reports an ICMP port unreachable as a reset connection, and its
// sockets have numbers of their own for host and network errors.
const (
	errConnReset = windows.WSAECONNRESET
	errHostDown  = windows.WSAEHOSTUNREACH
)

func receiveBuffer(fd uintptr) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_RCVBUF)
}
