package integration

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
)

// network is one of its own, with a loopback interface and nothing else. It is
// there as long as its thread is, or a process that was started in it.
type network struct{ work chan func() }

// newNetwork makes a network that is gone when end is called or the test ends.
// Who may not make one, skips the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the documents' ports may be taken here, and only root can make a network in which they are free")
	}
	n := &network{work: make(chan func())}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and leaves its
		// network to nobody.
		runtime.LockOSThread()
		made <- enterNetwork()
		for f := range n.work {
			f()
		}
	}()
	t.Cleanup(n.end)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	return n
}

// enterNetwork moves the calling thread to a new network.
func enterNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return nettest.LoopbackUp()
}

// start starts a program in the network.
func (n *network) start(cmd *exec.Cmd) error {
	err := make(chan error)
	n.work <- func() { err <- cmd.Start() }
	return <-err
}

// end gives the network up; it may be called twice.
func (n *network) end() {
	if n.work != nil {
		close(n.work)
		n.work = nil
	}
}

// inGroup lets Ctrl-C reach the program and everything it starts, and only them.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func interruptGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
