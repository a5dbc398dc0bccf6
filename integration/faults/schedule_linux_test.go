package faults

import (
	"fmt"
	"slices"
	"testing"
)

// first is the first rounds of a schedule.
func first(seed uint64, rounds int) (faults []fault) {
	for f := range schedule(seed) {
		if faults = append(faults, f); len(faults) == rounds*(len(restarts)+len(others)) {
			break
		}
	}
	return faults
}

func TestTheSeedAloneMakesTheSchedule(t *testing.T) {
	for seed := range uint64(50) {
		text := fmt.Sprint(first(seed, 3))
		if text != fmt.Sprint(first(seed, 3)) || text == fmt.Sprint(first(seed+1, 3)) {
			t.Errorf("seed %d makes two schedules, or the same as the next", seed)
		}
	}
}

func TestEveryRoundHasFaultsOfEveryKindAndRestartsFirst(t *testing.T) {
	for round := range slices.Chunk(first(1, 100), len(restarts)+len(others)) {
		kinds := map[string]bool{}
		for i, f := range round {
			kinds[f.part+f.name] = true
			distinct := slices.Compact(slices.Sorted(slices.Values(f.hit)))
			if len(distinct) != max(f.servers, 1) || f.part != "" && f.hit[0] != f.part {
				t.Errorf("%v happens to %q, want %d servers or the %s", f, f.hit, f.servers, f.part)
			}
			if f.restarts && i > len(round)/2 {
				t.Errorf("%v is number %d of a round", f, i+1)
			}
		}
		if len(kinds) != len(round) {
			t.Errorf("a round of %v", round)
		}
	}
}
