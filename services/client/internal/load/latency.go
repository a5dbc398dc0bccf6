package load

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is how long the answers took; however many there are, it takes the same
// memory. The shortest, the longest and the mean are exact, percentiles to three
// digits.
type Latency struct {
	histogram *hdrhistogram.Histogram // in ns
	sum       time.Duration
	min, max  time.Duration
}

func newLatency() *Latency {
	return &Latency{histogram: hdrhistogram.New(1, math.MaxInt64, 3), min: math.MaxInt64}
}

// Add counts one answer.
func (l *Latency) Add(took time.Duration) {
	_ = l.histogram.RecordValue(int64(took)) // its range has any
	l.sum += took
	l.min, l.max = min(l.min, took), max(l.max, took)
}

// Mean is the average of the answers, of which there must be one.
func (l *Latency) Mean() time.Duration { return l.sum / time.Duration(l.histogram.TotalCount()) }

// Percentile is what p per cent of the answers did not exceed; that of 0 is the
// shortest.
func (l *Latency) Percentile(p float64) time.Duration {
	if p == 0 {
		return l.min
	}
	// The histogram gives the upper end of a bucket.
	return min(time.Duration(l.histogram.ValueAtPercentile(p)), l.max)
}
