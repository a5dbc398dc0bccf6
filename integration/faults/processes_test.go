//go:build linux

package faults_test

import (
	"fmt"
	"os"
	"testing"

	"udplab/integration/faults"
	"udplab/integration/lab"
	"udplab/services/kit/nettest"
)

// programsVariable tells a test in namespaces of its own where the programs are.
const programsVariable = "UDPLAB_FAULTS_PROGRAMS"

func TestProcesses(t *testing.T) {
	t.Parallel()
	programs := os.Getenv(programsVariable)
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
			t.Parallel()
			apart := nettest.Options{Timeout: *length + enough, Env: []string{programsVariable + "=" + programs}}
			apart.Run(t, func(t *testing.T) {
				lab := faults.NewProcesses(t, lab.Programs(programs), c.env)
				faults.Play(t, lab, seed(), *length, c.whenDown)
			})
		})
	}
}
