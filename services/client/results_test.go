package main

import (
	"testing"
	"time"

	"udplab/services/kit/program"
)

func rtts(millis ...int) (r results) {
	for _, ms := range millis {
		r.rtts = append(r.rtts, time.Duration(ms)*time.Millisecond)
	}
	return r
}

func TestTheSpreadIsPings(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		of   results
		want spread
	}{
		{"one answer", rtts(7), spread{7 * ms, 7 * ms, 7 * ms, 0}},
		{"two answers", rtts(2, 4), spread{2 * ms, 3 * ms, 4 * ms, 1 * ms}},
		{"five answers", rtts(1, 2, 3, 4, 10), spread{1 * ms, 4 * ms, 10 * ms, 3162278 * time.Nanosecond}},
	} {
		if got := tt.of.spread(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPercentilesAreByNearestRank(t *testing.T) {
	five := rtts(15, 20, 35, 40, 50)
	for p, want := range map[int]time.Duration{1: 15, 20: 15, 30: 20, 40: 20, 50: 35, 99: 50, 100: 50} {
		if got := five.percentile(p); got != want*time.Millisecond {
			t.Errorf("p%d is %v, want %dms", p, got, want)
		}
	}
	if got := rtts(3).percentile(50); got != 3*time.Millisecond {
		t.Errorf("p50 of one is %v", got)
	}
}

func TestLossIsWrittenAsPingDoes(t *testing.T) {
	for _, tt := range []struct {
		sent, received int
		want           string
	}{
		{10, 10, "0%"}, {10, 9, "10%"}, {3, 2, "33.3333%"}, {7, 0, "100%"}, {1000, 999, "0.1%"},
	} {
		loss, ok := results{sent: tt.sent, received: tt.received}.loss()
		if got := percent(loss); got != tt.want || !ok {
			t.Errorf("%d of %d: %s, want %s", tt.received, tt.sent, got, tt.want)
		}
	}
	if _, ok := (results{}).loss(); ok {
		t.Error("loss of nothing is a number")
	}
}

func TestTheVerdict(t *testing.T) {
	for _, tt := range []struct {
		name    string
		results results
		maxLoss float64
		code    int
	}{
		{"all answered", results{sent: 3, received: 3}, 0, 0},
		{"some answered, any loss allowed", results{sent: 3, received: 1}, 100, 0},
		{"none answered, any loss allowed", results{sent: 3}, 100, 1},
		{"only late ones", results{sent: 3, late: 3}, 100, 1},
		{"more lost than allowed", results{sent: 3, received: 2}, 33.33, 1},
		{"nothing sent", results{}, 100, 1},
	} {
		if code := program.ExitCode(tt.results.verdict(tt.maxLoss)); code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.name, code, tt.code)
		}
	}
}
