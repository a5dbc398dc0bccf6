package mmsg

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is room for an address as the kernel has it, either family.
type sockaddr = unix.RawSockaddrInet6

const sizeofInet6 = unix.SizeofSockaddrInet6

// putAddr writes an address for a socket of the given family and returns its
// length. On an IPv6 socket an IPv4 address takes its IPv6 form (RFC 4291
// section 2.5.5.2); on an IPv4 socket an IPv6 address has none: length 0.
func putAddr(sa *sockaddr, a netip.AddrPort, family int) uint32 {
	if family == unix.AF_INET {
		ip := a.Addr().Unmap()
		if !ip.Is4() {
			return 0
		}
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*in4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4(), Port: networkOrder(a.Port())}
		return unix.SizeofSockaddrInet4
	}
	*sa = sockaddr{Family: unix.AF_INET6, Addr: a.Addr().As16(), Port: networkOrder(a.Port()), Scope_id: zone(a.Addr().Zone())}
	return sizeofInet6
}

// getAddr reads an address that the kernel wrote. IPv4 never comes in its IPv6
// form. The zero AddrPort stands for an address of another family.
func getAddr(sa *sockaddr) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), networkOrder(in4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(sa.Addr).Unmap(), sa.Scope_id), networkOrder(sa.Port))
	}
	return netip.AddrPort{}
}

// networkOrder turns a port from the machine's order of bytes into the network's,
// and back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// inZone adds the zone that the kernel gave the number i; IPv4 has none.
func inZone(ip netip.Addr, i uint32) netip.Addr {
	if i == 0 || !ip.Is6() {
		return ip
	}
	return ip.WithZone(strconv.FormatUint(uint64(i), 10))
}

// zone is the number of an IPv6 zone, 0 if there is none: zones are numbers on
// everything that came from the kernel, and names of interfaces where people
// wrote them.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(name); err == nil {
		return uint32(i.Index)
	}
	return 0
}
