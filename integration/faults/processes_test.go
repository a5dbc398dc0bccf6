//go:build linux

package faults_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"udplab/integration/apart"
	"udplab/integration/faults"
	"udplab/integration/lab"
)

// insideVariable tells this test binary that it runs in namespaces of its own,
// and where the programs are.
const insideVariable = "UDPLAB_FAULTS_PROGRAMS"

func TestProcesses(t *testing.T) {
	t.Parallel()
	programs := os.Getenv(insideVariable)
	if programs == "" {
		built, err := lab.Build(t.Context(), t.TempDir(), raceFlags...)
		if err != nil {
			t.Fatal(err)
		}
		programs = string(built)
	}
	// The seed says which data path has which, and how many workers there are.
	epoll, portable, workers := faults.Skip, faults.Hold, 1+seed()/2%2
	if seed()%2 == 1 {
		epoll, portable = portable, epoll
	}
	for _, c := range []struct {
		name     string
		env      map[string]string
		whenDown faults.WhenDown
	}{
		{"datapath=auto", map[string]string{"BALANCER_WORKERS": fmt.Sprint(workers)}, epoll},
		{"datapath=portable", map[string]string{"BALANCER_DATAPATH": "portable"}, portable},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Getenv(insideVariable) == "" {
				t.Parallel()
				playApart(t, programs)
				return
			}
			lab := faults.NewProcesses(t, lab.Programs(programs), c.env)
			faults.Play(t, lab, seed(), *length, c.whenDown)
		})
	}
}

// playApart runs this one test again, in namespaces of its own.
func playApart(t *testing.T, programs string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // what is apart lives as long as the thread that starts it
	defer runtime.UnlockOSThread()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	ctx, cancel := context.WithTimeout(t.Context(), *length+enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run", pattern, "-test.v", "-test.timeout", (*length + enough).String(),
		"-seed", fmt.Sprint(seed()), "-faults", length.String())
	cmd.Env = append(os.Environ(), insideVariable+"="+programs)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	apart.Isolate(cmd)
	err = cmd.Run()
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skipf("namespaces are for root here: %v", err)
	}
	if err != nil {
		t.Error(err)
	}
}
