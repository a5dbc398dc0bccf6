package udp_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/kit/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every datagram with itself until the test ends.
func echo(t *testing.T, address string) netip.AddrPort {
	s, err := udp.Listen(t.Context(), address)
	if err != nil {
		t.Skipf("listen on %s: %v", address, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, udp.MaxPayload)
		for {
			n, peer, err := s.Read(buf)
			if err != nil {
				return
			}
			if peer.Addr.Addr().Is4In6() {
				t.Errorf("peer %v is IPv4 in its IPv6 form", peer.Addr)
			}
			if err := s.Write(buf[:n], peer); err != nil {
				t.Errorf("answer to %v: %v", peer.Addr, err)
			}
		}
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return s.Addr()
}

func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	for _, tt := range []struct{ listen, ask string }{
		{":0", "127.0.0.1"},
		{":0", "127.0.0.2"}, // the kernel alone would answer from 127.0.0.1
		{":0", "::1"},
		{"0.0.0.0:0", "127.0.0.3"},
		{"[::1]:0", "::1"},
		{"127.0.0.1:0", "127.0.0.1"},
	} {
		t.Run(tt.listen+" asked at "+tt.ask, func(t *testing.T) {
			port := echo(t, tt.listen).Port()
			target := netip.AddrPortFrom(netip.MustParseAddr(tt.ask), port)
			// A connected socket hears nobody but its target.
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
			if err != nil {
				t.Skipf("no way to %v here: %v", target, err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			for _, payload := range [][]byte{[]byte("hello"), {}, bytes.Repeat([]byte("x"), udp.MaxPayload)} {
				if _, err := conn.Write(payload); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, udp.MaxPayload+1)
				n, err := conn.Read(buf)
				if err != nil {
					t.Fatalf("%d bytes: %v", len(payload), err)
				}
				if !bytes.Equal(buf[:n], payload) {
					t.Fatalf("%d bytes came back as %d", len(payload), n)
				}
			}
		})
	}
}
