//go:build linux

package mmsg

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
)

func TestACallThatFailsIsMadeAgainAsLongAsThereAreErrorsToReport(t *testing.T) {
	gone := listen(t, loopback4)
	nobody := gone.Addr()
	gone.Close()
	from, out := dial(t, false), NewOutbox(1)
	reported := 0
	out.OnError = func(to netip.AddrPort, err error) {
		if reported++; to != nobody || err != unix.ECONNREFUSED {
			t.Errorf("%v: %v", to, err)
		}
	}
	sendTo(t, from, nobody, "is there anybody")
	ready(t, from)
	out.Begin(from)
	var r retry
	for i, want := range []struct {
		number   int
		errno    unix.Errno
		again    bool
		reported int
	}{
		{3, unix.EAGAIN, false, 0},
		{3, unix.EINTR, true, 0},
		{3, unix.ECONNREFUSED, true, 0},
		{3, unix.ECONNREFUSED, true, 1},
		{3, unix.ECONNREFUSED, false, 1},
		{4, unix.EHOSTUNREACH, true, 1},
		{4, unix.EINTR, true, 1},
		{4, unix.EHOSTUNREACH, false, 1},
	} {
		if again := r.allowed(out, want.number, want.errno); again != want.again || reported != want.reported {
			t.Errorf("step %d: again %v, %d reported", i, again, reported)
		}
	}
	out.OnError = nil
	if !r.allowed(out, 5, unix.ECONNREFUSED) || r.allowed(out, 5, unix.ECONNREFUSED) {
		t.Error("without OnError there is one more try")
	}
	r.tries = maxTries
	if r.allowed(out, 6, unix.ECONNREFUSED) {
		t.Error("there is no limit")
	}
}

// A second thread provokes refusals on the same socket all the time, so that
// they come between any two system calls.
func TestABurstOfRefusalsCostsNoOtherDatagram(t *testing.T) {
	gone := listen(t, loopback4)
	nobody := gone.Addr()
	gone.Close()
	to, from := listen(t, loopback4), dial(t, false)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		to := &unix.SockaddrInet4{Addr: nobody.Addr().As4(), Port: int(nobody.Port())}
		for !stop.Load() {
			_ = unix.Sendto(from.fd, []byte("to nobody"), unix.MSG_DONTWAIT, to) // most are refused
		}
	})
	out := NewOutbox(4)
	reported := 0
	out.OnError = func(to netip.AddrPort, err error) {
		reported++
		if to != nobody || err != unix.ECONNREFUSED {
			t.Errorf("%v: %v", to, err)
		}
	}
	for range 5_000 {
		out.Begin(from)
		out.Add([]byte("to somebody"), to.Addr(), anywhere)
		out.Add([]byte("to somebody else, or so"), to.Addr(), anywhere)
		if failed := out.Send(); failed != 0 {
			t.Errorf("%d failed: %v", failed, out.Failed(0))
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d errors reported", reported)
}

func TestADatagramThatIsTooLongFailsAloneAndAtOnce(t *testing.T) {
	to, from := listen(t, loopback4), dial(t, false)
	out, in := NewOutbox(4), NewInbox(4, 100)
	calls := 0
	out.OnError = func(netip.AddrPort, error) { calls++ }
	out.Begin(from)
	out.Add([]byte("first"), to.Addr(), anywhere)
	out.Add(make([]byte, MaxPayload+1), to.Addr(), anywhere)
	out.Add([]byte("last"), to.Addr(), anywhere)
	if failed := out.Send(); failed != 1 || out.Failed(1) != unix.EMSGSIZE {
		t.Errorf("%d failed: %v", failed, out.Failed(1))
	}
	if got := receive(t, to, in, 2); string(got[0]) != "first" || string(got[1]) != "last" {
		t.Errorf("received %q", got)
	}
	if calls > 0 {
		t.Errorf("%d errors reported: it was this machine's own", calls)
	}
}

func TestWhoAsksABroadcastAddressIsAnsweredFromAnother(t *testing.T) {
	for _, listenAt := range []string{"0.0.0.0:0", "[::]:0"} {
		for _, answers := range []int{1, 3} { // three are a run
			t.Run(fmt.Sprintf("%d from %s", answers, listenAt), func(t *testing.T) {
				server, client := listen(t, netip.MustParseAddrPort(listenAt)), dial(t, false)
				if err := unix.SetsockoptInt(client.fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
					t.Fatal(err)
				}
				out, in := NewOutbox(4), NewInbox(4, 100)
				out.Begin(client)
				out.Add([]byte("everybody?"), netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), server.Addr().Port()), anywhere)
				if out.Send() != 0 {
					t.Fatal(out.Failed(0))
				}
				receive(t, server, in, 1)
				out.Begin(server)
				for range answers {
					out.Add([]byte("me"), in.From(0), in.To(0))
				}
				if failed := out.Send(); failed != 0 {
					t.Fatalf("%d failed: %v", failed, out.Failed(0))
				}
				receive(t, client, in, answers)
			})
		}
	}
}

