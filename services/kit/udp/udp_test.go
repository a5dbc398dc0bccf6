package udp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a socket on an address, and a client's.
func open(t *testing.T, address string) (s *Socket, client *net.UDPConn) {
	t.Helper()
	s, err := Listen(t.Context(), address)
	if err != nil {
		t.Skipf("listen on %s: %v", address, err)
	}
	t.Cleanup(func() { s.Close() })
	client, err = net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	deadline := time.Now().Add(time.Minute)
	client.SetDeadline(deadline)
	s.Conn().SetDeadline(deadline)
	return s, client
}

// exchange sends a request to an address of the socket's, answers it with itself,
// and returns where the answer came from.
func exchange(t *testing.T, s *Socket, client *net.UDPConn, asked netip.Addr, request []byte) (from netip.Addr) {
	t.Helper()
	to := netip.AddrPortFrom(asked, s.Addr().Port())
	if _, err := client.WriteToUDPAddrPort(request, to); err != nil {
		t.Skipf("no way to %v here: %v", to, err)
	}
	buf := make([]byte, MaxDatagram)
	n, peer, err := s.Read(buf)
	if err != nil || peer.Addr.Addr().Is4In6() {
		t.Fatalf("a request from %v, error %v", peer.Addr, err)
	}
	if err := s.Write(buf[:n], peer); err != nil {
		t.Fatalf("answer to %v: %v", peer.Addr, err)
	}
	n, sender, err := client.ReadFromUDPAddrPort(buf)
	if err != nil || !bytes.Equal(buf[:n], request) {
		t.Fatalf("%d bytes came back as %d, error %v", len(request), n, err)
	}
	return Unmap(sender).Addr()
}

func TestAnswersComeFromTheAddressThatWasAsked(t *testing.T) {
	for _, tt := range []struct{ listen, ask string }{
		{":0", "127.0.0.1"},
		{":0", "127.0.0.2"}, // the kernel alone would answer from 127.0.0.1
		{":0", "::1"},
		{"0.0.0.0:0", "127.0.0.3"},
		{"[::1]:0", "::1"},
		{"127.0.0.1:0", "127.0.0.1"},
		{":0", "127.255.255.255"}, // a broadcast's is no address to answer from: another will do
		{"0.0.0.0:0", "127.255.255.255"},
	} {
		t.Run(tt.listen+" asked at "+tt.ask, func(t *testing.T) {
			s, client := open(t, tt.listen)
			asked := netip.MustParseAddr(tt.ask)
			for _, request := range [][]byte{[]byte("hello"), {}, bytes.Repeat([]byte("x"), MaxPayload)} {
				if from := exchange(t, s, client, asked, request); from != asked && tt.ask != "127.255.255.255" {
					t.Errorf("answered from %v", from)
				}
			}
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

func TestAnAddressIsFoundOfIPv4First(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:2526": "127.0.0.1:2526", "[::ffff:127.0.0.1]:0": "127.0.0.1:0", "[::1]:65535": "[::1]:65535"} {
		if addrs, err := Resolve(t.Context(), address); err != nil || fmt.Sprint(addrs) != "["+want+"]" {
			t.Errorf("%s: %v, error %v", address, addrs, err)
		}
	}
	for _, address := range []string{"2526", "127.0.0.1:65536", "a..b:1"} { // no host can have such a name
		if addrs, err := Resolve(t.Context(), address); err == nil {
			t.Errorf("%s: %v", address, addrs)
		}
	}
	ip := netip.MustParseAddr
	ips := []netip.Addr{ip("2001:db8::2"), ip("2001:db8::1"), ip("192.0.2.2"), ip("::ffff:192.0.2.1")}
	SortIPv4First(ips)
	if got := fmt.Sprint(ips); got != "[192.0.2.2 192.0.2.1 2001:db8::2 2001:db8::1]" {
		t.Errorf("sorted: %s", got)
	}
}
