package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

func rolls(d *dice, n int) []fate {
	fates := make([]fate, n)
	for i := range fates {
		fates[i] = d.roll()
	}
	return fates
}

func lossesOf(fates []fate) []bool {
	lost := make([]bool, len(fates))
	for i, f := range fates {
		lost[i] = f.lost
	}
	return lost
}

func TestTheSameSeedGivesTheSameFates(t *testing.T) {
	const n = 1000
	first := rolls(newDice(0.36, time.Second, time.Second, 7), n)
	if !slices.Equal(first, rolls(newDice(0.36, time.Second, time.Second, 7), n)) {
		t.Error("the same seed gave other fates")
	}
	if slices.Equal(first, rolls(newDice(0.36, time.Second, time.Second, 8), n)) {
		t.Error("another seed gave the same fates")
	}
	if !slices.Equal(lossesOf(first), lossesOf(rolls(newDice(0.36, 0, 0, 7), n))) {
		t.Error("without jitter other answers are lost")
	}
	for i, f := range rolls(newDice(0, time.Second, time.Second, 7), n) {
		if f.delay != first[i].delay {
			t.Fatalf("without losses answer %d has a delay of %v, not %v", i, f.delay, first[i].delay)
		}
	}
	if one, another := seed("").number(), seed("").number(); seed("7").number() != 7 || one == another {
		t.Error("a given seed is not used, or an empty one is not random")
	}
}

func TestFates(t *testing.T) {
	const n = 10_000
	for _, tt := range []struct {
		name          string
		loss          float64
		delay, jitter time.Duration
	}{
		{"nothing happens", 0, 0, 0},
		{"all are lost", 1, 0, 0},
		{"as in the assignment", 4. / 11, 0, 0},
		{"all are slow", 0, 200 * time.Millisecond, 0},
		{"some are slower", 0, 200 * time.Millisecond, 100 * time.Millisecond},
		{"lost and slow", 0.5, time.Second, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lost, least, most := 0, time.Duration(math.MaxInt64), time.Duration(0)
			for _, f := range rolls(newDice(tt.loss, tt.delay, tt.jitter, 1), n) {
				if f.lost {
					lost++
				}
				least, most = min(least, f.delay), max(most, f.delay)
			}
			if share := float64(lost) / n; math.Abs(share-tt.loss) > 0.02 || (tt.loss == 0 || tt.loss == 1) && share != tt.loss {
				t.Errorf("%.3f lost, want %.3f", share, tt.loss)
			}
			// Evenly spread, ten thousand values come close to both ends.
			if least < tt.delay || least > tt.delay+tt.jitter/100 || most > tt.delay+tt.jitter || most < tt.delay+tt.jitter*99/100 {
				t.Errorf("delays from %v to %v, want from %v to %v", least, most, tt.delay, tt.delay+tt.jitter)
			}
		})
	}
}

func TestWhetherAnAnswerIsLostSaysNothingOfItsJitter(t *testing.T) {
	const n = 10_000
	var sum [2]time.Duration
	var count [2]time.Duration
	for _, f := range rolls(newDice(0.5, 0, time.Second, 1), n) {
		i := 0
		if f.lost {
			i = 1
		}
		sum[i] += f.delay
		count[i]++
	}
	for i, what := range []string{"not lost", "lost"} {
		if mean := sum[i] / count[i]; mean < 480*time.Millisecond || mean > 520*time.Millisecond {
			t.Errorf("%s: a mean jitter of %v, want about 500 ms", what, mean)
		}
	}
}
