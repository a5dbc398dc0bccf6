package mmsg

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors calls told for every ICMP error that has come in about datagrams this
// socket sent: where the datagram was sent to, and what is wrong there
// (ECONNREFUSED for port unreachable and so on, icmp(7)). It empties the
// socket's error queue (recvmsg(2), MSG_ERRQUEUE) and returns how many errors
// there were.
func (s *Socket) Errors(told func(to netip.AddrPort, err error)) (n int) {
	var addr sockaddr
	var control [256]byte
	var byteOfPayload byte
	for range 1000 { // whoever floods us with ICMP shall not keep us
		h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&addr)), Namelen: sizeofInet6, Control: &control[0]}
		iov := unix.Iovec{Base: &byteOfPayload}
		iov.SetLen(1)
		h.Iov = &iov
		h.SetIovlen(1)
		h.SetControllen(len(control))
		switch errno := recvErrors(s.fd, &h); errno {
		case 0:
		case unix.EINTR:
			continue
		default:
			return n
		}
		if errno := extendedError(control[:min(int(h.Controllen), len(control))]); errno != 0 {
			told(getAddr(&addr), errno)
			n++
		}
	}
	return n
}

// extendedError finds the error in a control message (IP_RECVERR, ip(7)); 0 if
// there is none that came by ICMP. What the machine itself says about a datagram
// (SO_EE_ORIGIN_LOCAL) its send has returned already.
func extendedError(control []byte) unix.Errno {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if int(h.Len) < unix.SizeofCmsghdr || int(h.Len) > len(control) {
			return 0
		}
		data := control[unix.CmsgLen(0):h.Len]
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if (v4 || v6) && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			if e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6 {
				return unix.Errno(e.Errno)
			}
		}
		next := unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
		if next >= len(control) {
			return 0
		}
		control = control[next:]
	}
	return 0
}
