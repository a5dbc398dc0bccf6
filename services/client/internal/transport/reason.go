package transport

import (
	"cmp"
	"errors"
	"syscall"

	"udplab/services/kit/udp"
)

// undelivered says in a word why a datagram was not delivered, if that is what the
// error reports. For other errors it is empty.
func undelivered(err error) string {
	switch udp.Reason(err) {
	case "":
		return ""
	case udp.Refused:
		return "refused"
	}
	return "unreachable"
}

// Reason is an error in as few words as possible.
func Reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return cmp.Or(undelivered(err), errno.Error())
	}
	return err.Error()
}
