package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Isolate makes a command start in a network and mounts of its own, and in a
// process group of its own. An ordinary user becomes root there, and stays
// nobody special outside. The loopback interface is down. The kernel kills the
// command when the thread that starts it ends (prctl(2), PR_SET_PDEATHSIG): call
// runtime.LockOSThread until the command has ended. It replaces cmd.SysProcAttr.
func Isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
}

// LoopbackUp turns on the loopback interface, which is down in a new network.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	return nil
}

// UseResolver makes every program in this test's mounts ask the resolver at port
// 53 of an address. Call it only within Run.
func UseResolver(t *testing.T, address string) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Fatal("UseResolver outside of Run would change this machine's resolver")
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, "resolv.conf", os.WriteFile(file, fmt.Appendf(nil, "nameserver %s\noptions timeout:1 attempts:1\n", address), 0o644))
	// Else the mount would spread to the machine's own mounts.
	must(t, "private mounts", os.NewSyscallError("mount", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")))
	must(t, "mount on /etc/resolv.conf", os.NewSyscallError("mount", unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, "")))
	t.Cleanup(func() { _ = unix.Unmount("/etc/resolv.conf", 0) }) // the file goes too
}

// Network is a network namespace for the commands of a test that stays in the
// machine's own. It lasts as long as the test, and as its commands.
type Network struct{ thread chan func() }

// NewNetwork makes a network with nothing but a loopback interface, which is up.
// It needs root.
func NewNetwork(t *testing.T) *Network {
	t.Helper()
	n := &Network{thread: make(chan func())}
	made := make(chan error)
	go n.serve(made)
	t.Cleanup(func() { close(n.thread) })
	must(t, "network namespace", <-made)
	return n
}

// serve calls functions on a thread in a network of its own. Since it stays
// locked, the thread ends with the goroutine.
func (n *Network) serve(made chan<- error) {
	runtime.LockOSThread()
	err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	if err == nil {
		err = LoopbackUp()
	}
	made <- err
	for f := range n.thread {
		f()
	}
}

// Start starts a command in the network. With a Pdeathsig in its SysProcAttr it
// ends with the test.
func (n *Network) Start(cmd *exec.Cmd) error {
	err := make(chan error)
	n.thread <- func() { err <- cmd.Start() }
	return <-err
}
