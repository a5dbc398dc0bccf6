package udp

import (
	"errors"
	"syscall"
)

// refusals are the errors by which a system says that a datagram found nobody:
// ICMP port, host and network unreachable (RFC 792 and RFC 4443, by the errors
// that RFC 1122 section 4.1.3.3 has a UDP hand to its user).
var refusals = []struct {
	err    syscall.Errno
	reason string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{errConnReset, "connection refused"},
	{syscall.EHOSTUNREACH, "host unreachable"},
	{syscall.ENETUNREACH, "network unreachable"},
	{errHostDown, "host is down"},
}

// IsRefusal says whether err is an ICMP error: a datagram on a UDP socket found
// nobody at its destination.
func IsRefusal(err error) bool { return refusal(err) != "" }

// Reason is a refusal in a few words; for any other error its own text.
func Reason(err error) string {
	if reason := refusal(err); reason != "" {
		return reason
	}
	return err.Error()
}

func refusal(err error) (reason string) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return ""
}
