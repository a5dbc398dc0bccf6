package ping

import (
	"testing"
	"time"

	"udplab/services/kit/program"
)

const ms = time.Millisecond

func roundTrips(millis ...time.Duration) (r RoundTrips) {
	for _, n := range millis {
		r = append(r, n*ms)
	}
	return r
}

func TestRoundTripsAreSummedUpAsPingDoes(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		of                   RoundTrips
		min, mean, max, mdev time.Duration
	}{
		{"one answer", roundTrips(7), 7 * ms, 7 * ms, 7 * ms, 0},
		{"two answers", roundTrips(2, 4), 2 * ms, 3 * ms, 4 * ms, 1 * ms},
		{"five answers", roundTrips(1, 2, 3, 4, 10), 1 * ms, 4 * ms, 10 * ms, 3162278 * time.Nanosecond},
	} {
		if r := tt.of; r.Min() != tt.min || r.Mean() != tt.mean || r.Max() != tt.max || r.Deviation() != tt.mdev {
			t.Errorf("%s: %v/%v/%v/%v", tt.name, r.Min(), r.Mean(), r.Max(), r.Deviation())
		}
	}
}

func TestPercentilesAreByNearestRank(t *testing.T) {
	five := roundTrips(15, 20, 35, 40, 50)
	for p, want := range map[float64]time.Duration{0: 15, 1: 15, 20: 15, 30: 20, 40: 20, 50: 35, 99: 50, 100: 50} {
		if got := five.Percentile(p); got != want*ms {
			t.Errorf("p%v is %v, want %dms", p, got, want)
		}
	}
}

func TestTheVerdict(t *testing.T) {
	for _, tt := range []struct {
		name    string
		counts  Counts
		loss    string
		maxLoss float64
		code    int
		said    string
	}{
		{"all answered", Counts{Sent: 10, Received: 10}, "0%", 0, 0, ""},
		{"loss at the limit", Counts{Sent: 10, Received: 9}, "10%", 10, 0, ""},
		{"loss above it", Counts{Sent: 3, Received: 2}, "33.3333%", 33.33, 1, "33.3333% loss: more than the 33.33% allowed"},
		{"one that waits is not lost", Counts{Sent: 4, Received: 3, Unfinished: 1}, "0%", 0, 0, ""},
		{"none answered, any loss allowed", Counts{Sent: 7}, "100%", 100, 1, ""},
		{"only late ones", Counts{Sent: 3, Late: 3}, "100%", 100, 1, ""},
		{"little loss", Counts{Sent: 1000, Received: 999}, "0.1%", 100, 0, ""},
		{"nothing sent", Counts{}, "", 100, 1, ""},
		{"nothing decided", Counts{Sent: 1, Unfinished: 1}, "", 100, 1, ""},
	} {
		loss, said := "", ""
		if percent, ok := tt.counts.Loss(); ok {
			loss = Percent(percent)
		}
		err := tt.counts.Verdict(tt.maxLoss)
		if err != nil {
			said = err.Error()
		}
		if loss != tt.loss || program.ExitCode(err) != tt.code || said != tt.said {
			t.Errorf("%s: loss %q, exit code %d, said %q", tt.name, loss, program.ExitCode(err), said)
		}
	}
}
