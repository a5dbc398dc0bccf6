//go:build linux

package mmsg

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udplab/services/kit/udp"
)

var (
	loopback4 = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
	anywhere  netip.Addr // the kernel chooses the source
)

func listen(t testing.TB, addr netip.AddrPort) *Socket {
	t.Helper()
	s, err := Listen(addr, false)
	return opened(t, s, err)
}

func dial(t testing.TB, v6 bool) *Socket {
	t.Helper()
	s, err := Dial(v6)
	return opened(t, s, err)
}

func opened(t testing.TB, s *Socket, err error) *Socket {
	t.Helper()
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Skip(err) // no IPv6 here
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ready waits until the socket has something.
func ready(t testing.TB, s *Socket) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 60_000)
	}
	if n == 0 || err != nil {
		t.Fatalf("nothing came: %v", err)
	}
}

// receive takes n datagrams and returns their payloads.
func receive(t testing.TB, s *Socket, in *Inbox, n int) (payloads [][]byte) {
	t.Helper()
	for len(payloads) < n {
		ready(t, s)
		got, err := in.Receive(s, 0, in.Len())
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			payloads = append(payloads, bytes.Clone(in.Payload(i)))
		}
	}
	return payloads
}

// nobody is an address at which nobody listens any more.
func nobody(t *testing.T) netip.AddrPort {
	gone := listen(t, loopback4)
	defer gone.Close()
	return gone.Addr()
}

// send sends datagrams to an address, and returns how many fail and the first
// error. Without a valid source the kernel chooses one.
func send(s *Socket, to netip.AddrPort, source netip.Addr, payloads ...string) (failed int, err error) {
	out := NewOutbox(len(payloads))
	out.Begin(s)
	for _, payload := range payloads {
		out.Add([]byte(payload), to, source)
	}
	failed = out.Send()
	for i := range payloads {
		if err == nil {
			err = out.Failed(i)
		}
	}
	return failed, err
}

// sendTo sends datagrams none of which may fail.
func sendTo(t *testing.T, s *Socket, to netip.AddrPort, payloads ...string) {
	t.Helper()
	if failed, err := send(s, to, anywhere, payloads...); failed != 0 {
		t.Fatalf("%d datagrams failed: %v", failed, err)
	}
}

// failsAlone sends a datagram twice, between two good ones, and wants exactly
// those two to fail. It returns their error.
func failsAlone(t *testing.T, from, good *Socket, payload []byte, to netip.AddrPort) error {
	t.Helper()
	out, in := NewOutbox(4), NewInbox(4, 100)
	out.OnError = func(netip.AddrPort, error) { t.Error("an error of this machine itself is reported") }
	out.Begin(from)
	out.Add([]byte("first"), good.Addr(), anywhere)
	out.Add(payload, to, anywhere)
	out.Add(payload, to, anywhere)
	out.Add([]byte("last"), good.Addr(), anywhere)
	if failed := out.Send(); failed != 2 || out.Failed(0) != nil || out.Failed(1) != out.Failed(2) || out.Failed(3) != nil {
		t.Errorf("%d failed: %v", failed, out.failed)
	}
	if got := receive(t, good, in, 2); string(got[0]) != "first" || string(got[1]) != "last" {
		t.Errorf("received %q", got)
	}
	return out.Failed(1)
}

func TestDatagramsArriveAsTheyWereAdded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		sizes    []int
		messages int // that the kernel is given
	}{
		{"one", []int{64}, 1},
		{"an empty one", []int{0}, 1},
		{"the longest one", []int{udp.MaxPayload}, 1},
		{"a run of equals", []int{64, 64, 64, 64}, 1},
		{"a run with a shorter last", []int{64, 64, 7}, 1},
		{"nothing is added behind a shorter one", []int{64, 7, 7, 64}, 3},
		{"a longer one begins anew", []int{7, 64, 64}, 2},
		{"empty ones are never in a run", []int{0, 0, 64, 0, 64}, 5},
		{"a run is as long as the kernel takes it", slices.Repeat([]int{1}, 2*maxSegments+3), 3},
		{"a run has as many bytes as the kernel takes", []int{30_000, 30_000, 30_000, 30_000}, 2},
	} {
		for _, addr := range []netip.AddrPort{loopback4, loopback6} {
			t.Run(fmt.Sprintf("%s over %v", tt.name, addr.Addr()), func(t *testing.T) {
				to, from := listen(t, addr), dial(t, addr.Addr().Is6())
				to.SetReceiveBuffer(1 << 20)
				out, in := NewOutbox(200), NewInbox(32, udp.MaxDatagram)
				out.Begin(from)
				payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, tt.sizes[i]) }
				for i := range tt.sizes {
					out.Add(payload(i), to.Addr(), anywhere)
				}
				if len(out.messages) != tt.messages {
					t.Errorf("%d messages, want %d", len(out.messages), tt.messages)
				}
				if failed := out.Send(); failed != 0 {
					t.Fatalf("%d failed: %v", failed, out.Failed(0))
				}
				for i, got := range receive(t, to, in, len(tt.sizes)) {
					if !bytes.Equal(got, payload(i)) {
						t.Fatalf("datagram %d: %d bytes, want %d", i, len(got), tt.sizes[i])
					}
				}
			})
		}
	}
}

