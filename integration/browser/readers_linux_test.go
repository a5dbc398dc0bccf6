package browser

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/integration/traffic"
)

// BenchmarkReaders measures what readers of /events cost the data path: the
// balancer's processor time for a round trip with readers beside none, in turn
// in one run. The ratio is the median of those of a round, whose two halves are
// a second apart.
func BenchmarkReaders(b *testing.B) {
	const rounds = 11
	for _, readers := range []int{10, 64} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			loop, err := traffic.NewLoop()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { loop.Close() })
			var backends []string
			for i := range 3 {
				addr, err := loop.AddEcho()
				if err != nil {
					b.Fatal(err)
				}
				backends = append(backends, fmt.Sprintf("server%d=%v", i+1, addr))
			}
			stack := labtest.Start(b, lab.Config{Servers: []string{}, Balancer: lab.Env{"BALANCER_BACKENDS": strings.Join(backends, ",")}})
			books := traffic.NewBooks(1, traffic.Settings{Count: math.MaxUint64, Window: 64, Timeout: time.Second, Sizes: traffic.Sizes{Usual: traffic.PingSize}})
			if err := loop.Connect(books, stack.Addr()); err != nil {
				b.Fatal(err)
			}
			process, err := procfs.NewProc(stack.Part("balancer").PID())
			if err != nil {
				b.Fatal(err)
			}
			used := func() float64 { // µs of all processors so far, for itself and in the kernel
				stat, err := process.Stat()
				if err != nil {
					b.Fatal(err)
				}
				return stat.CPUTime() * 1e6
			}
			measure := func() float64 { // µs of the balancer for each round trip
				before, settled, end := used(), books[0].Settled(), loop.Now()+time.Second
				if err := loop.Run(b.Context(), func(now time.Duration) bool { return now >= end }); err != nil {
					b.Fatal(err)
				}
				return (used() - before) / float64(books[0].Settled()-settled)
			}
			measure() // warm up
			var without, with, ratios []float64
			for b.Loop() {
				for range rounds {
					none := measure()
					stop := startReaders(b, stack.URL(), readers)
					watched := measure()
					stop()
					without, with, ratios = append(without, none), append(with, watched), append(ratios, watched/none)
				}
			}
			for unit, values := range map[string][]float64{"µs/roundtrip-none": without, "µs/roundtrip-watched": with, "ratio": ratios} {
				slices.Sort(values)
				b.ReportMetric(values[len(values)/2], unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
