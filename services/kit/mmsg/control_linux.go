package mmsg

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages (cmsg(3)) carry what goes beside a datagram: the address it
// was sent to or leaves from, and the size of the segments to cut it into.

// controlRoom holds what the kernel reports beside one datagram, or is told:
// IPV6_PKTINFO (40 bytes) and UDP_SEGMENT (24).
const controlRoom = 64

// nextItem returns the first control item, or zero values if there is no whole
// one, and what is behind it.
func nextItem(control []byte) (h unix.Cmsghdr, data, rest []byte) {
	if len(control) >= unix.SizeofCmsghdr {
		h, data, rest, _ = unix.ParseOneSocketControlMessage(control)
	}
	return h, data, rest
}

// destination finds the local address in a received control message, which
// holds one item at most.
func destination(control []byte) netip.Addr {
	h, data, _ := nextItem(control)
	var ip netip.Addr
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		ip = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst: ours, also if the datagram was broadcast
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		ip = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		if ip.IsLinkLocalUnicast() { // a zone on any other address would be wrong
			ip = inZone(ip, binary.NativeEndian.Uint32(data[16:20]))
		}
	}
	if ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return ip
}

// putSource writes the control item that makes a datagram leave from an
// address, and returns its length: 0 if the kernel is to choose.
func putSource(control []byte, from netip.Addr, family int) int {
	switch {
	case !from.IsValid():
		return 0
	case family == unix.AF_INET:
		ip := from.As4()
		copy(putItem(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)[4:8], ip[:]) // ipi_spec_dst
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	data := putItem(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	ip := from.As16()
	copy(data, ip[:])
	binary.NativeEndian.PutUint32(data[16:20], zone(from.Zone()))
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// putSegmentSize writes the control item that makes the kernel cut a message
// into datagrams of so many bytes, and returns its length.
func putSegmentSize(control []byte, size int) int {
	binary.NativeEndian.PutUint16(putItem(control, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2), uint16(size))
	return unix.CmsgSpace(2)
}

// putItem writes the header of a control item and returns room for its data,
// zeroed.
func putItem(control []byte, level, kind int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	data := control[unix.CmsgLen(0):unix.CmsgSpace(size)]
	clear(data)
	return data[:size]
}
