package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// impairment is what a server does to its answers on purpose. The zero value
// does nothing.
type impairment struct {
	loss          float64       // the share that is lost: 0 none, 1 all
	delay, jitter time.Duration // how long each is held back, and up to how much longer
}

// String completes the sentence "server1 listens on :2526"; it is empty for the
// zero value.
func (i impairment) String() (text string) {
	if i.loss > 0 {
		text += fmt.Sprintf(", loses %.4g%% of its answers", 100*i.loss)
	}
	if i.delay > 0 || i.jitter > 0 {
		text += ", holds them back for " + milliseconds(i.delay)
	}
	if i.jitter > 0 {
		text += " and up to " + milliseconds(i.jitter) + " more"
	}
	return text
}

// chance decides what happens to answers, one after the other. The same seed
// gives the same decisions. Losses and jitter have a generator each, and every
// answer takes a number of both: what happens to the hundredth does not depend
// on the impairment of those before.
type chance struct{ losses, jitters *rand.Rand }

func newChance(seed uint64) chance {
	return chance{rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))}
}

// next decides about the next answer.
func (c chance) next(i impairment) (lost bool, delay time.Duration) {
	lost = c.losses.Float64() < i.loss
	return lost, i.delay + time.Duration(c.jitters.Float64()*float64(i.jitter))
}
