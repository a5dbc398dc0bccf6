//go:build linux

package mmsg

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func FuzzAddress(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, uint16(8888), uint32(0))
	f.Add(netip.IPv6Loopback().AsSlice(), uint16(1), uint32(0))
	f.Add(netip.MustParseAddr("fe80::1").AsSlice(), uint16(65535), uint32(2))
	f.Add(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), uint16(0), uint32(3))
	f.Fuzz(func(t *testing.T, ip []byte, port uint16, zone uint32) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		want := addr.Unmap()
		if want.Is6() && zone != 0 {
			want = inZone(want, zone)
			addr = want
		}
		var sa sockaddr
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			length := putAddr(&sa, netip.AddrPortFrom(addr, port), family)
			if length == 0 {
				if family == unix.AF_INET6 || want.Is4() {
					t.Errorf("%v has no form of family %d", addr, family)
				}
				continue
			}
			if got := getAddr(&sa); got != netip.AddrPortFrom(want, port) {
				t.Errorf("%v port %d came back as %v", addr, port, got)
			}
		}
	})
}

// What the kernel writes for a sender, and what nobody would.
func FuzzSockaddr(f *testing.F) {
	for _, addr := range []string{"127.0.0.1:8888", "[::1]:1", "[fe80::1%2]:65535", "[::ffff:192.0.2.1]:0"} {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			var sa sockaddr
			putAddr(&sa, netip.MustParseAddrPort(addr), family)
			f.Add(bytes.Clone((*[sizeofInet6]byte)(unsafe.Pointer(&sa))[:]))
		}
	}
	f.Add([]byte{unix.AF_UNIX, 0, 'x'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sa, again sockaddr
		copy((*[sizeofInet6]byte)(unsafe.Pointer(&sa))[:], raw)
		addr := getAddr(&sa)
		if known := sa.Family == unix.AF_INET || sa.Family == unix.AF_INET6; addr.IsValid() != known {
			t.Fatalf("family %d became %v", sa.Family, addr)
		} else if !known {
			return
		}
		if addr.Addr().Is4In6() {
			t.Errorf("%v is IPv4 in its IPv6 form", addr)
		}
		putAddr(&again, addr, int(sa.Family))
		if got := getAddr(&again); got != addr {
			t.Errorf("%v came back as %v", addr, got)
		}
	})
}

// refusal is what the kernel says beside an error: IP_RECVERR, ip(7).
func refusal(level, kind int32, e unix.SockExtendedErr) []byte {
	control := make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(e))))
	copy(putItem(control, level, kind, int(unsafe.Sizeof(e))), (*[unsafe.Sizeof(e)]byte)(unsafe.Pointer(&e))[:])
	return control
}

func TestOnlyICMPErrorsAreErrorsOfADatagram(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control []byte
		want    unix.Errno
	}{
		{"nothing", nil, 0},
		{"ICMP", refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.ECONNREFUSED), Origin: unix.SO_EE_ORIGIN_ICMP}), unix.ECONNREFUSED},
		{"ICMP for IPv6", refusal(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.EHOSTUNREACH), Origin: unix.SO_EE_ORIGIN_ICMP6}), unix.EHOSTUNREACH},
		{"this machine itself", refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.EMSGSIZE), Origin: unix.SO_EE_ORIGIN_LOCAL}), 0},
		{"a time stamp", refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.ENOMSG), Origin: unix.SO_EE_ORIGIN_TIMESTAMPING}), 0},
		{"another item before it", append(refusal(unix.SOL_SOCKET, 99, unix.SockExtendedErr{}),
			refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.ECONNREFUSED), Origin: unix.SO_EE_ORIGIN_ICMP})...), unix.ECONNREFUSED},
		{"cut short", refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.ECONNREFUSED), Origin: unix.SO_EE_ORIGIN_ICMP})[:20], 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := extendedError(tt.control); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzControl(f *testing.F) {
	var room [controlRoom]byte
	for _, source := range []string{"192.0.2.1", "2001:db8::1", "fe80::1%2"} {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			if ip := netip.MustParseAddr(source); ip.Is4() || family == unix.AF_INET6 {
				f.Add(bytes.Clone(room[:putSource(room[:], ip, family)]))
			}
		}
	}
	f.Add(refusal(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: 1, Origin: unix.SO_EE_ORIGIN_ICMP}))
	f.Add([]byte{})
	endless := binary.NativeEndian.AppendUint64(nil, 0) // an item of length 0
	f.Add(append(endless, endless...))
	f.Fuzz(func(t *testing.T, control []byte) { // neither may read beyond its end
		if ip := destination(control); ip.IsMulticast() || ip.Is4In6() || ip.Zone() != "" && !ip.IsLinkLocalUnicast() {
			t.Errorf("sent to %v", ip)
		}
		extendedError(control)
	})
}
