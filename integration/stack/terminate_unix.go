//go:build unix

package stack

import (
	"os"
	"syscall"
)

// terminate tells a program to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