func TestWhatAKernelThatCannotSegmentRefusesIsSentSingly(t *testing.T) {
	to, from := listen(t, loopback4), dial(t, false)
	// Without checksums the kernel does not segment: udp_send_skb.
	if err := unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Skip(err)
	}
	for range 2 { // the second time it knows
		sendTo(t, from, to.Addr(), "one", "two", "six", "ten")
		if got := bytes.Join(receive(t, to, NewInbox(8, 100), 4), nil); string(got) != "onetwosixten" {
			t.Errorf("received %q", got)
		}
		if from.gso {
			t.Error("it is tried again")
		}
	}
}

func TestADatagramThatIsRefusedStopsNoOther(t *testing.T) {
	for name, bad := range map[string]struct {
		payload []byte
		to      netip.AddrPort
	}{
		"port 0": {nil, loopback4}, "another family": {nil, netip.MustParseAddrPort("[::1]:9")}, "no address": {},
		"too long": {make([]byte, udp.MaxPayload+1), netip.MustParseAddrPort("127.0.0.1:9")},
	} {
		t.Run(name, func(t *testing.T) {
			err := failsAlone(t, dial(t, false), listen(t, loopback4), bad.payload, bad.to)
			if name == "too long" && err != unix.EMSGSIZE {
				t.Error(err)
			}
		})
	}
}

func TestAnErrorOfAnEarlierDatagramCostsNoLaterOne(t *testing.T) {
	gone := nobody(t)
	to, in := listen(t, loopback4), NewInbox(4, 100)
	from := dial(t, false)
	sendTo(t, from, gone, "to nobody")
	ready(t, from) // the ICMP error is there
	sendTo(t, from, to.Addr(), "to somebody", "to somebody else, or so")
	receive(t, to, in, 2)
	n := from.Errors(func(to netip.AddrPort, err error) {
		if to != gone || err != unix.ECONNREFUSED {
			t.Errorf("%v: %v", to, err)
		}
	})
	if n != 1 {
		t.Errorf("%d errors", n)
	}
	if n, err := in.Receive(from, 0, 4); n != 0 || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
}

func TestADatagramThatDoesNotFitIsCut(t *testing.T) {
	to, in := listen(t, loopback4), NewInbox(2, 16)
	sendTo(t, dial(t, false), to.Addr(), strings.Repeat("x", 17), "next")
	if got := receive(t, to, in, 2); len(got[0]) != 16 || string(got[1]) != "next" {
		t.Errorf("received %q", got)
	}
}

func TestAReplyLeavesFromTheAddressThatWasAsked(t *testing.T) {
	everybody := netip.MustParseAddr("127.255.255.255") // no address to answer from: another will do
	for _, tt := range []struct {
		listen string
		ask    netip.Addr
	}{
		{"0.0.0.0:0", netip.MustParseAddr("127.0.0.1")}, {"0.0.0.0:0", netip.MustParseAddr("127.0.0.2")},
		{"[::]:0", netip.IPv6Loopback()}, {"[::]:0", netip.MustParseAddr("127.0.0.3")},
		{"0.0.0.0:0", everybody}, {"[::]:0", everybody},
	} {
		t.Run(tt.listen+" asked at "+tt.ask.String(), func(t *testing.T) {
			server, client := listen(t, netip.MustParseAddrPort(tt.listen)), dial(t, tt.ask.Is6())
			if err := unix.SetsockoptInt(client.fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
				t.Fatal(err)
			}
			in := NewInbox(4, 100)
			for _, answers := range [][]string{{"one"}, {"one", "two", "six"}} { // three are one run
				sendTo(t, client, netip.AddrPortFrom(tt.ask, server.Addr().Port()), "question")
				receive(t, server, in, 1)
				if to := in.To(0); to != tt.ask && tt.ask != everybody {
					t.Fatalf("sent to %v, want %v", to, tt.ask)
				}
				if in.From(0).Addr().Is4In6() {
					t.Errorf("the sender %v is IPv4 in its IPv6 form", in.From(0))
				}
				if failed, err := send(server, in.From(0), in.To(0), answers...); failed != 0 {
					t.Fatal(err)
				}
				receive(t, client, in, len(answers))
				if got := in.From(0).Addr(); got != tt.ask && tt.ask != everybody {
					t.Errorf("answered from %v, want %v", got, tt.ask)
				}
			}
		})
	}
}

