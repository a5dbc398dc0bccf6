package faults_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"udplab/integration/faults"
	"udplab/integration/lab"
	"udplab/integration/lab/containers"
	"udplab/integration/lab/labtest"
	"udplab/services/kit/nettest"
)

var (
	length   = flag.Duration("faults", faults.Short, "for how long to break things")
	seed     = flag.Uint64("seed", 0, "the same seed breaks the same things; 0: any")
	programs = flag.String("programs", "", "directory of the programs; empty: build them")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 { // a test in namespaces of its own is to have the same
		_ = flag.Set("seed", fmt.Sprint(1+rand.Uint64N(1e9))) // fails for what is no number
	}
	os.Exit(labtest.Main(m))
}

// enough is what a run may take beyond its faults. Only a failure takes it.
const enough = 5 * time.Minute

func TestProcesses(t *testing.T) {
	t.Parallel()
	if *programs == "" {
		_ = flag.Set("programs", string(labtest.Programs(t))) // never fails
	}
	// The seed says which data path has which, and how many workers there are.
	whenDown := []string{"skip", "hold"}
	for name, env := range map[string]map[string]string{
		"datapath=auto":     {"BALANCER_WHEN_DOWN": whenDown[*seed%2], "BALANCER_WORKERS": fmt.Sprint(1 + *seed/2%2)},
		"datapath=portable": {"BALANCER_WHEN_DOWN": whenDown[1-*seed%2], "BALANCER_DATAPATH": "portable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nettest.RunFor(t, *length+enough, func(t *testing.T) {
				faults.Run(t, faults.NewProcesses(t, lab.Programs(*programs), env), *seed, *length)
			})
		})
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	faults.Run(t, containers.NewFaultLab(t, map[string]string{"BALANCER_WHEN_DOWN": "skip"}), *seed, *length)
}
