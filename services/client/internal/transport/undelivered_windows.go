package transport

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// undelivered is the errors that report a datagram as not delivered. Windows calls
// a refused datagram a reset.
var undelivered = map[syscall.Errno]string{
	windows.WSAECONNRESET:   "refused",
	windows.WSAECONNREFUSED: "refused",
	windows.WSAEHOSTUNREACH: "unreachable",
	windows.WSAENETUNREACH:  "unreachable",
	windows.WSAENETRESET:    "unreachable",
}
