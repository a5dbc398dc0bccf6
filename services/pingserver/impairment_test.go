package main

import (
	"testing"
	"time"
)

func TestTheSameSeedMakesTheSameDecisions(t *testing.T) {
	// People note a seed and expect the same losses from every version.
	const losses = "...........x...x..x..x...xx..x.xx.....x."
	jitters := []int64{236, 867, 837, 950, 588, 418, 786, 858, 297, 683}
	for _, tt := range []struct {
		name string
		impairment
		begins int // until this answer there was no impairment
	}{
		{"both", impairment{0.36, 0, time.Second}, 0},
		{"losses do not depend on the delay or the jitter", impairment{0.36, time.Hour, 0}, 0},
		{"jitter does not depend on the losses", impairment{0, 0, time.Second}, 0},
		{"nothing depends on what was before", impairment{0.36, 0, time.Second}, 5},
	} {
		c := newChance(7)
		for i := range losses {
			if i < tt.begins {
				c.next(impairment{})
				continue
			}
			lost, delay := c.next(tt.impairment)
			if lost != (tt.loss > 0 && losses[i] == 'x') {
				t.Errorf("%s: answer %d: lost %v", tt.name, i+1, lost)
			}
			if tt.jitter > 0 && i < len(jitters) && delay.Milliseconds() != jitters[i] {
				t.Errorf("%s: answer %d is held back for %v", tt.name, i+1, delay)
			}
		}
	}
}

func TestAnImpairmentInWords(t *testing.T) {
	for want, i := range map[string]impairment{
		"":                              {},
		", loses 36.36% of its answers": {loss: 4. / 11},
		", holds them back for 200 ms":  {delay: 200 * time.Millisecond},
		", holds them back for 0 ms and up to 1.5 ms more":                                {jitter: 1500 * time.Microsecond},
		", loses 100% of its answers, holds them back for 3000 ms and up to 1000 ms more": {1, 3 * time.Second, time.Second},
	} {
		if got := i.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
