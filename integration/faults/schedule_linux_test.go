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

// texts say of faults what the seed decides.
func texts(faults []fault) (all []string) {
	for _, f := range faults {
		all = append(all, fmt.Sprint(f, f.lasts))
	}
	return all
}

func TestTheSeedAloneMakesTheSchedule(t *testing.T) {
	for seed := range uint64(50) {
		if !slices.Equal(texts(first(seed, 3)), texts(first(seed, 3))) || slices.Equal(texts(first(seed, 1)), texts(first(seed+1, 1))) {
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
