package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// carriers are the ways to carry a load: all keep one promise.
var carriers = map[string]batchOpener{"plain": nil, "batched": openBatched}

// everyCarrier runs a test over each carrier that this system has.
func everyCarrier(t *testing.T, test func(t *testing.T, batched batchOpener)) {
	for name, batched := range carriers {
		t.Run(name, func(t *testing.T) {
			if name != "plain" && batched == nil {
				t.Skip("this system has no such system calls")
			}
			test(t, batched)
		})
	}
}

// summary is that of a load in JSON.
type summary struct {
	Sent, Received, Lost, Late, Duplicates, Strays int
	TimeMS                                         float64             `json:"time_ms"`
	RTTMS                                          map[string]*float64 `json:"rtt_ms"`
	ByServer                                       map[string]int      `json:"by_server"`
	Errors                                         map[string]int
	Exit                                           int
}

// loadAt runs a load on real sockets.
func loadAt(t *testing.T, batched batchOpener, target, args string) (s summary) {
	t.Helper()
	run := (&session{args: "load -q --json -W 30s " + args + " " + target, dial: dial, batched: batched}).run(t.Context())
	if err := json.Unmarshal([]byte(run.stdout), &s); err != nil {
		t.Fatalf("%v (%v) in %s%s", err, run.err, run.stdout, run.stderr)
	}
	if s.Exit != run.code {
		t.Errorf("exit code %d, but the summary says %d", run.code, s.Exit)
	}
	return s
}

func TestALoadOverRealSockets(t *testing.T) {
	named := func(n int, request string) []string { return []string{fmt.Sprintf("%s server%d", request, n%3+1)} }
	held := "" // the request that is answered with the next
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []string
		want   summary
	}{
		{"every datagram is answered", "-c 3000", named, summary{
			Sent: 3000, Received: 3000, ByServer: map[string]int{"server1": 1000, "server2": 1000, "server3": 1000},
		}},
		{"of several clients", "-c 3000 --clients 7 --window 5", named, summary{
			Sent: 3000, Received: 3000, ByServer: map[string]int{"server1": 1000, "server2": 1000, "server3": 1000},
		}},
		{"at a rate", "-c 300 --rate 3000", named, summary{
			Sent: 300, Received: 300, ByServer: map[string]int{"server1": 100, "server2": 100, "server3": 100},
		}},
		{"as large as datagrams are", "-c 40 --window 2 -s 65507",
			func(_ int, request string) []string { return []string{request[:65499] + " server1"} },
			summary{Sent: 40, Received: 40, ByServer: map[string]int{"server1": 40}}},
		{"one in ten is lost", "-c 100 --window 50 -W 1s",
			func(n int, request string) []string {
				if n%10 == 3 {
					return nil
				}
				return []string{request}
			},
			summary{Sent: 100, Received: 90, Lost: 10, ByServer: map[string]int{"?": 90}}},
		{"each is answered twice", "-c 100 --window 1",
			func(n int, request string) []string { return []string{request, request} },
			// The second answer to the last one may come after the end.
			summary{Sent: 100, Received: 100, Duplicates: 99, ByServer: map[string]int{"?": 100}}},
		{"the first is answered late, and there is nonsense", "-c 2 --window 1 -W 1s",
			func(n int, request string) []string {
				if n == 0 {
					held = request
					return nil
				}
				return []string{held + " server1", "", "\x00\xff", request + " server2"}
			},
			summary{Sent: 2, Received: 1, Lost: 1, Late: 1, Strays: 2, ByServer: map[string]int{"server2": 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyCarrier(t, func(t *testing.T, batched batchOpener) {
				got := loadAt(t, batched, serve(t, tt.answer), tt.args)
				if got.RTTMS["p50"] == nil || (got.RTTMS["p99_9"] == nil) != (got.Received < enough) {
					t.Errorf("percentiles: %v", got.RTTMS)
				}
				got.Duplicates = min(got.Duplicates, tt.want.Duplicates)
				got.RTTMS, got.TimeMS, tt.want.Errors = nil, 0, map[string]int{}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got  %+v\nwant %+v", got, tt.want)
				}
			})
		})
	}
}

