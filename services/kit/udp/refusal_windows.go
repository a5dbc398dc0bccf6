package udp

import "golang.org/x/sys/windows"

// Windows reports an ICMP port unreachable as a reset connection, and its
// sockets know host and network errors by numbers of their own.
const (
	errConnReset = windows.WSAECONNRESET
	errHostDown  = windows.WSAEHOSTUNREACH
)
