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

const (
	sizeofInet4 = unix.SizeofSockaddrInet4
	sizeofInet6 = unix.SizeofSockaddrInet6
)

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
		in4.Family = unix.AF_INET
		in4.Addr = ip.As4()
		putPort(&in4.Port, a.Port())
		return sizeofInet4
	}
	*sa = sockaddr{Family: unix.AF_INET6, Addr: a.Addr().As16(), Scope_id: zone(a.Addr().Zone())}
	putPort(&sa.Port, a.Port())
	return sizeofInet6
}

// getAddr reads an address that the kernel wrote. IPv4 never comes in its IPv6
// form. The zero AddrPort stands for an address of another family.
func getAddr(sa *sockaddr) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), getPort(&in4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(sa.Addr).Unmap(), sa.Scope_id), getPort(&sa.Port))
	}
	return netip.AddrPort{}
}

// putPort and getPort: ports are in network order, whatever the machine's is.
func putPort(field *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(field))[:], port)
}

func getPort(field *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(field))[:])
}

// unixAddr is an address for a socket of the given family, which the caller has
// chosen for it.
func unixAddr(a netip.AddrPort, family int) unix.Sockaddr {
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: zone(a.Addr().Zone())}
}

// fromUnix is an address that package unix gave with an error; it is not valid
// after one. A zone is a number.
func fromUnix(sa unix.Sockaddr, err error) netip.AddrPort {
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(sa.Addr).Unmap(), sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
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
