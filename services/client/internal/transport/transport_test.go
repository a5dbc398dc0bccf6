package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// everyTransport runs a test over each transport of this system: all keep one promise.
func everyTransport(t *testing.T, test func(t *testing.T, open Opener)) {
	t.Run("plain", func(t *testing.T) { test(t, Plain(Dial)) })
	t.Run("batched", func(t *testing.T) { test(t, Batched) })
}

// listen opens a target.
func listen(t *testing.T, host string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no %s here: %v", host, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// connect opens a transport to a target.
func connect(t *testing.T, open Opener, target string, clients int) Transport {
	t.Helper()
	sockets, addr, err := open(t.Context(), target, clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sockets.Close)
	if _, port, _ := net.SplitHostPort(target); fmt.Sprint(addr.Port()) != port {
		t.Errorf("%s is said to be %s", target, addr)
	}
	return sockets
}

// send wants the system to take everything.
func send(t *testing.T, sockets Transport, client int, payloads ...string) {
	t.Helper()
	var all [][]byte
	for _, payload := range payloads {
		all = append(all, []byte(payload))
	}
	sockets.Send(client, all, func(err error) { t.Errorf("not sent: %v", err) })
}

// receive waits until so many datagrams or reports have arrived.
func receive(t *testing.T, sockets Transport, n int) (all []Arrival) {
	t.Helper()
	for limit := time.Now().Add(patience); len(all) < n; {
		left := time.Until(limit)
		if left < 0 {
			t.Fatalf("%d of %d arrived", len(all), n)
		}
		sockets.Receive(left, func(a Arrival) { all = append(all, a) })
	}
	return all
}

// readOne reads one datagram at the target.
func readOne(t *testing.T, conn *net.UDPConn) (payload string, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 1<<16)
	conn.SetReadDeadline(time.Now().Add(patience))
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n]), from
}

func TestDatagramsOfEverySizeAndNumberGoThereAndBack(t *testing.T) {
	everyTransport(t, func(t *testing.T, open Opener) {
		conn := listen(t, "127.0.0.1")
		sockets := connect(t, open, conn.LocalAddr().String(), 1)
		var many []string
		for i := range 150 { // more than a batch
			many = append(many, fmt.Sprint(i))
		}
		for _, payloads := range [][]string{{""}, {"x"}, {strings.Repeat("x", 1500)}, {strings.Repeat("x", 65507)}, many} {
			before := time.Now()
			send(t, sockets, 0, payloads...)
			for _, want := range payloads {
				payload, from := readOne(t, conn)
				if payload != want {
					t.Fatalf("%.20q of %d bytes went there as %d bytes", want, len(want), len(payload))
				}
				conn.WriteToUDPAddrPort([]byte(payload), from)
			}
			for i, a := range receive(t, sockets, len(payloads)) {
				if a.Payload != payloads[i] || a.Client != 0 || a.Undelivered != "" || a.At.Before(before) || a.At.After(time.Now()) {
					t.Fatalf("%.20q of %d bytes came back: %.200v", payloads[i], len(payloads[i]), a)
				}
			}
		}
	})
}

func TestEachClientReachesItsTargetFromAPortOfItsOwnAndHearsNobodyElse(t *testing.T) {
	for _, tt := range []struct{ listen, target string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"127.0.0.1", "0.0.0.0"}, {"127.0.0.1", "localhost"}} {
		t.Run(tt.target, func(t *testing.T) {
			everyTransport(t, func(t *testing.T, open Opener) {
				conn, other := listen(t, tt.listen), listen(t, tt.listen)
				port := fmt.Sprint(conn.LocalAddr().(*net.UDPAddr).Port)
				sockets := connect(t, open, net.JoinHostPort(tt.target, port), 4)
				ports := map[netip.AddrPort]int{}
				for client := range 4 {
					send(t, sockets, client, fmt.Sprint(client))
					payload, from := readOne(t, conn)
					ports[from] = client
					other.WriteToUDPAddrPort([]byte("somebody else"), from)
					conn.WriteToUDPAddrPort([]byte(payload), from)
				}
				for _, a := range receive(t, sockets, 4) {
					if a.Payload != fmt.Sprint(a.Client) {
						t.Errorf("client %d heard %q", a.Client, a.Payload)
					}
				}
				if len(ports) != 4 {
					t.Errorf("ports %v", ports)
				}
			})
		})
	}
}

func TestARefusalIsNewsAndNoError(t *testing.T) {
	everyTransport(t, func(t *testing.T, open Opener) {
		conn := listen(t, "127.0.0.1")
		target := conn.LocalAddr().String()
		sockets := connect(t, open, target, 1)
		conn.Close()
		// A report may come with the next datagram instead, which then is sent all
		// the same.
		for range 3 {
			sockets.Send(0, [][]byte{[]byte("x")}, func(err error) {
				if Undelivered(err) != "refused" {
					t.Errorf("not sent: %v", err)
				}
			})
		}
		if got := receive(t, sockets, 1)[0]; got.Undelivered != "refused" || got.Payload != "" || got.At.IsZero() {
			t.Errorf("%+v", got)
		}
	})
}