func TestALoadToAPortWithoutAnybody(t *testing.T) {
	everyCarrier(t, func(t *testing.T, batched batchOpener) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		target := conn.LocalAddr().String()
		conn.Close()
		got := loadAt(t, batched, target, "-c 8 --window 4 -W 200ms")
		if got.Sent != 8 || got.Lost != 8 || got.Exit != 1 || got.Errors["refused"] == 0 || len(got.Errors) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestEachClientHasAPortOfItsOwn(t *testing.T) {
	everyCarrier(t, func(t *testing.T, batched batchOpener) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		asked := map[string]int{} // requests, by who sent them
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 100)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				asked[from.String()]++
				conn.WriteToUDPAddrPort(buf[:n], from)
			}
		}()
		got := loadAt(t, batched, conn.LocalAddr().String(), "-c 40 --clients 4 --window 2")
		conn.Close()
		<-done
		if got.Received != 40 || len(asked) != 4 {
			t.Errorf("%d received, asked by %v", got.Received, asked)
		}
		for from, n := range asked {
			if n != 10 {
				t.Errorf("%s asked %d times, want 10", from, n)
			}
		}
	})
}

func TestAnAnswerThatIsGivenToAnotherClientIsAStray(t *testing.T) {
	everyCarrier(t, func(t *testing.T, batched batchOpener) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { // answers each of two requests to the other's sender
			defer close(done)
			one, two := make([]byte, 100), make([]byte, 100)
			n, first, _ := conn.ReadFromUDPAddrPort(one)
			m, second, _ := conn.ReadFromUDPAddrPort(two)
			conn.WriteToUDPAddrPort(one[:n], second)
			conn.WriteToUDPAddrPort(two[:m], first)
		}()
		got := loadAt(t, batched, conn.LocalAddr().String(), "-c 2 --clients 2 --window 1 -W 300ms")
		conn.Close()
		<-done
		if got.Received != 0 || got.Strays != 2 || got.Lost != 2 {
			t.Errorf("%+v", got)
		}
	})
}

func TestACarrierHearsNobodyButTheTarget(t *testing.T) {
	everyCarrier(t, func(t *testing.T, batched batchOpener) {
		other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 100)
			n, from, _ := conn.ReadFromUDPAddrPort(buf)
			other.WriteToUDPAddrPort(append(slices.Clone(buf[:n]), " somebody"...), from)
			conn.WriteToUDPAddrPort(append(buf[:n], " server1"...), from)
		}()
		got := loadAt(t, batched, conn.LocalAddr().String(), "-c 1 -W 5s")
		conn.Close()
		<-done
		if got.Received != 1 || got.ByServer["server1"] != 1 || got.Strays != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestALoadOverIPv6AndToEveryAddress(t *testing.T) {
	for _, tt := range []struct{ listen, target string }{{"::1", "::1"}, {"127.0.0.1", "0.0.0.0"}} {
		t.Run(tt.target, func(t *testing.T) {
			everyCarrier(t, func(t *testing.T, batched batchOpener) {
				conn, err := net.ListenPacket("udp", net.JoinHostPort(tt.listen, "0"))
				if err != nil {
					t.Skipf("no %s here: %v", tt.listen, err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					buf := make([]byte, 100)
					for {
						n, from, err := conn.ReadFrom(buf)
						if err != nil {
							return
						}
						conn.WriteTo(buf[:n], from)
					}
				}()
				port := strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
				got := loadAt(t, batched, tt.target+" "+port, "-c 20 --clients 2 --window 5")
				conn.Close()
				<-done
				if got.Received != 20 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

func TestACarrierThatCannotOpenLeavesNothingOpen(t *testing.T) {
	// The third of three sockets cannot be opened. goleak sees what is left.
	opened := 0
	failing := func(ctx context.Context, to address) (s io.ReadWriteCloser, addr netip.AddrPort, err error) {
		if opened++; opened == 3 {
			return nil, addr, cannotReach(to, errors.New("no more of them"))
		}
		return dial(ctx, to)
	}
	s := (&session{args: "load --clients 3 " + serve(t, func(int, string) []string { return nil }), dial: failing}).run(t.Context())
	if s.code != 2 || !strings.HasSuffix(s.err.Error(), "no more of them") {
		t.Errorf("exit code %d: %v", s.code, s.err)
	}
}

func TestAWaitForArrivalsEnds(t *testing.T) {
	everyCarrier(t, func(t *testing.T, batched batchOpener) {
		target := strings.ReplaceAll(serve(t, func(int, string) []string { return nil }), " ", ":")
		p := client{dial: dial, batched: batched}
		c, _, err := p.openCarrier(t.Context(), settings{Target: address(target), Clients: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		nothing := func(a arrival) { t.Errorf("arrived: %+v", a) }
		for _, limit := range []time.Duration{0, time.Microsecond, 20 * time.Millisecond} {
			// A signal may end one wait early, but not all of them.
			waits, began := 0, time.Now()
			for ; waits == 0 || time.Since(began) < limit; waits++ {
				if err := c.receive(limit, nothing); err != nil {
					t.Fatal(err)
				}
			}
			if waits > 100 {
				t.Errorf("%d waits for %v", waits, limit)
			}
		}
	})
}
