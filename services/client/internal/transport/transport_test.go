package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout is how long a test waits for what must come.
const testTimeout = time.Minute

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

// connect opens sockets to a target.
func connect(t *testing.T, dial Dialer, target string, clients int) *Sockets {
	t.Helper()
	sockets, err := Open(t.Context(), dial, target, clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sockets.Close)
	return sockets
}

// send sends all of it at a time, and returns what the system did not take.
func send(sockets *Sockets, client int, payloads ...string) (failed []error) {
	keep := func(err error) { failed = append(failed, err) }
	var buf []byte // one for all: it is not the sockets' to keep
	for _, payload := range payloads {
		buf = append(buf[:0], payload...)
		sockets.send(client, buf, keep)
	}
	sockets.flush(keep)
	return failed
}

// receive waits for the next datagrams or report.
func receive(t *testing.T, sockets *Sockets) arrivals {
	t.Helper()
	select {
	case a := <-sockets.arrivals:
		return a
	case <-time.After(testTimeout):
		t.Fatal("nothing arrived")
		return arrivals{}
	}
}

// readOne reads one datagram at the target.
func readOne(t *testing.T, conn *net.UDPConn) (payload string, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 1<<16)
	conn.SetReadDeadline(time.Now().Add(testTimeout))
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n]), from
}

func TestDatagramsOfEverySizeGoThereAndBackInBatches(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			conn := listen(t, host)
			conn.SetReadBuffer(receiveBuffer) // for all that is sent before the first is read
			sockets := connect(t, Dial, conn.LocalAddr().String(), 1)
			var want []string
			for i, size := range []int{65507, 0, 1, 0, 1500, 65507, 2} {
				want = append(want, strings.Repeat(fmt.Sprint(i), size))
			}
			before := time.Now()
			if failed := send(sockets, 0, want...); failed != nil {
				t.Fatal(failed)
			}
			var there, back []string
			for range want {
				payload, from := readOne(t, conn)
				there = append(there, payload)
				conn.WriteToUDPAddrPort([]byte(payload), from)
			}
			for len(back) < len(want) {
				a := receive(t, sockets)
				if a.client != 0 || a.err != nil || a.at.Before(before) || a.at.After(time.Now()) {
					t.Fatalf("%.200v", a)
				}
				back = append(back, a.payloads...)
			}
			if !slices.Equal(there, want) || !slices.Equal(back, want) {
				t.Errorf("sent %s, there %s, back %s", sizes(want), sizes(there), sizes(back))
			}
		})
	}
}

// sizes is how long each is.
func sizes(payloads []string) (list string) {
	for _, payload := range payloads {
		list += fmt.Sprint(len(payload), " ")
	}
	return list
}

func TestAFullBatchIsSentAtOnceAndInOrder(t *testing.T) {
	conn := listen(t, "127.0.0.1")
	sockets := connect(t, Dial, conn.LocalAddr().String(), 1)
	for i := range 2 * batchSize { // and no flush
		sockets.send(0, []byte(fmt.Sprint(i)), func(err error) { t.Error(err) })
	}
	for i := range 2 * batchSize {
		if got, _ := readOne(t, conn); got != fmt.Sprint(i) {
			t.Fatalf("%s instead of %d", got, i)
		}
	}
}

func TestAnErrorInTheMidstOfABatchCostsItsDatagram(t *testing.T) {
	conn := listen(t, "127.0.0.1")
	sockets := connect(t, Dial, conn.LocalAddr().String(), 1)
	failed := send(sockets, 0, "one", "two", strings.Repeat("x", 65508), "four")
	if len(failed) != 1 || !errors.Is(failed[0], syscall.EMSGSIZE) {
		t.Errorf("%v", failed)
	}
	for _, want := range []string{"one", "two", "four"} {
		if got, _ := readOne(t, conn); got != want {
			t.Errorf("%.9s instead of %s", got, want)
		}
	}
}

func TestEachClientReachesItsTargetFromAPortOfItsOwnAndHearsNobodyElse(t *testing.T) {
	for _, tt := range []struct{ listen, target string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"127.0.0.1", "0.0.0.0"}, {"127.0.0.1", "localhost"}} {
		t.Run(tt.target, func(t *testing.T) {
			conn, other := listen(t, tt.listen), listen(t, tt.listen)
			port := conn.LocalAddr().(*net.UDPAddr).Port
			sockets := connect(t, Dial, net.JoinHostPort(tt.target, fmt.Sprint(port)), 4)
			if int(sockets.Addr.Port()) != port {
				t.Errorf("port %d is said to be %s", port, sockets.Addr)
			}
			ports := map[netip.AddrPort]int{}
			for client := range 4 {
				if failed := send(sockets, client, fmt.Sprint(client)); failed != nil {
					t.Error(failed)
				}
				payload, from := readOne(t, conn)
				ports[from] = client
				other.WriteToUDPAddrPort([]byte("somebody else"), from)
				conn.WriteToUDPAddrPort([]byte(payload), from)
			}
			for range 4 {
				if a := receive(t, sockets); !slices.Equal(a.payloads, []string{fmt.Sprint(a.client)}) {
					t.Errorf("client %d heard %q", a.client, a.payloads)
				}
			}
			if len(ports) != 4 {
				t.Errorf("ports %v", ports)
			}
		})
	}
}

