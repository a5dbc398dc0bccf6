package faults_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"udplab/integration/faults"
	"udplab/integration/lab/labtest"
)

var (
	length    = flag.Duration("faults", faults.Short, "for how long to break things")
	givenSeed = flag.Uint64("seed", 0, "the same seed breaks the same things; 0: any")
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// seedVariable tells a test in namespaces of its own the seed.
const seedVariable = "UDPLAB_FAULTS_SEED"

// seed is what the flag says, or one for all labs of this test run.
var seed = sync.OnceValue(func() uint64 {
	if *givenSeed != 0 {
		return *givenSeed
	}
	if n, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		return n
	}
	return rand.Uint64N(1e9) + 1
})

func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("breaks a lab for some seconds: not with -short")
	}
}
