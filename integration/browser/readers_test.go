package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"udplab/integration/lab"
)

// BenchmarkReaders measures what those who watch cost the data path: the
// balancer's processor time for a round trip with readers of /events beside
// none, in turn in one run. The ratio is the median of those of a round, whose
// two halves are a second apart.
func BenchmarkReaders(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("processor times are read from /proc")
	}
	const rounds = 11
	for _, readers := range []int{10, 64} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			lab := startLab(b, lab.Config{Servers: []string{}, Balancer: lab.Env{"BALANCER_BACKENDS": startEchoes(b, 3)}})
			load := newLoad(b, lab.Addr().String())
			measure := func() float64 { // µs of the balancer for each round trip
				before := processorTime(b, lab.BalancerPID())
				trips := load.run(time.Second)
				return float64((processorTime(b, lab.BalancerPID()) - before).Microseconds()) / float64(trips)
			}
			measure() // warm up
			var without, with, ratios []float64
			for b.Loop() {
				for range rounds {
					none := measure()
					stop := startReaders(b, lab.URL(), readers)
					watched := measure()
					stop()
					without, with, ratios = append(without, none), append(with, watched), append(ratios, watched/none)
				}
			}
			b.ReportMetric(median(without), "µs/roundtrip-none")
			b.ReportMetric(median(with), "µs/roundtrip-watched")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// startEchoes starts servers that send back what they get and say nothing of
// it, and returns them as BALANCER_BACKENDS has them.
func startEchoes(b *testing.B, n int) string {
	b.Helper()
	var list []string
	var echoing sync.WaitGroup
	b.Cleanup(echoing.Wait)
	for i := range n {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		echoing.Go(func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					conn.WriteToUDPAddrPort(buf[:n], from)
				}
			}
		})
		list = append(list, fmt.Sprintf("server%d=%v", i+1, conn.LocalAddr()))
	}
	return strings.Join(list, ",")
}

// load keeps datagrams of one client on their way.
type load struct {
	b    *testing.B
	conn net.Conn
}

// outstanding is how many of them there are.
const outstanding = 64

func newLoad(b *testing.B, addr string) *load {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &load{b, conn}
}

// run sends a datagram for each that comes back, for a while, and returns how
// many came back.
func (l *load) run(length time.Duration) (trips int) {
	payload, buf := make([]byte, 64), make([]byte, 2048)
	end := time.Now().Add(length)
	for range outstanding {
		l.send(payload)
	}
	for time.Now().Before(end) {
		l.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := l.conn.Read(buf); err != nil {
			for range outstanding { // all of them are lost
				l.send(payload)
			}
			continue
		}
		trips++
		l.send(payload)
	}
	for { // what is still on its way
		l.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := l.conn.Read(buf); err != nil {
			return trips
		}
		trips++
	}
}

func (l *load) send(payload []byte) {
	if _, err := l.conn.Write(payload); err != nil {
		l.b.Fatal(err)
	}
}

// startReaders opens /events n times and returns when each has had its first
// event; stop ends them.
func startReaders(b testing.TB, url string, n int) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var reading, begun sync.WaitGroup
	begun.Add(n)
	transport := &http.Transport{}
	for range n {
		reading.Go(func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
			if err != nil {
				panic(err) // a URL of our own
			}
			answer, err := transport.RoundTrip(request)
			if err != nil || answer.StatusCode != http.StatusOK {
				b.Errorf("a reader was not let in: %v", err)
				begun.Done()
				return
			}
			defer answer.Body.Close()
			lines := bufio.NewScanner(answer.Body)
			lines.Buffer(nil, 1<<20)
			for first := true; lines.Scan(); {
				if first && lines.Text() == "" {
					begun.Done()
					first = false
				}
			}
		})
	}
	begun.Wait()
	return func() {
		cancel()
		reading.Wait()
		transport.CloseIdleConnections()
	}
}

// tick is the unit of processor times in /proc (proc_pid_stat(5)); it is the
// same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// processorTime is what a process has used of the processors so far, for
// itself and in the kernel.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}