func TestARefusalIsNewsAndNoError(t *testing.T) {
	conn := listen(t, "127.0.0.1")
	sockets := connect(t, Dial, conn.LocalAddr().String(), 1)
	conn.Close()
	// A report may come with the next datagram instead, which then is sent all
	// the same.
	for range 3 {
		for _, err := range send(sockets, 0, "x") {
			if undelivered(err) != "refused" {
				t.Errorf("not sent: %v", err)
			}
		}
	}
	if got := receive(t, sockets); undelivered(got.err) != "refused" || got.payloads != nil || got.at.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestSocketsThatCannotAllBeOpenedLeaveNothingOpen(t *testing.T) {
	// The third of three sockets cannot be opened. goleak sees what is left.
	opened, errNoMore := 0, errors.New("no more of them")
	dial := func(ctx context.Context, target string) (s io.ReadWriteCloser, addr netip.AddrPort, err error) {
		if opened++; opened == 3 {
			return nil, addr, errNoMore
		}
		return Dial(ctx, target)
	}
	if _, err := Open(t.Context(), dial, listen(t, "127.0.0.1").LocalAddr().String(), 3); err != errNoMore {
		t.Errorf("%v", err)
	}
}

// faulty is a socket whose reads and writes give one result after the other.
type faulty struct {
	io.Closer
	reads, writes chan error
}

func (f faulty) Read([]byte) (int, error)    { return 0, <-f.reads }
func (f faulty) Write(p []byte) (int, error) { return len(p), <-f.writes }

func (f faulty) dial(context.Context, string) (io.ReadWriteCloser, netip.AddrPort, error) {
	return f, netip.AddrPort{}, nil
}

// counter is traffic that sends one datagram and is over after so much news.
type counter struct {
	sent, received, over int
	undelivered          []string
}

func (c *counter) Expire(time.Time) {}
func (c *counter) Send(_ time.Time, send func(int, []byte)) {
	if c.sent++; c.sent == 1 {
		send(0, nil)
	}
}
func (c *counter) Receive(int, string, time.Time)      { c.received++ }
func (c *counter) Undelivered(why string, _ time.Time) { c.undelivered = append(c.undelivered, why) }
func (c *counter) Status(time.Time) any                { return "status" }
func (c *counter) Progress(time.Time) any              { return "progress" }
func (c *counter) Next(now time.Time) (time.Time, bool) {
	return now.Add(testTimeout), c.received+len(c.undelivered) >= c.over
}

func TestErrorsOfASocket(t *testing.T) {
	broken := errors.New("broken")
	denied := fmt.Errorf("write udp: %w", os.NewSyscallError("sendto", syscall.EPERM))
	for _, tt := range []struct {
		name          string
		reads, writes []error
		undelivered   string
		failed        error
	}{
		{"all is well", []error{nil}, []error{nil}, "", nil},
		{"an error of an earlier datagram costs none", []error{nil}, []error{syscall.ECONNREFUSED, nil}, "", nil},
		{"a second one does", nil, []error{syscall.EHOSTUNREACH, syscall.ECONNREFUSED}, "refused", nil},
		{"an error of the system costs the datagram", nil, []error{denied}, syscall.EPERM.Error(), nil},
		{"so does any other", nil, []error{broken}, "broken", nil},
		{"a read that reports a refusal", []error{syscall.ECONNREFUSED}, []error{nil}, "refused", nil},
		{"a read that fails", []error{broken}, []error{nil}, "", broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := faulty{io.NopCloser(nil), make(chan error, 3), make(chan error, 3)}
			for _, err := range tt.writes {
				socket.writes <- err
			}
			sockets := connect(t, socket.dial, "b:1", 1)
			for _, err := range tt.reads {
				socket.reads <- err
			}
			run := &counter{over: 1}
			err := sockets.Drive(t.Context(), run, nil, func(any) {})
			if err != tt.failed || strings.Join(run.undelivered, ", ") != tt.undelivered || len(socket.writes) > 0 {
				t.Errorf("%+v, error %v, %d writes left", run, err, len(socket.writes))
			}
			socket.reads <- net.ErrClosed
		})
	}
}

// flood is traffic for which each datagram brings another.
type flood struct {
	counter
	arrivals chan arrivals
}

func (f *flood) Receive(int, string, time.Time) {
	f.received++
	f.arrivals <- arrivals{payloads: []string{""}}
}

func TestAFloodDoesNotHoldUpWhatIsDue(t *testing.T) {
	sockets := &Sockets{arrivals: make(chan arrivals, 20)}
	for range 5 {
		sockets.arrivals <- arrivals{payloads: []string{""}}
	}
	run := &flood{arrivals: sockets.arrivals}
	if err := sockets.receive(arrivals{payloads: []string{"", ""}}, run); err != nil || run.received != 7 || len(sockets.arrivals) != 7 {
		t.Errorf("%d received, %d left (%v)", run.received, len(sockets.arrivals), err)
	}
}

func TestAStatusIsForThoseWhoAskDuringTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan os.Signal, 1)
		asked <- os.Interrupt // before it began
		time.AfterFunc(700*time.Millisecond, func() { asked <- os.Interrupt })
		ctx, cancel := context.WithTimeout(t.Context(), 1600*time.Millisecond)
		defer cancel()
		var shown []any
		sockets, run := &Sockets{arrivals: make(chan arrivals)}, &counter{sent: 1, over: 1}
		err := sockets.Drive(ctx, run, asked, func(event any) { shown = append(shown, event) })
		if got := fmt.Sprint(shown); got != "[progress status progress]" || err != nil {
			t.Errorf("shown %s (%v)", got, err)
		}
	})
}
