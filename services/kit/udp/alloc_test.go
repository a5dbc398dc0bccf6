//go:build unix && !race

package udp

import (
	"net/netip"
	"testing"
)

// The race detector makes sync.Pool forget, so it is left out there.
func TestNothingIsAllocatedForADatagram(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "127.0.0.1:0"} {
		s, client := open(t, listen)
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Addr().Port())
		buf := make([]byte, MaxDatagram)
		got := testing.AllocsPerRun(100, func() {
			_, err := client.WriteToUDPAddrPort(buf[:64], to)
			if err != nil {
				t.Fatal(err)
			}
			n, peer, err := s.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(buf[:n], peer); err != nil {
				t.Fatal(err)
			}
			if _, _, err := client.ReadFromUDPAddrPort(buf); err != nil {
				t.Fatal(err)
			}
		})
		if got != 0 {
			t.Errorf("listening on %s: %v allocations for a request and its answer", listen, got)
		}
	}
}
