package transport

import (
	"cmp"
	"errors"
	"syscall"
)

// reasons are the errors that report a datagram as not delivered, in a word.
var reasons = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "refused",
	syscall.EHOSTUNREACH: "unreachable",
	syscall.ENETUNREACH:  "unreachable",
	// Windows has numbers of its own, and calls a refused datagram a reset.
	10054: "refused",     // WSAECONNRESET
	10061: "refused",     // WSAECONNREFUSED
	10051: "unreachable", // WSAENETUNREACH
	10052: "unreachable", // WSAENETRESET
	10065: "unreachable", // WSAEHOSTUNREACH
}

// undelivered says why a datagram was not delivered, if that is what the error
// reports. For other errors it is empty.
func undelivered(err error) string {
	var errno syscall.Errno
	errors.As(err, &errno)
	return reasons[errno]
}

// Reason is an error in as few words as possible.
func Reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return cmp.Or(reasons[errno], errno.Error())
	}
	return err.Error()
}
