package udp

import (
	"errors"
	"syscall"
)

// Refused is the Reason of a datagram that reached a machine where nobody listens.
const Refused = "connection refused"

// refusals are the errors by which a system says that a datagram found nobody:
// ICMP port, host and network unreachable (RFC 792 and RFC 4443, by the errors
// that RFC 1122 section 4.1.3.3 has a UDP hand to its user).
var refusals = map[syscall.Errno]string{
	syscall.ECONNREFUSED: Refused,
	syscall.EHOSTUNREACH: "host unreachable",
	syscall.EHOSTDOWN:    "host is down",
	syscall.ENETUNREACH:  "network unreachable",
	// Windows' sockets have numbers of their own, and call a refused datagram a reset.
	10054: Refused,               // WSAECONNRESET
	10061: Refused,               // WSAECONNREFUSED
	10065: "host unreachable",    // WSAEHOSTUNREACH
	10051: "network unreachable", // WSAENETUNREACH
	10052: "network unreachable", // WSAENETRESET
}

// IsRefusal says whether err is an ICMP error: a datagram on a UDP socket found
// nobody at its destination.
func IsRefusal(err error) bool { return Reason(err) != "" }

// Reason is a refusal in a few words, and empty for any other error.
func Reason(err error) string {
	var errno syscall.Errno
	errors.As(err, &errno)
	return refusals[errno]
}
