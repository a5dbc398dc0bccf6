//go:build unix

package udp

import "syscall"

const (
	errConnReset = syscall.ECONNRESET
	errHostDown  = syscall.EHOSTDOWN
)
