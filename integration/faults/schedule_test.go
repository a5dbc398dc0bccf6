package faults

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestTheSeedAloneMakesTheSchedule(t *testing.T) {
	for seed := range uint64(50) {
		one, again := Schedule(seed, time.Minute), Schedule(seed, time.Minute)
		if !reflect.DeepEqual(one, again) {
			t.Fatalf("seed %d: another schedule the second time", seed)
		}
		if reflect.DeepEqual(one, Schedule(seed+1, time.Minute)) {
			t.Errorf("seeds %d and %d make the same schedule", seed, seed+1)
		}
		longer := Schedule(seed, 2*time.Minute)
		half := slices.IndexFunc(one, func(f Fault) bool { return f.At > time.Minute/2 })
		if !reflect.DeepEqual(one[:half], longer[:half]) {
			t.Errorf("seed %d: a longer schedule begins in another way", seed)
		}
	}
}

func TestTheLastLifeOfTheBalancerSeesManyFaults(t *testing.T) {
	for length, want := range map[time.Duration]int{Short: 3, time.Minute: 20, 10 * time.Minute: 200} {
		for seed := range uint64(500) {
			faults := Schedule(seed, length)
			last := 0
			for i, f := range faults {
				if slices.Contains(restarts, f.Kind) {
					last = i
				}
			}
			if n := len(faults) - 1 - last; n < want {
				t.Fatalf("seed %d, %v: %d faults after the last restart, want %d", seed, length, n, want)
			}
		}
	}
}

func TestEvenAShortScheduleHasFaultsOfEveryKind(t *testing.T) {
	for seed := range uint64(2000) {
		kinds := map[Kind]bool{}
		for _, f := range Schedule(seed, Short) {
			kinds[f.Kind] = true
		}
		for _, kind := range slices.Concat(restarts, others) {
			if !kinds[kind] {
				t.Fatalf("seed %d: nothing is %q within %v: %v", seed, kind, Short, Schedule(seed, Short))
			}
		}
	}
}

func TestFaultsThatNeedTheSameNeverOverlap(t *testing.T) {
	overlaps := 0
	for seed := range uint64(500) {
		faults := Schedule(seed, time.Minute)
		for i, f := range faults {
			if f.Mend-f.At < shortest || f.Mend > time.Minute {
				t.Fatalf("seed %d: %v from %v to %v", seed, f, f.At, f.Mend)
			}
			for _, g := range faults[:i] {
				if f.At >= g.Mend {
					continue
				}
				overlaps++
				for _, need := range f.needs() {
					if slices.Contains(g.needs(), need) {
						t.Fatalf("seed %d: %v from %v on and %v until %v both need %s", seed, f, f.At, g, g.Mend, need)
					}
				}
			}
		}
	}
	if overlaps == 0 {
		t.Error("no two faults ever overlap")
	}
}

func TestEachFaultHasAsManyVictimsAsItTakes(t *testing.T) {
	want := map[Kind]int{Killed: 1, Frozen: 1, Stopped: 1, Moved: 1, Usurped: 1, Swapped: 2, AllDown: 3}
	hit := map[string]int{}
	for _, f := range Schedule(1, time.Hour) {
		distinct := slices.Compact(slices.Sorted(slices.Values(f.Servers)))
		if len(distinct) != want[f.Kind] || len(f.Servers) != want[f.Kind] {
			t.Errorf("%v happens to %q, want %d of them", f.Kind, f.Servers, want[f.Kind])
		}
		if f.Kind == Killed {
			hit[f.Servers[0]]++
		}
	}
	if len(hit) != len(servers) {
		t.Errorf("in an hour these are killed: %v", hit)
	}
}
