//go:build linux

package mmsg

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	loopback4 = netip.MustParseAddrPort("127.0.0.1:0")
	loopback6 = netip.MustParseAddrPort("[::1]:0")
	anywhere  netip.Addr // the kernel chooses the source
)

func listen(t testing.TB, addr netip.AddrPort) *Socket {
	t.Helper()
	s, err := Listen(addr, false)
	if err != nil {
		t.Skipf("%v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t testing.TB, v6 bool) *Socket {
	t.Helper()
	s, err := Dial(v6)
	if err != nil {
		t.Skipf("%v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ready waits until the socket has something.
func ready(t testing.TB, s *Socket) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 60_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || err != nil {
			t.Fatalf("nothing came: %v", err)
		}
		return
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
			if !in.Whole(i) {
				t.Errorf("a datagram was cut to %d bytes", len(in.Payload(i)))
			}
			payloads = append(payloads, bytes.Clone(in.Payload(i)))
		}
	}
	return payloads
}

func connected(t *testing.T, to netip.AddrPort) *Socket {
	t.Helper()
	s, err := Connect(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sendTo sends datagrams from one socket to an address.
func sendTo(t *testing.T, s *Socket, to netip.AddrPort, payloads ...string) {
	t.Helper()
	out := NewOutbox(len(payloads))
	out.Begin(s)
	for _, payload := range payloads {
		out.Add([]byte(payload), to, anywhere)
	}
	if failed := out.Send(); failed != 0 {
		t.Fatalf("%d datagrams failed: %v", failed, out.Failed(0))
	}
}

func TestDatagramsArriveAsTheyWereAdded(t *testing.T) {
	x := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, n) }
	for _, tt := range []struct {
		name     string
		sizes    []int
		messages int // that the kernel is given
	}{
		{"one", []int{64}, 1},
		{"an empty one", []int{0}, 1},
		{"the longest one", []int{MaxPayload}, 1},
		{"a run of equals", []int{64, 64, 64, 64}, 1},
		{"a run with a shorter last", []int{64, 64, 7}, 1},
		{"nothing is added behind a shorter one", []int{64, 7, 7, 64}, 3},
		{"a longer one begins anew", []int{7, 64, 64}, 2},
		{"empty ones are never in a run", []int{0, 0, 64, 0, 64}, 5},
		{"a run is as long as the kernel takes it", repeat(1, 2*maxSegments+3), 3},
		{"a run has as many bytes as the kernel takes", []int{30_000, 30_000, 30_000, 30_000}, 2},
	} {
		for _, addr := range []netip.AddrPort{loopback4, loopback6} {
			t.Run(fmt.Sprintf("%s over %v", tt.name, addr.Addr()), func(t *testing.T) {
				to, from := listen(t, addr), dial(t, addr.Addr().Is6())
				to.SetReceiveBuffer(1 << 20)
				out, in := NewOutbox(200), NewInbox(32, MaxDatagram)
				out.Begin(from)
				for i, n := range tt.sizes {
					payload := x(n)
					if n > 0 {
						payload[0] = byte(i)
					}
					out.Add(payload, to.Addr(), anywhere)
				}
				if len(out.messages) != tt.messages {
					t.Errorf("%d messages, want %d", len(out.messages), tt.messages)
				}
				if failed := out.Send(); failed != 0 {
					t.Fatalf("%d failed: %v", failed, out.Failed(0))
				}
				for i, payload := range receive(t, to, in, len(tt.sizes)) {
					want := x(tt.sizes[i])
					if len(want) > 0 {
						want[0] = byte(i)
					}
					if !bytes.Equal(payload, want) {
						t.Fatalf("datagram %d: %d bytes, want %d", i, len(payload), len(want))
					}
				}
			})
		}
	}
}

func repeat(size, n int) (sizes []int) {
	for range n {
		sizes = append(sizes, size)
	}
	return sizes
}

func TestWhatAKernelThatCannotSegmentRefusesIsSentSingly(t *testing.T) {
	to, from := listen(t, loopback4), dial(t, false)
	// Without checksums the kernel does not segment: udp_send_skb.
	if err := unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Skip(err)
	}
	out, in := NewOutbox(8), NewInbox(8, 100)
	for round, wantMessages := range []int{1, 4} { // the second time it knows
		out.Begin(from)
		for i := range 4 {
			out.Add([]byte{byte(round), byte(i)}, to.Addr(), anywhere)
		}
		if len(out.messages) != wantMessages {
			t.Errorf("round %d: %d messages, want %d", round, len(out.messages), wantMessages)
		}
		if failed := out.Send(); failed != 0 {
			t.Fatalf("round %d: %d failed: %v", round, failed, out.Failed(0))
		}
		for i, payload := range receive(t, to, in, 4) {
			if !bytes.Equal(payload, []byte{byte(round), byte(i)}) {
				t.Errorf("round %d: datagram %d is %v", round, i, payload)
			}
		}
	}
}

func TestADatagramThatIsRefusedStopsNoOther(t *testing.T) {
	to, from := listen(t, loopback4), dial(t, false)
	for name, bad := range map[string]netip.AddrPort{
		"port 0": loopback4, "another family": netip.MustParseAddrPort("[::1]:9"), "no address": {},
	} {
		t.Run(name, func(t *testing.T) {
			out, in := NewOutbox(8), NewInbox(8, 100)
			out.Begin(from)
			out.Add([]byte("first"), to.Addr(), anywhere)
			out.Add([]byte("lost"), bad, anywhere)
			out.Add([]byte("lost too"), bad, anywhere)
			out.Add([]byte("last"), to.Addr(), anywhere)
			if failed := out.Send(); failed != 2 {
				t.Errorf("%d failed, want 2", failed)
			}
			for i, want := range []bool{false, true, true, false} {
				if got := out.Failed(i) != nil; got != want {
					t.Errorf("datagram %d: %v", i, out.Failed(i))
				}
			}
			got := receive(t, to, in, 2)
			if string(got[0]) != "first" || string(got[1]) != "last" {
				t.Errorf("received %q", got)
			}
		})
	}
}

func TestAnErrorOfAnEarlierDatagramCostsNoLaterOne(t *testing.T) {
	gone := listen(t, loopback4)
	nobody := gone.Addr()
	gone.Close()
	to, from, in := listen(t, loopback4), dial(t, false), NewInbox(4, 100)
	sendTo(t, from, nobody, "to nobody")
	ready(t, from) // the ICMP error is there
	sendTo(t, from, to.Addr(), "to somebody", "to somebody else, or so")
	receive(t, to, in, 2)
	var reported []string
	from.Errors(func(to netip.AddrPort, err error) {
		reported = append(reported, fmt.Sprint(to == nobody, errors.Is(err, unix.ECONNREFUSED)))
	})
	if len(reported) != 1 || reported[0] != "true true" {
		t.Errorf("errors reported: %v", reported)
	}
	if n, err := in.Receive(from, 0, 4); n != 0 || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
}

func TestADatagramThatDoesNotFitIsKnownToBeCut(t *testing.T) {
	for _, most := range []int{1, 2} { // one system call for one, another for many
		to, in := listen(t, loopback4), NewInbox(2, 16)
		sendTo(t, dial(t, false), to.Addr(), strings.Repeat("x", 17), strings.Repeat("x", 16))
		for i := 0; i < 2; i += most {
			ready(t, to)
			if n, err := in.Receive(to, i, most); n != most || err != nil {
				t.Fatalf("receiving %d: %d, %v", most, n, err)
			}
		}
		if in.Whole(0) || len(in.Payload(0)) != 16 || !in.Whole(1) {
			t.Errorf("receiving %d: whole: %v (%d bytes), %v", most, in.Whole(0), len(in.Payload(0)), in.Whole(1))
		}
	}
}

func TestAReplyLeavesFromTheAddressThatWasAsked(t *testing.T) {
	for _, tt := range []struct{ listen, ask string }{
		{"0.0.0.0:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.2"}, {"[::]:0", "::1"}, {"[::]:0", "127.0.0.3"},
	} {
		t.Run(tt.listen+" asked at "+tt.ask, func(t *testing.T) {
			ask := netip.MustParseAddr(tt.ask)
			server, client := listen(t, netip.MustParseAddrPort(tt.listen)), dial(t, ask.Is6())
			out, in := NewOutbox(2), NewInbox(2, 100)
			out.Begin(client)
			out.Add([]byte("question"), netip.AddrPortFrom(ask, server.Addr().Port()), anywhere)
			out.Send()
			receive(t, server, in, 1)
			if got := in.To(0); got != ask {
				t.Fatalf("sent to %v, want %v", got, ask)
			}
			if in.From(0).Addr().Is4In6() {
				t.Errorf("the sender %v is IPv4 in its IPv6 form", in.From(0))
			}
			out.Begin(server)
			out.Add([]byte("answer"), in.From(0), in.To(0))
			out.Add([]byte("ANSWER"), in.From(0), in.To(0)) // in one run
			if failed := out.Send(); failed != 0 {
				t.Fatal(out.Failed(0))
			}
			receive(t, client, in, 2)
			if got := in.From(0).Addr(); got != ask {
				t.Errorf("answered from %v, want %v", got, ask)
			}
		})
	}
}

func TestAConnectedSocketTalksToItsPeerAndHearsNobodyElse(t *testing.T) {
	for _, addr := range []netip.AddrPort{loopback4, loopback6} {
		t.Run(addr.Addr().String(), func(t *testing.T) {
			server, other := listen(t, addr), listen(t, addr)
			s := connected(t, server.Addr())
			if s.Peer() != server.Addr() {
				t.Errorf("the peer is %v, want %v", s.Peer(), server.Addr())
			}
			sendTo(t, s, s.Peer(), "one", "two", "three") // the first two as one message
			in := NewInbox(8, MaxDatagram)
			if got := receive(t, server, in, 3); string(got[2]) != "three" || in.From(0) != s.Addr() {
				t.Errorf("%q from %v, want from %v", got, in.From(0), s.Addr())
			}
			sendTo(t, other, s.Addr(), "not for you")
			sendTo(t, server, s.Addr(), "answer")
			if got := receive(t, s, in, 1); string(got[0]) != "answer" {
				t.Errorf("heard %q", got)
			}
		})
	}
}

func TestAConnectedSocketHearsThatItsPeerIsGone(t *testing.T) {
	gone := listen(t, loopback4)
	addr := gone.Addr()
	s := connected(t, addr)
	gone.Close()
	sendTo(t, s, addr, "is there anybody")
	ready(t, s)
	reported := 0
	s.Errors(func(to netip.AddrPort, err error) {
		reported++
		if to != addr || err == nil {
			t.Errorf("%v: %v", to, err)
		}
	})
	if reported != 1 {
		t.Errorf("%d errors reported", reported)
	}
}

func TestEveryAddressIsThisMachine(t *testing.T) {
	server := listen(t, loopback4)
	s := connected(t, netip.AddrPortFrom(netip.IPv4Unspecified(), server.Addr().Port()))
	if s.Peer() != server.Addr() {
		t.Errorf("the peer is %v, want %v", s.Peer(), server.Addr())
	}
	if peer := dial(t, false).Peer(); peer.IsValid() {
		t.Errorf("a socket that is not connected has the peer %v", peer)
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
	out, in := NewOutbox(50), NewInbox(50, 1000)
	for range 2 {
		out.Begin(from)
		for range 50 {
			out.Add(make([]byte, 1000), to.Addr(), anywhere)
		}
		if failed := out.Send(); failed != 0 {
			t.Fatal(out.Failed(0))
		}
		received := 0
		for {
			n, _ := in.Receive(to, 0, 50)
			if n == 0 {
				break
			}
			received += n
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

func TestPollerReportsSocketsWakesAndTime(t *testing.T) {
	p, err := NewPoller(4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	to, from := listen(t, loopback4), dial(t, false)
	if err := p.Add(to, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := p.Add(from, 7); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Wait(0); n != 0 || err != nil {
		t.Fatalf("%d events before anything happened, %v", n, err)
	}
	if n, err := p.Wait(time.Microsecond); n != 0 || err != nil {
		t.Fatalf("%d events when the time was up, %v", n, err)
	}
	p.Wake()
	p.Wake() // two wakes are one
	if n, _ := p.Wait(-1); n != 1 {
		t.Fatalf("%d events after a wake", n)
	}
	if e, ok := p.Event(0); ok {
		t.Errorf("a wake is %+v", e)
	}
	if n, _ := p.Wait(0); n != 0 {
		t.Errorf("a wake is reported again")
	}
	sendTo(t, from, to.Addr(), "x")
	for range 2 { // until it is read
		if n, _ := p.Wait(-1); n != 1 {
			t.Fatalf("%d events", n)
		}
		if e, ok := p.Event(0); !ok || e != (Event{Token: 1 << 40}) {
			t.Errorf("event %+v", e)
		}
	}
	receive(t, to, NewInbox(1, 100), 1)
	nobody := to.Addr()
	if err := p.Remove(to); err != nil {
		t.Fatal(err)
	}
	to.Close()
	sendTo(t, from, nobody, "x")
	if n, _ := p.Wait(-1); n != 1 {
		t.Fatalf("%d events for an error", n)
	}
	if e, ok := p.Event(0); !ok || e != (Event{Token: 7, Errors: true}) {
		t.Errorf("event %+v", e)
	}
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
	for _, p.coarse = range []bool{false, true} { // as before Linux 5.11
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
				if e, ok := p.Event(0); !ok || e.Token != 7 {
					t.Errorf("event %+v, %v", e, ok)
				}
				receive(t, s, NewInbox(1, 10), 1)
			}
		}
	}
}

func BenchmarkSendReceive(b *testing.B) {
	for _, size := range []int{1, 8, 64} {
		for _, gso := range []bool{true, false} {
			b.Run(fmt.Sprintf("batch=%d/gso=%v", size, gso), func(b *testing.B) {
				to, from := listen(b, loopback4), dial(b, false)
				to.SetReceiveBuffer(1 << 20)
				from.gso = gso
				target := to.Addr()
				out, in := NewOutbox(size), NewInbox(size, 2048)
				payload := make([]byte, 64)
				b.ReportAllocs()
				for b.Loop() {
					out.Begin(from)
					for range size {
						out.Add(payload, target, anywhere)
					}
					out.Send()
					for got := 0; got < size; {
						n, err := in.Receive(to, 0, size)
						if err != nil {
							b.Fatal(err)
						}
						got += n
					}
				}
				n := float64(b.N * size)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/datagram")
				b.ReportMetric(n/b.Elapsed().Seconds(), "datagrams/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
