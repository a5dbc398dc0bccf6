package ledger

import (
	"math"
	"testing"
	"time"
)

func TestABucketBeginsWhereTheOneBeforeEnds(t *testing.T) {
	for i := range latencyBuckets {
		edge := lowerEdge(i)
		if got := bucketOf(edge); got != i {
			t.Fatalf("%v belongs to bucket %d, want %d", edge, got, i)
		}
		if i > 0 && bucketOf(edge-1) != i-1 {
			t.Fatalf("%v belongs to bucket %d, want %d", edge-1, bucketOf(edge-1), i-1)
		}
		if width := lowerEdge(i+1) - edge; float64(width) > float64(edge)/40 {
			t.Fatalf("bucket %d is %v wide at %v", i, width, edge)
		}
	}
	for d, want := range map[time.Duration]int{-time.Second: 0, 0: 0, time.Hour: latencyBuckets - 1, math.MaxInt64: latencyBuckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v belongs to bucket %d, want %d", d, got, want)
		}
	}
}

func TestQuantilesAreRightToTwoPartsInAHundred(t *testing.T) {
	var l Latencies
	if l.Quantile(0.5) != 0 || l.Mean() != 0 {
		t.Error("nothing has a quantile or a mean")
	}
	for i := range 1000 { // 100 µs to 100 ms
		l.add(time.Duration(i+1) * 100 * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.01: time.Millisecond, 0.5: 50 * time.Millisecond, 0.95: 95 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := l.Quantile(q); math.Abs(float64(got-want)) > 0.023*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	var same Latencies
	for range 4 {
		same.add(time.Millisecond) // in the bucket from 980.6 to 1002.1 µs
	}
	if half, all := same.Quantile(0.5), same.Quantile(1); half.Round(time.Microsecond) != 989*time.Microsecond || all.Round(time.Microsecond) != 999*time.Microsecond {
		t.Errorf("four alike are spread over their bucket to %v and %v", half, all)
	}
	if got := l.Mean(); got != 50050*time.Microsecond {
		t.Errorf("the mean is %v", got)
	}
}

func TestTheEdgesOfFewBucketsAreEdgesOfTheManyToo(t *testing.T) {
	var l Latencies
	if first, last := LatencyEdges[0], LatencyEdges[len(LatencyEdges)-1]; first != 32*time.Microsecond || last != 1<<22*time.Microsecond {
		t.Errorf("they reach from %v to %v", first, last)
	}
	for _, edge := range LatencyEdges {
		if lowerEdge(bucketOf(edge)) != edge {
			t.Errorf("%v is no edge", edge)
		}
		l.add(edge - time.Microsecond)
	}
	for i, edge := range LatencyEdges {
		if got := l.Below(edge); got != uint64(i+1) {
			t.Errorf("%d below %v, want %d", got, edge, i+1)
		}
	}
}
