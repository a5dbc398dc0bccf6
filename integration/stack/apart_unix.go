//go:build unix && !linux

package stack

import (
	"os/exec"
	"syscall"
)

// setApart gives a program a process group of its own, so that Ctrl-C reaches
// only us and everything ends in order.
func setApart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
