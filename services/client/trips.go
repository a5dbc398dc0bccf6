package main

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// trips is how long the answers to a load took: however many there are, they
// take the same memory. Percentiles are exact to three digits, the others
// exactly.
type trips struct {
	histogram *hdrhistogram.Histogram // in ns
	n         int
	sum       time.Duration
	min, max  time.Duration
}

// longestTrip is the longest that percentiles tell from longer ones.
const longestTrip = time.Hour

func newTrips() *trips {
	return &trips{histogram: hdrhistogram.New(1, int64(longestTrip), 3), min: math.MaxInt64}
}

// add counts one answer.
func (t *trips) add(took time.Duration) {
	_ = t.histogram.RecordValue(int64(min(took, longestTrip))) // fails only above that
	t.n++
	t.sum += took
	t.min, t.max = min(t.min, took), max(t.max, took)
}

// avg is the mean. It needs at least one answer.
func (t *trips) avg() time.Duration { return t.sum / time.Duration(t.n) }

// percentile is what p per cent of the answers did not exceed. It needs at
// least one answer.
func (t *trips) percentile(p float64) time.Duration {
	// The histogram gives the upper end of a bucket.
	return min(time.Duration(t.histogram.ValueAtPercentile(p)), t.max)
}
