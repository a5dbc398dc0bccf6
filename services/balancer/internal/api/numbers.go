package api

import (
	"strconv"
	"time"
)

// How numbers are written, for people and for programs.

// thousands writes 1204 as 1,204.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// amount writes a number of things.
func amount(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// toMillis is a duration in milliseconds, to the microsecond.
func toMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// millis is a round-trip time in milliseconds; nil if there is none.
func millis(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := toMillis(d)
	return &ms
}

// shortMillis writes milliseconds as people read them: three digits that
// matter.
func shortMillis(ms float64) string {
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64)
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}
