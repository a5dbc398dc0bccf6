package nettest

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// inside is the variable that names the test a process was started for.
const inside = "UDPLAB_TEST_IN_ITS_OWN_NETWORK"

// Run is RunFor with two minutes.
func Run(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	RunFor(t, 2*time.Minute, body)
}

// RunFor starts the test binary again, in namespaces of its own and for this one
// test, and calls body there once the loopback interface is up. The process's
// output is the test's log, its result the test's result. What the test (and
// the tests around it, for a subtest) does before it, both processes do. Flags of
// the test binary's own, such as -seed, are passed on. The test fails if it takes
// longer than the limit.
func RunFor(t *testing.T, limit time.Duration, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		must(t, "network", LoopbackUp())
		body(t)
		return
	}
	self, err := os.Executable()
	must(t, "test binary", err)
	ctx, cancel := context.WithTimeout(t.Context(), limit+10*time.Second) // the test binary's own limit comes first, and says more
	defer cancel()
	cmd := exec.CommandContext(ctx, self, arguments(t.Name(), limit)...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "GORACE=atexit_sleep_ms=10 "+os.Getenv("GORACE")) // else the race detector sleeps for a second
	var output strings.Builder
	cmd.Stdout = io.MultiWriter(t.Output(), &output)
	cmd.Stderr = cmd.Stdout
	Isolate(cmd)
	runtime.LockOSThread() // see Isolate
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		unavailable(t, "a process in its own namespaces", err)
	}
	err = cmd.Wait()
	skipped, err := result(t.Name(), output.String(), err)
	switch {
	case err != nil:
		t.Error("in its own namespaces:", cmp.Or(ctx.Err(), err))
	case skipped:
		t.Skip("skipped in its own namespaces, for the reason above")
	}
}

// arguments are those that make a test binary run one test.
func arguments(name string, limit time.Duration) []string {
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(name), "/", "$/^") + "$"
	args := []string{"-test.run=" + pattern, "-test.v", "-test.timeout=" + limit.String()}
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.short" || !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// result judges a test's process by its output and by how it ended. A process
// that found no such test ends well too, but has not passed.
func result(name string, said string, ended error) (skipped bool, err error) {
	switch {
	case ended != nil:
		return false, ended
	case strings.Contains(said, "--- SKIP: "+name+" ("):
		return true, nil
	case strings.Contains(said, "--- PASS: "+name+" ("):
		return false, nil
	}
	return false, fmt.Errorf("%s did not run", name)
}

// unavailable skips a test for what this machine does not offer, or fails it
// where that is required.
func unavailable(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("UDPLAB_REQUIRE_OWNNET") == "1" {
		t.Fatalf("UDPLAB_REQUIRE_OWNNET=1, but there is no %s here: %v", what, err)
	}
	t.Skipf("no %s here: %v", what, err)
}

// must ends a test at an error: it skips the test where the kernel does not
// have or allow what was asked for.
func must(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		unavailable(t, what, err)
	default:
		t.Fatalf("%s: %v", what, err)
	}
}
