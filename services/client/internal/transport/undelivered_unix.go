//go:build unix

package transport

import "syscall"

// undelivered is the errors that report a datagram as not delivered.
var undelivered = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "refused",
	syscall.EHOSTUNREACH: "unreachable",
	syscall.ENETUNREACH:  "unreachable",
}
