//go:build race

package labtest

import "os"

var raceFlags = []string{"-race"}

// A program with the race detector sleeps for a second before it exits, unless
// told otherwise; our tests end hundreds.
func init() { os.Setenv("GORACE", "atexit_sleep_ms=0") }
