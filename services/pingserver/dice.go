package main

import (
	"math/rand/v2"
	"time"
)

// fate is what becomes of one answer.
type fate struct {
	lost  bool
	delay time.Duration
}

// dice decide the fates of answers, one after the other. The same seed gives
// the same fates. Losses and jitter have a generator each, so that changing
// one leaves the other as it was.
type dice struct {
	loss          float64 // 0 never, 1 always
	delay, jitter time.Duration

	losses, jitters *rand.Rand
}

func newDice(loss float64, delay, jitter time.Duration, seed uint64) *dice {
	return &dice{
		loss: loss, delay: delay, jitter: jitter,
		losses:  rand.New(rand.NewPCG(seed, 1)),
		jitters: rand.New(rand.NewPCG(seed, 2)),
	}
}

// roll decides the next fate. A lost answer has rolled for its jitter too, so
// that the fate of the hundredth does not depend on those before.
func (d *dice) roll() fate {
	f := fate{lost: d.losses.Float64() < d.loss, delay: d.delay}
	f.delay += time.Duration(d.jitters.Float64() * float64(d.jitter))
	return f
}
