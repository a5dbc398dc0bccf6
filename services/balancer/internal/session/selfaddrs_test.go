package session

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestSelfAddrs(t *testing.T) {
	for _, tt := range []struct {
		name string
		own  []string
		from string
		want bool
	}{
		{"nothing is ours", nil, "127.0.0.1:8888", false},
		{"an address of ours", []string{"127.0.0.1:8888"}, "127.0.0.1:8888", true},
		{"the port at another address", []string{"127.0.0.1:8888"}, "127.0.0.2:8888", false},
		{"the address at another port", []string{"127.0.0.1:8888"}, "127.0.0.1:8889", false},
		{"everywhere, from loopback", []string{"0.0.0.0:8888"}, "127.9.9.9:8888", true},
		{"everywhere, from an address of the machine", []string{"0.0.0.0:8888"}, "192.0.2.1:8888", true},
		{"everywhere, from another machine", []string{"0.0.0.0:8888"}, "192.0.2.2:8888", false},
		{"everywhere over IPv6, from IPv4", []string{"[::]:8888"}, "192.0.2.1:8888", true},
		{"everywhere over IPv6, from the machine's link", []string{"[::]:8888"}, "[fe80::1%2]:8888", true},
		{"everywhere over IPv4, from IPv6", []string{"0.0.0.0:8888"}, "[::1]:8888", false},
		{"a link's address", []string{"[fe80::1%2]:8888"}, "[fe80::1%2]:8888", true},
		{"the same address on another link", []string{"[fe80::1%2]:8888"}, "[fe80::1%3]:8888", false},
		{"two at one port", []string{"127.0.0.1:9", "192.0.2.1:9"}, "192.0.2.1:9", true},
		{"port 0 is nobody's", []string{"127.0.0.1:64"}, "127.0.0.1:0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := NewSelfAddrs(func() ([]net.Addr, error) {
				return []net.Addr{prefix("192.0.2.1/24"), prefix("fe80::1/64")}, nil
			})
			from := netip.MustParseAddrPort(tt.from)
			for _, addr := range tt.own {
				o.Add(netip.MustParseAddrPort(addr))
			}
			if got := o.Contains(now, from); got != tt.want {
				t.Errorf("got %v", got)
			}
			for _, addr := range tt.own {
				o.Remove(netip.MustParseAddrPort(addr))
			}
			if o.Contains(now, from) || len(o.byPort) > 0 || o.ports[from.Port()/64].Load() != 0 {
				t.Error("something is left after all were taken back")
			}
		})
	}
}

func TestASelfAddressIsKnownUntilItIsTakenBack(t *testing.T) {
	o := NewSelfAddrs(nil)
	one, other := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("192.0.2.1:9")
	o.Add(one)
	o.Add(other)
	o.Remove(one)
	o.Remove(one) // twice is harmless
	if o.Contains(now, one) || !o.Contains(now, other) {
		t.Error("the wrong one was taken back")
	}
}

func prefix(text string) net.Addr {
	ip, network, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	network.IP = ip
	return network
}

func TestTheMachinesAddressesAreAskedForNowAndThen(t *testing.T) {
	asked, answer, failed := 0, prefix("192.0.2.1/24"), error(nil)
	o := NewSelfAddrs(func() ([]net.Addr, error) { asked++; return []net.Addr{answer}, failed })
	o.Add(netip.MustParseAddrPort("0.0.0.0:9"))
	at := now
	want := func(from string, is bool, times int) {
		t.Helper()
		if got := o.Contains(at, netip.MustParseAddrPort(from)); got != is || asked != times {
			t.Errorf("%s: %v after %d questions, want %v after %d", from, got, asked, is, times)
		}
	}
	want("198.51.100.1:8", false, 0)
	want("127.0.0.1:9", true, 0)
	want("198.51.100.1:9", false, 1)
	answer = prefix("198.51.100.1/24")
	at = at.Add(machineFor)
	want("198.51.100.1:9", false, 1)
	at = at.Add(1)
	want("198.51.100.1:9", true, 2)
	failed = errors.New("too many open files")
	at = at.Add(machineFor + 1)
	want("198.51.100.1:9", true, 3)
}
