//go:build unix && !linux

package lab

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup gives a program a process group of its own, so that Ctrl-C reaches
// only us and everything ends in order.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate tells a program to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
