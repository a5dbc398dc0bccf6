package faults_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"udplab/integration/faults"
)

var (
	length    = flag.Duration("faults", faults.Short, "for how long to break things")
	givenSeed = flag.Uint64("seed", 0, "the same seed breaks the same things; 0: any")
)

// enough is what a play may take beyond its faults.
const enough = 3 * time.Minute

// seed is what the flag says, or one for all plays of this run. The flag has it
// from then on, so that a test in namespaces of its own gets the same.
var seed = sync.OnceValue(func() uint64 {
	if *givenSeed == 0 {
		_ = flag.Set("seed", fmt.Sprint(rand.Uint64N(1e9)+1)) // it is a number
	}
	return *givenSeed
})
