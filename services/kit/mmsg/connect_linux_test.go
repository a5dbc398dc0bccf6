package mmsg

import (
	"net/netip"
	"testing"
	"time"
)

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

func TestAConnectedSocketTalksToItsPeerAndHearsNobodyElse(t *testing.T) {
	for _, addr := range []netip.AddrPort{loopback4, loopback6} {
		t.Run(addr.Addr().String(), func(t *testing.T) {
			server, other := listen(t, addr), listen(t, addr)
			s := connected(t, server.Addr())
			if s.Peer() != server.Addr() {
				t.Errorf("the peer is %v, want %v", s.Peer(), server.Addr())
			}
			sendTo(t, s, s.Peer(), "one", "two", "three") // the first two as one run
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

func TestAConnectedSocketHearsThatNobodyIsThere(t *testing.T) {
	gone := listen(t, loopback4)
	addr := gone.Addr()
	s := connected(t, addr)
	gone.Close()
	sendTo(t, s, addr, "is there anybody")
	ready(t, s)
	told := 0
	s.Errors(func(to netip.AddrPort, err error) {
		told++
		if to != addr || err == nil {
			t.Errorf("%v: %v", to, err)
		}
	})
	if told != 1 {
		t.Errorf("told %d times", told)
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

func TestAnExactWaitEndsWithTheTimeOrADatagram(t *testing.T) {
	s := listen(t, loopback4)
	p, err := NewPoller(4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(s, 7); err != nil {
		t.Fatal(err)
	}
	for _, p.Hold = range []int{0, 1, 10} {
		for _, limit := range []time.Duration{0, 100 * time.Microsecond, 1500 * time.Microsecond} {
			// A signal may end one wait early, but not all of them.
			waits, began := 0, time.Now()
			for ; waits == 0 || time.Since(began) < limit; waits++ {
				if n, err := p.WaitExactly(limit); n != 0 || err != nil {
					t.Fatalf("limit %v, hold %d ms: %d events, error %v", limit, p.Hold, n, err)
				}
			}
			if waits > 100 {
				t.Errorf("limit %v, hold %d ms: %d waits", limit, p.Hold, waits)
			}
		}
	}
	for _, p.Hold = range []int{0, 1} {
		sendTo(t, dial(t, false), s.Addr(), "now")
		n, err := p.WaitExactly(time.Minute)
		if n != 1 || err != nil {
			t.Fatalf("%d events, error %v", n, err)
		}
		if e, ok := p.Event(0); !ok || e.Token != 7 {
			t.Errorf("event %+v, %v", e, ok)
		}
		receive(t, s, NewInbox(1, 10), 1)
	}
}