func TestADatagramWithAWrongChecksumIsNoDatagram(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		to := listen(t, loopback4)
		in := NewInbox(4, 100)
		forged := nettest.Datagram{From: netip.MustParseAddrPort("127.0.0.1:7"), To: to.Addr(), Payload: []byte("broken"), Checksum: 1}
		forged.Send(t)
		if n, err := in.Receive(to, 0, 4); n != 0 || err != nil {
			t.Errorf("received %d, %v", n, err)
		}
		forged.Checksum, forged.Payload = 0, []byte("whole")
		forged.Send(t)
		if got := receive(t, to, in, 1); string(got[0]) != "whole" {
			t.Errorf("received %q", got)
		}
	})
}

// On an interface that takes 1,500 bytes a packet the kernel needs many small
// pieces of the send buffer for a long datagram.
func TestADatagramThatTheBufferDoesNotHoldFailsAlone(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.SetMTU(t, "lo", 1500)
		to, from := listen(t, loopback4), dial(t, false)
		_ = unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the kernel makes it a few KiB
		out, in := NewOutbox(4), NewInbox(4, MaxDatagram)
		out.Begin(from)
		out.Add([]byte("first"), to.Addr(), anywhere)
		out.Add(make([]byte, MaxPayload), to.Addr(), anywhere)
		out.Add([]byte("last"), to.Addr(), anywhere)
		if failed := out.Send(); failed != 1 || out.Failed(1) != unix.ENOBUFS {
			t.Errorf("%d failed: %v", failed, out.Failed(1))
		}
		if got := receive(t, to, in, 2); string(got[0]) != "first" || string(got[1]) != "last" {
			t.Errorf("received %q", got)
		}
		// A socket from Dial as it is has room for it.
		from = dial(t, false)
		out.Begin(from)
		out.Add(bytes.Repeat([]byte("x"), MaxPayload), to.Addr(), anywhere)
		if failed := out.Send(); failed != 0 {
			t.Error(out.Failed(0))
		}
		receive(t, to, in, 1)
	})
}

func TestAFullBufferFailsTheRestOfTheBatchAndNoMore(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.Veth(t, "one", "other")
		nettest.AddAddress(t, "one", netip.MustParsePrefix("192.0.2.1/24"))
		silent := netip.MustParseAddrPort("192.0.2.2:9")
		nettest.AddSilentNeighbor(t, "one", silent.Addr())
		from := dial(t, false)
		_ = unix.SetsockoptInt(from.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
		out := NewOutbox(64)
		out.Begin(from)
		for i := range 64 {
			out.Add(make([]byte, 100+i%2), silent, anywhere) // of two sizes: no run
		}
		failed := out.Send()
		if failed == 0 || failed == 64 {
			t.Fatalf("%d of 64 failed: %v", failed, out.Failed(0))
		}
		for i := range 64 {
			if err := out.Failed(i); (err != nil) != (i >= 64-failed) || err != nil && err != unix.EAGAIN {
				t.Fatalf("%d failed; datagram %d: %v", failed, i, err)
			}
		}
	})
}
