//go:build linux

package mmsg

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"udplab/services/kit/nettest"
	"udplab/services/kit/udp"
)

func TestACallThatFailsIsMadeAgainAsLongAsThereAreErrorsToReport(t *testing.T) {
	gone := nobody(t)
	from, out := dial(t, false), NewOutbox(1)
	reported := 0
	out.OnError = func(to netip.AddrPort, err error) {
		if reported++; to != gone || err != unix.ECONNREFUSED {
			t.Errorf("%v: %v", to, err)
		}
	}
	sendTo(t, from, gone, "is there anybody")
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
	gone := nobody(t)
	to, from := listen(t, loopback4), dial(t, false)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		to := &unix.SockaddrInet4{Addr: gone.Addr().As4(), Port: int(gone.Port())}
		for !stop.Load() {
			_ = unix.Sendto(from.fd, []byte("to nobody"), unix.MSG_DONTWAIT, to) // most are refused
		}
	})
	out := NewOutbox(4)
	reported := 0
	out.OnError = func(to netip.AddrPort, err error) {
		reported++
		if to != gone || err != unix.ECONNREFUSED {
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

// On an interface that takes 1,500 bytes a packet the kernel needs many small
// pieces of the send buffer for a long datagram.
func TestADatagramThatTheBufferDoesNotHoldFailsAlone(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.SetMTU(t, "lo", 1500)
		to, small := listen(t, loopback4), dial(t, false)
		_ = unix.SetsockoptInt(small.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the kernel makes it a few KiB
		long := make([]byte, udp.MaxPayload)
		if err := failsAlone(t, small, to, long, to.Addr()); err != unix.ENOBUFS {
			t.Error(err)
		}
		sendTo(t, dial(t, false), to.Addr(), string(long)) // a socket from Dial as it is has room for it
		receive(t, to, NewInbox(1, udp.MaxDatagram), 1)
	})
}

func TestAFullBufferFailsTheRestOfTheBatchAndNoMore(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		nettest.SilentLink(t)
		silent := netip.MustParseAddrPort("192.0.2.2:9")
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
