package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// BenchmarkRoundTrip is what the balancer costs one client that waits for each
// answer: the median round trip to a ping server, directly and through the
// balancer, in turn over the rounds of one run, and their ratio.
func BenchmarkRoundTrip(b *testing.B) {
	for _, path := range []string{"auto", "portable"} {
		b.Run(fmt.Sprintf("datapath=%s/size=%d/clients=1/window=1", path, size), func(b *testing.B) {
			stack := labtest.Start(b, lab.Config{Servers: []string{"127.0.0.1:0"}, Balancer: lab.Env{"BALANCER_DATAPATH": path}})
			direct, balanced := newPinger(b, stack.Servers()[0]), newPinger(b, stack.Addr().String())
			rounds := 0
			for b.Loop() {
				direct.round(perRound)
				balanced.round(perRound)
				rounds++
			}
			b.ReportMetric(0, "ns/op") // a round is no unit of anything
			b.ReportMetric(median(direct.times), "direct-p50-µs")
			b.ReportMetric(median(balanced.times), "balancer-p50-µs")
			b.ReportMetric(median(balanced.times)/median(direct.times), "ratio")
			b.ReportMetric(float64(rounds), "rounds")
		})
	}
}

const (
	size     = 64   // of each datagram, in bytes
	perRound = 1000 // round trips, directly and then through the balancer
)

// pinger is a client that waits for each answer and takes the time.
type pinger struct {
	b         *testing.B
	conn      net.Conn
	out, back []byte
	times     []float64 // in µs
}

func newPinger(b *testing.B, addr string) *pinger {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	p := &pinger{b: b, conn: conn, out: make([]byte, size), back: make([]byte, 2*size)}
	p.round(100) // the first ones find cold caches and a new session
	p.times = nil
	return p
}

// round makes n round trips.
func (p *pinger) round(n int) {
	p.conn.SetDeadline(time.Now().Add(lab.Patience))
	for range n {
		begin := time.Now()
		_, err1 := p.conn.Write(p.out)
		_, err2 := p.conn.Read(p.back)
		if err := errors.Join(err1, err2); err != nil {
			p.b.Fatal(err)
		}
		p.times = append(p.times, float64(time.Since(begin).Nanoseconds())/1000)
	}
}

// median is the middle one.
func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

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
