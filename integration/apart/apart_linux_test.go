package apart

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// insideVariable tells this test binary that it is apart.
const insideVariable = "UDPLAB_APART_TEST"

func TestMain(m *testing.M) {
	if dir := os.Getenv(insideVariable); dir != "" {
		if err := lookAround(dir); err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lookAround is what the isolated process does.
func lookAround(dir string) error {
	if err := errors.Join(LoopbackUp(), Resolver(dir, "127.0.0.1")); err != nil {
		return err
	}
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) != 1 {
		return errors.Join(err, errors.New("want loopback and nothing else"))
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	defer conn.Close()
	text, err := os.ReadFile("/etc/resolv.conf")
	if err == nil && !strings.HasPrefix(string(text), "nameserver 127.0.0.1\n") {
		err = errors.New(string(text))
	}
	return err
}

func TestAnIsolatedProcessHasItsOwnLoopbackAndItsOwnResolver(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread() // the child lives as long as the thread that starts it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), insideVariable+"="+t.TempDir())
	Isolate(cmd)
	said, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skipf("namespaces are for root here: %v", err)
	}
	if err != nil {
		t.Errorf("%v: %s", err, said)
	}
	if after, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(after) != string(before) {
		t.Errorf("everybody's resolver is now %q (%v)", after, err)
	}
}
