package lab

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup gives a program a process group of its own, so that Ctrl-C reaches
// only us and everything ends in order. The kernel kills it if the thread that
// started it ends (prctl(2), PR_SET_PDEATHSIG), which in a Go program that
// locks no goroutine to its thread is when the whole process does.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminate tells a program to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