func TestNothingIsAllocatedForABatch(t *testing.T) {
	server, client := listen(t, netip.MustParseAddrPort("[::]:0")), dial(t, false)
	target := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.Addr().Port())
	out, in := NewOutbox(16), NewInbox(16, 2000)
	small, large := make([]byte, 64), make([]byte, 1400)
	got := testing.AllocsPerRun(100, func() {
		// A run, a single, an empty one, and one that fails.
		out.Begin(client)
		for _, payload := range [][]byte{small, small, small, large, nil} {
			out.Add(payload, target, anywhere)
		}
		out.Add(small, netip.AddrPort{}, anywhere)
		if failed := out.Send(); failed != 1 {
			t.Errorf("%d failed", failed)
		}
		n, _ := in.Receive(server, 0, 16)
		out.Begin(server)
		for i := range n {
			out.Add(in.Payload(i), in.From(i), in.To(i))
		}
		out.Send()
		for {
			if n, _ := in.Receive(client, 0, 16); n == 0 {
				break
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestDropsAreCountedOnce(t *testing.T) {
	to, from := listen(t, loopback4), dial(t, false)
	_ = unix.SetsockoptInt(to.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the kernel makes it a few datagrams
	in := NewInbox(50, 1000)
	for range 2 {
		sendTo(t, from, to.Addr(), slices.Repeat([]string{strings.Repeat("x", 1000)}, 50)...)
		received := 0
		for n := 1; n > 0; received += n {
			n, _ = in.Receive(to, 0, 50)
		}
		if got, want := int(to.NewDrops()), 50-received; got != want || want == 0 {
			t.Errorf("%d drops counted, %d datagrams of 50 received", got, received)
		}
	}
	to.drops = 1<<32 - 5 // the kernel's count has wrapped around
	if got, want := to.NewDrops(), uint64(5); got < want || got > 200 {
		t.Errorf("over a wrap-around: %d drops", got)
	}
}

func TestPollerReportsSocketsWakesAndErrors(t *testing.T) {
	p, err := NewPoller(4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	to, from := listen(t, loopback4), dial(t, false)
	if err := errors.Join(p.Add(to, 1<<40), p.Add(from, 7)); err != nil {
		t.Fatal(err)
	}
	// expect wants one event, or none if it is nil.
	expect := func(limit time.Duration, want *Event) {
		t.Helper()
		n, err := p.Wait(limit)
		if want == nil {
			if n != 0 || err != nil {
				t.Fatalf("%d events, %v", n, err)
			}
		} else if e, ok := p.Event(0); n != 1 || err != nil || e != *want || ok != (e != Event{}) {
			t.Fatalf("%d events, %v, %v; want %v", n, e, err, *want)
		}
	}
	expect(0, nil)
	expect(time.Microsecond, nil)
	p.Wake()
	p.Wake() // two wakes are one
	expect(-1, &Event{})
	expect(0, nil)
	sendTo(t, from, to.Addr(), "x")
	expect(-1, &Event{Token: 1 << 40})
	expect(-1, &Event{Token: 1 << 40}) // until it is read
	receive(t, to, NewInbox(1, 100), 1)
	gone := to.Addr()
	if err := errors.Join(p.Remove(to), to.Close()); err != nil {
		t.Fatal(err)
	}
	sendTo(t, from, gone, "x")
	expect(-1, &Event{Token: 7, Errors: true})
}

// A signal may end one wait early, but not all of them.
func TestAWaitEndsWithTheTimeOrADatagram(t *testing.T) {
	s := listen(t, loopback4)
	p, err := NewPoller(4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(s, 7); err != nil {
		t.Fatal(err)
	}
	for _, p.SpinBeforeBlock = range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
		for _, limit := range []time.Duration{0, 100 * time.Microsecond, 1500 * time.Microsecond} {
			waits, began := 0, time.Now()
			for ; waits == 0 || time.Since(began) < limit; waits++ {
				if n, err := p.Wait(limit); n != 0 || err != nil {
					t.Fatalf("limit %v, spin %v: %d events, error %v", limit, p.SpinBeforeBlock, n, err)
				}
			}
			if waits > 100 {
				t.Errorf("limit %v, spin %v: %d waits", limit, p.SpinBeforeBlock, waits)
			}
		}
		for _, limit := range []time.Duration{time.Minute, -1} {
			sendTo(t, dial(t, false), s.Addr(), "now")
			if n, err := p.Wait(limit); n != 1 || err != nil {
				t.Fatalf("%d events, error %v", n, err)
			}
			receive(t, s, NewInbox(1, 10), 1)
		}
	}
}
