package mmsg

import (
	"net/netip"
	"testing"
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
