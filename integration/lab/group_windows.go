package lab

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// ownGroup gives a program a process group of its own, so that Ctrl-C reaches
// only us and everything ends in order.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate tells a program to end: Ctrl-Break is the one key that a process
// group of its own can be sent, and a Go program takes it for an interrupt.
// Without a console there are no keys, and the program is killed.
func terminate(p *os.Process) error {
	if err := windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid)); err != nil {
		return p.Kill()
	}
	return nil
}
