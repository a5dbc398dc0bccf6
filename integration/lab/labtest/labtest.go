// Package labtest is package lab for tests: what it starts ends with the test,
// and what fails there fails the test.
package labtest

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"udplab/integration/lab"
)

// Main runs the tests of a package that calls Programs or Start, and removes
// what they built. Its result is the exit code; it is for TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "udplab-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	return m.Run()
}

var buildDir string

// build builds with the race detector if the tests have it, so that a race in a
// program is an exit code that no test takes for a success.
var build = sync.OnceValues(func() (lab.Programs, error) {
	var flags []string
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		flags = []string{"-race"}
		// Such a program sleeps for a second before it exits, unless told
		// otherwise; our tests end hundreds.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	return lab.Build(context.Background(), buildDir, flags...)
})

// Programs is the three programs, which the first call builds. In short mode it
// skips the test.
func Programs(t testing.TB) lab.Programs {
	t.Helper()
	if testing.Short() {
		t.Skip("building the programs takes more than a short test has")
	}
	if buildDir == "" {
		t.Fatal("labtest.Programs needs labtest.Main in TestMain")
	}
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return programs
}

// Start starts a stack of processes that ends with the test, which fails if
// something in the stack does not end as it should. Programs is built unless the
// Config has it.
func Start(t testing.TB, cfg lab.Config) *lab.Stack {
	t.Helper()
	if cfg.Programs == "" {
		cfg.Programs = Programs(t)
	}
	stack, err := lab.Start(Within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	})
	return stack
}

// Within is a context for one step of a test, which ends after lab.Patience.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	t.Cleanup(cancel)
	return ctx
}

// Eventually calls check until it returns nil, and fails the test if it never
// does. The error says what is missing.
func Eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	if err := lab.Until(Within(t), check); err != nil {
		t.Fatalf("%s: not within %v: %v", what, lab.Patience, err)
	}
}

// Status asks the stack's balancer for its status, and fails the test if it
// does not answer.
func Status(t testing.TB, url string) lab.Status {
	t.Helper()
	status, err := lab.ReadStatus(Within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// AwaitStatus waits until the balancer's status is as wanted.
func AwaitStatus(t testing.TB, url, what string, wanted func(lab.Status) bool) {
	t.Helper()
	Eventually(t, what, func(ctx context.Context) error {
		status, err := lab.ReadStatus(ctx, url)
		if err == nil && !wanted(status) {
			err = fmt.Errorf("the status is %+v", status)
		}
		return err
	})
}

// AwaitServer waits until the balancer takes a server for up, or for down.
func AwaitServer(t testing.TB, url, server string, up bool) {
	t.Helper()
	AwaitStatus(t, url, fmt.Sprintf("%s up: %v", server, up), func(s lab.Status) bool { return s.Backend(server).Up == up })
}
