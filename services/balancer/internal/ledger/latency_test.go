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
		if i > 0 && bucketOf(edge-time.Microsecond) != i-1 {
			t.Fatalf("%v belongs to bucket %d, want %d", edge-time.Microsecond, bucketOf(edge-time.Microsecond), i-1)
		}
		if width := lowerEdge(i+1) - edge; edge > 16*time.Microsecond && float64(width) > float64(edge)/16 {
			t.Fatalf("bucket %d is %v wide at %v", i, width, edge)
		}
	}
	for d, want := range map[time.Duration]int{-time.Second: 0, 0: 0, time.Hour: latencyBuckets - 1, math.MaxInt64: latencyBuckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v belongs to bucket %d, want %d", d, got, want)
		}
	}
}

func TestQuantilesAreRightToThreePartsInAHundred(t *testing.T) {
	var l Latencies
	if l.Quantile(0.5) != 0 || l.Mean() != 0 {
		t.Error("nothing has a quantile or a mean")
	}
	for i := range 1000 { // 100 µs to 100 ms
		l.add(time.Duration(i+1) * 100 * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.01: time.Millisecond, 0.5: 50 * time.Millisecond, 0.95: 95 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := l.Quantile(q); math.Abs(float64(got-want)) > 0.035*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	l.add(0)
	if got := l.Quantile(1e-9); got != 0 {
		t.Errorf("the least is %v", got)
	}
	var same Latencies
	for range 4 {
		same.add(time.Millisecond) // in the bucket from 992 to 1024 µs
	}
	if half, all := same.Quantile(0.5), same.Quantile(1); half != 1004*time.Microsecond || all != 1020*time.Microsecond {
		t.Errorf("four alike are spread over their bucket to %v and %v", half, all)
	}
	if got := l.Mean(); got != 50050*time.Millisecond/1001 {
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
