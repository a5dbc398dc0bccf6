package browser

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"udplab/integration/lab"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "udplab-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

var buildDir string

// build builds the programs the first time it is called.
var build = sync.OnceValues(func() (lab.Programs, error) {
	return lab.Build(context.Background(), buildDir)
})

// startLab starts three ping servers and the balancer, and ends them with the
// test.
func startLab(t testing.TB, cfg lab.Config) *lab.Stack {
	t.Helper()
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Programs = programs
	lab, err := lab.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// ping sends n datagrams from a client of its own, one after the other.
func ping(t *testing.T, lab *lab.Stack, n int, more ...string) {
	t.Helper()
	args := append([]string{"-c", fmt.Sprint(n), "-i", "30ms", "-W", "1100ms", "-q"}, more...)
	if _, err := lab.Client(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}