func TestAWaitEnds(t *testing.T) {
	everyTransport(t, func(t *testing.T, open Opener) {
		sockets := connect(t, open, listen(t, "127.0.0.1").LocalAddr().String(), 1)
		nothing := func(a Arrival) { t.Errorf("arrived: %+v", a) }
		for _, limit := range []time.Duration{-time.Second, 0, time.Microsecond, 20 * time.Millisecond} {
			// A signal may end one wait early, but not all of them.
			waits, began := 0, time.Now()
			for ; waits == 0 || time.Since(began) < limit; waits++ {
				sockets.Receive(limit-time.Since(began), nothing)
			}
			if waits > 1000 {
				t.Errorf("%d waits for %v", waits, limit)
			}
		}
		for _, early := range []bool{true, false} { // before the wait, or while it lasts
			began := time.Now()
			if early {
				sockets.Wake()
				sockets.Wake()
			} else {
				go sockets.Wake()
			}
			if sockets.Receive(patience, nothing); time.Since(began) >= patience {
				t.Errorf("woken early %v: after %v", early, time.Since(began))
			}
		}
	})
}

func TestATransportThatCannotOpenLeavesNothingOpen(t *testing.T) {
	// The third of three sockets cannot be opened. goleak sees what is left.
	opened, errNoMore := 0, errors.New("no more of them")
	dial := func(ctx context.Context, target string) (s io.ReadWriteCloser, addr netip.AddrPort, err error) {
		if opened++; opened == 3 {
			return nil, addr, errNoMore
		}
		return Dial(ctx, target)
	}
	_, _, err := Plain(dial)(t.Context(), listen(t, "127.0.0.1").LocalAddr().String(), 3)
	if err != errNoMore {
		t.Errorf("%v", err)
	}
}

func TestATargetThatDoesNotExist(t *testing.T) {
	everyTransport(t, func(t *testing.T, open Opener) {
		for target, want := range map[string]string{
			"bad..name:8888": "lookup bad..name: no such host",
			"b":              "address b: missing port in address",
			"b:x":            "lookup udp/x: unknown port",
		} {
			if _, _, err := open(t.Context(), target, 1); err == nil || err.Error() != want {
				t.Errorf("said %v, want %s", err, want)
			}
		}
	})
}

// faulty is a socket whose reads and writes give one result after the other.
type faulty struct {
	io.Closer
	reads, writes chan error
}

func (f faulty) Read([]byte) (int, error)    { return 0, <-f.reads }
func (f faulty) Write(p []byte) (int, error) { return len(p), <-f.writes }

func TestErrorsOfASocket(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name          string
		reads, writes []error
		refused       int
		fails         bool
	}{
		{"all is well", nil, []error{nil}, 0, false},
		{"an error of an earlier datagram costs none", nil, []error{syscall.ECONNREFUSED, nil}, 0, false},
		{"a second one does", nil, []error{syscall.ECONNREFUSED, syscall.ECONNREFUSED}, 1, false},
		{"any other error costs the datagram", nil, []error{broken}, 1, false},
		{"a read that reports a refusal", []error{syscall.ECONNREFUSED}, []error{nil}, 1, false},
		{"a read that fails", []error{broken}, []error{nil}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := faulty{io.NopCloser(nil), make(chan error, 3), make(chan error, 3)}
			for _, err := range tt.reads {
				socket.reads <- err
			}
			for _, err := range tt.writes {
				socket.writes <- err
			}
			sockets, _, err := Plain(func(context.Context, string) (io.ReadWriteCloser, netip.AddrPort, error) {
				return socket, netip.AddrPort{}, nil
			})(t.Context(), "b:1", 1)
			if err != nil {
				t.Fatal(err)
			}
			refused := 0
			sockets.Send(0, [][]byte{nil}, func(error) { refused++ })
			var failed error
			if tt.reads != nil {
				sockets.Receive(patience, func(a Arrival) {
					refused += len(a.Undelivered) / len("refused")
					failed = a.Failed
				})
			}
			if refused != tt.refused || (failed != nil) != tt.fails || len(socket.writes) > 0 {
				t.Errorf("%d refused, error %v, %d writes left", refused, failed, len(socket.writes))
			}
			socket.reads <- net.ErrClosed
			sockets.Close()
		})
	}
}

func TestAFloodDoesNotHoldUpTheCaller(t *testing.T) {
	p := &plain{reads: make(chan Arrival, 10), wake: make(chan struct{}, 1), timer: time.NewTimer(0)}
	fill := func() { p.reads <- Arrival{} }
	for range 5 {
		fill()
	}
	seen := 0
	if p.Receive(time.Hour, func(Arrival) { seen++; fill() }); seen != 6 || len(p.reads) != 5 {
		t.Errorf("%d seen, %d left", seen, len(p.reads))
	}
}

func TestTheReasonIsShort(t *testing.T) {
	for _, tt := range []struct {
		err               error
		reason, delivered string
	}{
		{syscall.ECONNREFUSED, "refused", "refused"},
		{fmt.Errorf("write udp: %w", os.NewSyscallError("sendto", syscall.EPERM)), syscall.EPERM.Error(), ""},
		{errors.New("anything else"), "anything else", ""},
	} {
		if reason, why := Reason(tt.err), Undelivered(tt.err); reason != tt.reason || why != tt.delivered {
			t.Errorf("%v: %q, %q", tt.err, reason, why)
		}
	}
	if why := Undelivered(nil); why != "" {
		t.Errorf("no error: %q", why)
	}
}
