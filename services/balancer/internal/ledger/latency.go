package ledger

import (
	"math"
	"time"
)

// Latencies counts round-trip times in buckets, thirty-two between a power of
// two and the next, so that a quantile is right to about two parts in a hundred, from a microsecond to a minute.
type Latencies struct {
	counts [latencyBuckets]uint64
	Count  uint64
	Sum    time.Duration
}

const (
	latencySteps   = 32
	latencyBuckets = 26 * latencySteps // up to 2^26 µs, 67 s
)

// bucketOf is the bucket that a round-trip time belongs to.
func bucketOf(d time.Duration) int {
	us := max(1, float64(d)/float64(time.Microsecond))
	return min(int(math.Log2(us)*latencySteps), latencyBuckets-1)
}

// lowerEdge is where bucket i begins, and the one before ends.
func lowerEdge(i int) time.Duration {
	return time.Duration(math.Ceil(math.Exp2(float64(i)/latencySteps) * float64(time.Microsecond)))
}

func (l *Latencies) add(d time.Duration) {
	l.counts[bucketOf(d)]++
	l.Count++
	l.Sum += d
}

// Mean is the mean of all; 0 if there are none.
func (l *Latencies) Mean() time.Duration { return l.Sum / time.Duration(max(1, l.Count)) }

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
	for edge := 32 * time.Microsecond; edge < 5*time.Second; edge *= 2 {
		edges = append(edges, edge)
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
