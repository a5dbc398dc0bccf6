//go:build unix

package lab

import (
	"os"
	"syscall"
)

// terminate tells a program to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
