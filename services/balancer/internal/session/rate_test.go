package session

import (
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit int
		at    []time.Duration
		want  string // of each: a if it may, - if not
	}{
		{"the first always may", 1, []time.Duration{0}, "a"},
		{"one a second", 1, []time.Duration{0, 0, 999 * time.Millisecond, time.Second - 1, time.Second, time.Second}, "a---a-"},
		{"a second's worth at once, and no more", 3, []time.Duration{0, 0, 0, 0}, "aaa-"},
		{"then one each third of a second, to the nanosecond", 3,
			[]time.Duration{0, 0, 0, 333_333_333, 333_333_334, 333_333_334, 666_666_666, 666_666_667, time.Second - 1, time.Second}, "aaa-a--a-a"},
		{"a long silence saves up a second's worth", 2, []time.Duration{0, 0, time.Hour, time.Hour, time.Hour}, "aaaa-"},
		{"and so does one after some were taken", 3, []time.Duration{0, time.Hour, time.Hour, time.Hour, time.Hour}, "aaaa-"},
		{"asking too much costs nothing", 1, []time.Duration{0, 500 * time.Millisecond, 500 * time.Millisecond, time.Second}, "a--a"},
		{"a clock that goes back does nothing", 1, []time.Duration{time.Second, 0, time.Second, 2 * time.Second}, "a--a"},
		{"the highest limit", 1_000_000, []time.Duration{0, 1, 999, 1000}, "aaaa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a allowance
			got, start := "", time.Now()
			for _, at := range tt.at {
				if a.take(start.Add(at), tt.limit) {
					got += "a"
				} else {
					got += "-"
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A client that asks all the time gets exactly what the limit says, after the
// second's worth that it began with.
func FuzzAllowance(f *testing.F) {
	f.Add(uint32(10), []byte{1, 200, 0, 0, 255})
	f.Add(uint32(1_000_000), []byte{0, 0, 1})
	f.Add(uint32(3), []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, limit uint32, steps []byte) {
		n := int(limit%1000) + 2 // one at a time saves up nothing
		var a allowance
		start := time.Now()
		now, got := start, 0
		for _, step := range steps {
			now = now.Add(time.Duration(step) * 777_777) // never a whole second's worth unasked
			for a.take(now, n) {
				got++
			}
		}
		if len(steps) == 0 {
			return
		}
		first := start.Add(time.Duration(steps[0]) * 777_777)
		if want := n + int(now.Sub(first)*time.Duration(n)/time.Second); got != want {
			t.Errorf("limit %d: %d in %v, want %d", n, got, now.Sub(first), want)
		}
	})
}
