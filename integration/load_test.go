package integration

import (
	"encoding/json"
	"slices"
	"testing"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// BenchmarkLoad is what `client load` gets out of the lab as people start it:
// three servers, the balancer and the client, each a process with its usual
// settings, and the log of servers and balancer as people read it. Each round is
// a second at one server directly and a second through the balancer, and the
// ratio is that of the medians, so that it says something also on a machine that
// has other things to do. It may be above 1: directly, one server does the work
// of three.
func BenchmarkLoad(b *testing.B) {
	pretty := lab.Env{"LOG_FORMAT": "pretty"}
	stack := labtest.Start(b, lab.Config{Server: pretty, Balancer: pretty})
	var direct, balanced []float64
	for b.Loop() {
		direct = append(direct, loadOnce(b, stack, stack.Servers()[0]))
		balanced = append(balanced, loadOnce(b, stack, stack.Addr().String()))
	}
	b.ReportMetric(0, "ns/op") // a round is no unit of anything
	b.ReportMetric(median(direct), "direct-roundtrips/s")
	b.ReportMetric(median(balanced), "roundtrips/s")
	b.ReportMetric(median(balanced)/median(direct), "ratio")
	b.ReportMetric(float64(len(balanced)), "rounds")
}

// loadOnce is the answers a second of a load of one second.
func loadOnce(b *testing.B, stack *lab.Stack, target string) float64 {
	b.Helper()
	exit, err := stack.Client(b.Context(), "load", "--duration", "1s", "--json", "--quiet", target)
	if err != nil || exit.Code != 0 {
		b.Fatalf("exit code %d, %v\n%s", exit.Code, err, exit.Stderr)
	}
	var summary struct {
		PerSecond float64 `json:"per_second"`
	}
	if err := json.Unmarshal([]byte(exit.Stdout), &summary); err != nil || summary.PerSecond == 0 {
		b.Fatalf("%v in %s", err, exit.Stdout)
	}
	return summary.PerSecond
}

// median is the middle one.
func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }
