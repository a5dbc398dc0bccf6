package faults_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"udplab/integration/faults"
	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/services/kit/nettest"
)

// programsVariable tells a test in namespaces of its own where the programs are.
const programsVariable = "UDPLAB_FAULTS_PROGRAMS"

// enough is what a run may take beyond its faults. Only a failure takes it.
const enough = 5 * time.Minute

func TestProcesses(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	programs := lab.Programs(os.Getenv(programsVariable))
	if programs == "" {
		programs = labtest.Programs(t)
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
			c.env["BALANCER_WHEN_DOWN"] = string(c.whenDown)
			apart := nettest.Options{Timeout: *length + enough, Env: []string{programsVariable + "=" + string(programs), fmt.Sprintf("%s=%d", seedVariable, seed())}}
			apart.Run(t, func(t *testing.T) {
				faults.Run(t, faults.NewProcesses(t, programs, c.env), seed(), *length, c.whenDown)
			})
		})
	}
}
