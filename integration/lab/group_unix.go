//go:build unix && !linux

package lab

import (
	"os/exec"
	"syscall"
)

// ownGroup gives a program a process group of its own, so that Ctrl-C reaches
// only us and everything ends in order.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
