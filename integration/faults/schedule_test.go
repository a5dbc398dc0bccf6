package faults

import (
	"reflect"
	"slices"
	"testing"
)

// begin is the first rounds of a schedule.
func begin(seed uint64, rounds int) (faults []fault) {
	for f := range schedule(seed) {
		if faults = append(faults, f); len(faults) == rounds*(len(restarts)+len(others)) {
			break
		}
	}
	return faults
}

func TestTheSeedAloneMakesTheSchedule(t *testing.T) {
	for seed := range uint64(50) {
		if !reflect.DeepEqual(begin(seed, 3), begin(seed, 3)) || reflect.DeepEqual(begin(seed, 1), begin(seed+1, 1)) {
			t.Errorf("seed %d makes two schedules, or the same as the next", seed)
		}
	}
}

func TestEveryRoundHasFaultsOfEveryKindAndRestartsFirst(t *testing.T) {
	for round := range slices.Chunk(begin(1, 100), len(restarts)+len(others)) {
		kinds := map[kind]bool{}
		for i, f := range round {
			kinds[f.kind] = true
			distinct := slices.Compact(slices.Sorted(slices.Values(f.servers)))
			if len(distinct) != victims[f.kind] || len(f.servers) != victims[f.kind] || f.lasts < shortest {
				t.Errorf("%v happens to %q for %v", f, f.servers, f.lasts)
			}
			if slices.Contains(restarts, f.kind) && i > len(round)/2 {
				t.Errorf("%v is number %d of a round", f, i+1)
			}
		}
		if len(kinds) != len(round) {
			t.Errorf("a round of %v", round)
		}
	}
}
