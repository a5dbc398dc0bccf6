package integration

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"udplab/integration/stack"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(echoVariable); addr != "" {
		echo(addr)
		return
	}
	dir, err := os.MkdirTemp("", "udplab-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var buildDir string

// build builds the programs the first time it is called: with the race
// detector if the tests have it, so that a race in a program is an exit code
// that no scenario takes for a success.
var build = sync.OnceValues(func() (stack.Programs, error) {
	return stack.Build(context.Background(), buildDir, raceFlags...)
})

// programs is the three programs, built.
func programs(t testing.TB) stack.Programs {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}
