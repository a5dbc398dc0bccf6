package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
)

// echoVariable makes the test program an echo server at the address that is
// its value, and nothing else: the smallest server there is, in a process of
// its own as any other.
const echoVariable = "UDPLAB_TEST_ECHO"

// echo answers every datagram with itself until the process is killed.
func echo(addr string) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(conn.LocalAddr())
	buf := make([]byte, 1<<16)
	socket := conn.(*net.UDPConn)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, _ = socket.WriteToUDPAddrPort(buf[:n], from)
		}
	}
}

// startEcho starts an echo server and returns where it listens.
func startEcho(b *testing.B) string {
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), echoVariable+"=127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 64)
	n, err := stdout.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n]))
}

// BenchmarkRoundTrip is what the balancer costs one client that waits for each
// answer: the median round trip to an echo server, directly and through the
// balancer, in turn over the rounds of one run, and their ratio.
func BenchmarkRoundTrip(b *testing.B) {
	for _, path := range []string{"auto", "portable"} {
		b.Run(fmt.Sprintf("datapath=%s/size=%d/clients=1/window=1", path, size), func(b *testing.B) { benchmarkRoundTrip(b, path) })
	}
}

const (
	size     = 64   // of each datagram, in bytes
	perRound = 1000 // round trips, directly and then through the balancer
)

func benchmarkRoundTrip(b *testing.B, path string) {
	server := startEcho(b)
	stack := labtest.Start(b, lab.Config{
		Servers:  []string{},
		Balancer: lab.Env{"BALANCER_BACKENDS": "echo=" + server, "BALANCER_DATAPATH": path},
	})
	direct, balanced := newPinger(b, server), newPinger(b, stack.Addr().String())
	rounds := 0
	for b.Loop() {
		direct.round(perRound)
		balanced.round(perRound)
		rounds++
	}
	b.ReportMetric(0, "ns/op") // a round is no unit of anything
	b.ReportMetric(direct.median(), "direct-p50-µs")
	b.ReportMetric(balanced.median(), "balancer-p50-µs")
	b.ReportMetric(balanced.median()/direct.median(), "ratio")
	b.ReportMetric(float64(rounds), "rounds")
}

// pinger is a client that waits for each answer and takes the time.
type pinger struct {
	b         *testing.B
	conn      net.Conn
	out, back []byte
	times     []time.Duration
}

func newPinger(b *testing.B, addr string) *pinger {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	p := &pinger{b: b, conn: conn, out: make([]byte, size), back: make([]byte, size)}
	p.round(100) // the first ones find cold caches and a new session
	p.times = nil
	return p
}

// round makes n round trips.
func (p *pinger) round(n int) {
	p.conn.SetDeadline(time.Now().Add(lab.Patience))
	for range n {
		begin := time.Now()
		if _, err := p.conn.Write(p.out); err != nil {
			p.b.Fatal(err)
		}
		if _, err := p.conn.Read(p.back); err != nil {
			p.b.Fatal(err)
		}
		p.times = append(p.times, time.Since(begin))
	}
}

// median is the p50 of all round trips, in µs.
func (p *pinger) median() float64 {
	times := slices.Sorted(slices.Values(p.times))
	return float64(times[len(times)/2].Nanoseconds()) / 1000
}
