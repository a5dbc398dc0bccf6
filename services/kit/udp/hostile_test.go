package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// exchange sends a request to an address of a socket's, answers it, and returns
// where the answer came from.
func exchange(t *testing.T, s *Socket, client *net.UDPConn, asked netip.Addr) netip.AddrPort {
	t.Helper()
	to := netip.AddrPortFrom(asked, s.Addr().Port())
	if _, err := client.WriteToUDPAddrPort([]byte("who is there"), to); err != nil {
		t.Skipf("no way to %v here: %v", to, err)
	}
	deadline := time.Now().Add(time.Minute)
	client.SetDeadline(deadline)
	s.Conn().SetDeadline(deadline)
	buf := make([]byte, 100)
	n, peer, err := s.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(buf[:n], peer); err != nil {
		t.Fatal(err)
	}
	_, from, err := client.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return from
}

func TestWhoAsksAtEveryAddressOfTheMachineIsAnsweredAndDoesNotFillTheMemory(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0"} {
		t.Run(address, func(t *testing.T) {
			s, err := Listen(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for i := range maxSources + 100 {
				asked := netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
				if from := exchange(t, s, client, asked); from.Addr() != asked {
					t.Fatalf("asked %v, answered from %v", asked, from)
				}
				if len(s.sources.known) > maxSources {
					t.Fatalf("%d control messages are remembered", len(s.sources.known))
				}
			}
			// A broadcast's is no address to answer from: another will do.
			exchange(t, s, client, netip.AddrFrom4([4]byte{127, 255, 255, 255}))
		})
	}
}

// Whatever the system says beside a datagram, the answer's control message
// either names one address or is none.
func FuzzSource(f *testing.F) {
	for _, ip := range []string{"192.0.2.1", "127.255.255.255", "224.0.0.1", "255.255.255.255"} {
		f.Add((&ipv4.ControlMessage{Src: net.ParseIP(ip)}).Marshal())
	}
	for _, ip := range []string{"2001:db8::1", "fe80::1", "ff02::1"} {
		f.Add((&ipv6.ControlMessage{Src: net.ParseIP(ip), IfIndex: 2}).Marshal())
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, oob []byte) {
		if source := sourceV4(oob); source != nil && len(source) != len((&ipv4.ControlMessage{Src: net.IPv4(1, 2, 3, 4)}).Marshal()) {
			t.Errorf("over IPv4: %x", source)
		}
		if source := sourceV6(oob); source != nil && len(source) != len((&ipv6.ControlMessage{Src: net.IPv6loopback}).Marshal()) {
			t.Errorf("over IPv6: %x", source)
		}
	})
}
