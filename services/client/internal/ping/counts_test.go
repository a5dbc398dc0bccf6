package ping

import (
	"testing"
	"time"

	"udplab/services/kit/program"
)

const ms = time.Millisecond

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

func TestTheFiguresOfRoundTrips(t *testing.T) {
	r := RoundTrips{1 * ms, 2 * ms, 4 * ms, 9 * ms}
	if r.Mean() != 4*ms || r.Deviation() != 3_082_207 { // √9.5 ms
		t.Errorf("mean %v, deviation %v", r.Mean(), r.Deviation())
	}
	for p, want := range map[float64]time.Duration{0: 1 * ms, 25: 1 * ms, 25.1: 2 * ms, 50: 2 * ms, 75: 4 * ms, 99: 9 * ms, 100: 9 * ms} {
		if got := r.Percentile(p); got != want {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
}
