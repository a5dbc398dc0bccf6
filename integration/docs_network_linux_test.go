package integration

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"udplab/services/kit/nettest"
)

// startInOwnNetwork makes a network for the commands of a test, in which the
// documents' ports are free, and returns what starts a command there.
func startInOwnNetwork(t *testing.T) (start func(*exec.Cmd) error) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("UDPLAB_REQUIRE_OWNNET") != "1" {
		t.Skip("the documents' ports may be taken here, and only root can make a network in which they are free")
	}
	return nettest.NewNetwork(t).Start
}

// inGroup lets Ctrl-C reach the program and everything that it starts.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func interruptGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
