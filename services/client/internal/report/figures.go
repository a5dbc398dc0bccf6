package report

import (
	"strconv"
	"strings"
	"time"

	"udplab/services/client/internal/ping"
)

// latencies is how long answers took: ping.RoundTrips or load.Latency.
type latencies interface {
	Mean() time.Duration
	Percentile(p float64) time.Duration // 0: the shortest, 100: the longest
}

// enough is how many answers it takes for the slowest percentiles to mean
// something: with fewer, p95 is just the slowest of all.
const enough = 20

// figure is one figure of the latencies by its name: min, avg, max, mdev, or p and
// a percentage. ok is false if there are too few answers for it.
func figure(name string, answers int64, of latencies) (d time.Duration, ok bool) {
	switch {
	case answers == 0:
		return 0, false
	case name == "min":
		return of.Percentile(0), true
	case name == "avg":
		return of.Mean(), true
	case name == "max":
		return of.Percentile(100), true
	case name == "mdev":
		return of.(ping.RoundTrips).Deviation(), true
	}
	p, _ := strconv.ParseFloat(name[1:], 64)
	return of.Percentile(p), p <= 50 || answers >= enough
}

// figureLine is some figures for people, or nothing if there are too few answers
// for one of them.
func figureLine(answers int64, of latencies, names ...string) string {
	var values []string
	for _, name := range names {
		d, ok := figure(name, answers, of)
		if !ok {
			return ""
		}
		values = append(values, millis(d))
	}
	return "rtt " + strings.Join(names, "/") + " = " + strings.Join(values, "/") + " ms"
}

// figureObject is some figures for programs, null if there are too few answers.
func figureObject(answers int64, of latencies, names ...string) (o object) {
	for _, name := range names {
		var value any
		if d, ok := figure(name, answers, of); ok {
			value = milliseconds(d)
		}
		o = append(o, strings.ReplaceAll(name, ".", "_"), value)
	}
	return o
}

// milliseconds is d in ms to three decimals.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func millis(d time.Duration) string { return strconv.FormatFloat(milliseconds(d), 'f', 3, 64) }

func wholeMillis(d time.Duration) string {
	return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10)
}
