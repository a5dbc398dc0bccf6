package main

import (
	"math/bits"
	"slices"
	"time"
)

// spread is what several rounds found: their median, the least and the most.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf sums up what the rounds found; the zero spread if there were none.
func spreadOf(found []float64) spread {
	if len(found) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(found))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// histogram counts durations in classes less than one percent wide, without
// allocating. The zero value is empty.
type histogram struct {
	counts [(64 - fineBits) << fineBits]uint64
	n      uint64
}

// fineBits is how many leading bits of a duration tell its class, beside the
// first.
const fineBits = 7

// add counts a duration; a negative one counts as zero.
func (h *histogram) add(d time.Duration) {
	h.counts[class(uint64(max(d, 0)))]++
	h.n++
}

// reset empties the histogram.
func (h *histogram) reset() { *h = histogram{} }

// quantile is a duration that a share q (0 to 1) of all are not longer than:
// the middle of its class. 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	left := min(uint64(q*float64(h.n)), h.n-1)
	for i, n := range h.counts {
		if left < n {
			low, high := bounds(i)
			return time.Duration(low + (high-low)/2)
		}
		left -= n
	}
	return 0
}

// class is the number of the class that n nanoseconds fall into: one for each
// nanosecond at first, then always as many for each doubling.
func class(n uint64) int {
	shift := max(bits.Len64(n)-1-fineBits, 0)
	return shift<<fineBits + int(n>>shift)
}

// bounds are the first number of a class, and the first after it.
func bounds(class int) (low, high uint64) {
	shift := max(class>>fineBits-1, 0)
	low = uint64(class-shift<<fineBits) << shift
	return low, low + 1<<shift
}
