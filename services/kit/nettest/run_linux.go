package nettest

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside is the variable that tells a process which test it has been started
// for.
const inside = "UDPLAB_TEST_IN_ITS_OWN_NETWORK"

// longest is how long such a test may take.
const longest = 2 * time.Minute

// Run runs the test body in a new process with a network that has nothing but a
// loopback interface. It must be the first thing that a top-level test does.
// What the process says is the test's log, and its result the test's result.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		up(t, "lo")
		body(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longest+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+longest.String())
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "GORACE=atexit_sleep_ms=10 "+os.Getenv("GORACE")) // else the race detector sleeps for a second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if uid := os.Geteuid(); uid != 0 { // root in the new network, nobody special outside
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		cannot(t, "no network of its own to be had here: %v", err)
	}
	err = cmd.Wait()
	t.Logf("in a network of its own:\n%s", &said)
	switch {
	case err != nil:
		t.Errorf("in a network of its own: %v", cmp.Or(ctx.Err(), err))
	case strings.Contains(said.String(), "--- SKIP: "+t.Name()+" "):
		t.Skip("as said above")
	}
}

// cannot skips a test that this machine does not let run. Where
// UDPLAB_REQUIRE_OWNNET is 1 it fails instead.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("UDPLAB_REQUIRE_OWNNET") == "1" {
		t.Fatalf("UDPLAB_REQUIRE_OWNNET=1, but "+format, args...)
	}
	t.Skipf(format, args...)
}
