package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"udplab/services/kit/program"
)

// results is what a run found out so far, copied out of its tally.
type results struct {
	sent, received, late, duplicates, strays int

	unfinished int // neither answered in time nor given up: 1 while the latest waits
	elapsed    time.Duration
	rtts       []time.Duration // of the answers in time, shortest first
	byServer   map[string]int  // answers in time
	turns      []string        // by turn: who had it, or ""
	order      order
}

// results is the state at this time of a run whose servers are expected to
// answer in this cycle, if any.
func (t *tally) results(now time.Time, expected cycle) results {
	r := results{
		sent:       len(t.pings),
		received:   len(t.rtts),
		late:       t.late,
		duplicates: t.duplicates,
		strays:     t.strays,
		unfinished: boolInt(t.waiting()),
		rtts:       slices.Sorted(slices.Values(t.rtts)),
		byServer:   maps.Clone(t.byServer),
		turns:      slices.Clone(t.turns),
		order:      orderOf(t.turns, expected),
	}
	if t.doubtful {
		r.order = r.order.unknown("two servers have answered one ping, so nobody can tell who is next")
	}
	if len(t.pings) > 0 {
		r.elapsed = now.Sub(t.pings[0].sentAt)
	}
	return r
}

// decided is how many pings were answered in time or given up.
func (r results) decided() int { return r.sent - r.unfinished }

// loss is the percentage of the decided pings that were not answered in time. ok
// is false if there are none.
func (r results) loss() (percent float64, ok bool) {
	if r.decided() == 0 {
		return 0, false
	}
	return 100 * float64(r.decided()-r.received) / float64(r.decided()), true
}

// percent is a percentage as ping writes it: up to six digits.
func percent(p float64) string { return strconv.FormatFloat(p, 'g', 6, 64) + "%" }

// verdict is nil if there was an answer and no more was lost than maxLoss per
// cent, otherwise an error with exit code 1.
func (r results) verdict(maxLoss float64) error {
	loss, _ := r.loss()
	return verdict(r.received, loss, maxLoss)
}

func verdict(received int, loss, maxLoss float64) error {
	switch {
	case received == 0:
		return program.Exit(1) // the summary says it
	case loss > maxLoss:
		return fmt.Errorf("%s loss: more than the %s allowed", percent(loss), percent(maxLoss))
	}
	return nil
}

// spread is how long answers took, as ping sums it up.
type spread struct{ min, avg, max, mdev time.Duration }

// spread needs at least one answer. mdev is the standard deviation of these
// very round trips, not an estimate for others.
func (r results) spread() spread {
	var sum time.Duration
	for _, rtt := range r.rtts {
		sum += rtt
	}
	n := float64(len(r.rtts))
	mean := float64(sum) / n
	var squares float64
	for _, rtt := range r.rtts {
		squares += (float64(rtt) - mean) * (float64(rtt) - mean)
	}
	return spread{
		min:  r.rtts[0],
		avg:  time.Duration(math.Round(mean)),
		max:  r.rtts[len(r.rtts)-1],
		mdev: time.Duration(math.Round(math.Sqrt(squares / n))),
	}
}

// enough is how many answers it takes for the slowest percentiles to mean
// something: with fewer, p95 is just the slowest of all.
const enough = 20

// percentile is the round trip that p per cent of the answers did not exceed,
// by nearest rank. It needs at least one answer.
func (r results) percentile(p int) time.Duration {
	rank := (p*len(r.rtts) + 99) / 100 // rounded up, from 1
	return r.rtts[max(rank, 1)-1]
}

// servers is who answered, the unnamed last.
func servers(byServer map[string]int) []string {
	return slices.SortedFunc(maps.Keys(byServer), compareNames)
}
