package ledger

import (
	"math/bits"
	"time"
)

// Latencies counts round-trip times in buckets whose width is a sixteenth of
// the power of two below them, so that a quantile is right to about three
// parts in a hundred, from a microsecond to a minute.
type Latencies struct {
	counts [latencyBuckets]uint64
	Count  uint64
	Sum    time.Duration
}

const (
	stepBits       = 4 // 2^4 buckets between a power of two and the next
	steps          = 1 << stepBits
	latencyBuckets = (26-stepBits)*steps + steps // up to 2^26 µs, 67 s
)

// bucketOf is the bucket that a round-trip time belongs to.
func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	shift := max(0, bits.Len64(us)-stepBits-1)
	return min(shift*steps+int(us>>shift), latencyBuckets-1)
}

// lowerEdge is where bucket i begins, and the one before ends.
func lowerEdge(i int) time.Duration {
	shift := max(0, i/steps-1)
	return time.Duration(i-shift*steps) << shift * time.Microsecond
}

func (l *Latencies) add(d time.Duration) {
	l.counts[bucketOf(d)]++
	l.Count++
	l.Sum += d
}

// merge adds all round-trip times of another.
func (l *Latencies) merge(o *Latencies) {
	for i, n := range o.counts {
		l.counts[i] += n
	}
	l.Count += o.Count
	l.Sum += o.Sum
}

// Mean is the mean of all; 0 if there are none.
func (l *Latencies) Mean() time.Duration {
	if l.Count == 0 {
		return 0
	}
	return l.Sum / time.Duration(l.Count)
}

// Quantile is the round-trip time that a share q of all, above 0 and up to 1,
// did not exceed; 0 if there are none.
func (l *Latencies) Quantile(q float64) time.Duration {
	rank := q * float64(l.Count)
	below := 0.0
	for i, n := range l.counts {
		if n > 0 && below+float64(n) >= rank {
			within := max(0, rank-below-0.5) / float64(n)
			return lowerEdge(i) + time.Duration(within*float64(lowerEdge(i+1)-lowerEdge(i)))
		}
		below += float64(n)
	}
	return 0
}

// LatencyEdges are upper edges for a histogram of few buckets: every power of
// two from 32 µs to 4 s.
var LatencyEdges = func() (edges []time.Duration) {
	for us := 32; us <= 1<<22; us *= 2 {
		edges = append(edges, time.Duration(us)*time.Microsecond)
	}
	return edges
}()

// Below counts the round-trip times below an edge, one of LatencyEdges.
func (l *Latencies) Below(edge time.Duration) (sum uint64) {
	for _, n := range l.counts[:bucketOf(edge)] {
		sum += n
	}
	return sum
}
