package load

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is how long the answers took; however many there are, it takes the same
// memory. Percentiles are exact to three digits, the others exactly. All but Add
// need at least one answer.
type Latency struct {
	histogram *hdrhistogram.Histogram // in ns
	sum       time.Duration
	min, max  time.Duration
}

// longest is the longest latency that percentiles tell from longer ones.
const longest = time.Hour

func newLatency() *Latency {
	return &Latency{histogram: hdrhistogram.New(1, int64(longest), 3), min: math.MaxInt64}
}

// Add counts one answer.
func (l *Latency) Add(took time.Duration) {
	_ = l.histogram.RecordValue(int64(min(took, longest))) // fails only above that
	l.sum += took
	l.min, l.max = min(l.min, took), max(l.max, took)
}

// Min is the shortest.
func (l *Latency) Min() time.Duration { return l.min }

// Max is the longest.
func (l *Latency) Max() time.Duration { return l.max }

// Mean is the average.
func (l *Latency) Mean() time.Duration { return l.sum / time.Duration(l.histogram.TotalCount()) }

// Percentile is what p per cent of the answers did not exceed.
func (l *Latency) Percentile(p float64) time.Duration {
	// The histogram gives the upper end of a bucket.
	return min(time.Duration(l.histogram.ValueAtPercentile(p)), l.max)
}
