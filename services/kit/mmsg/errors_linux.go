package mmsg

import (
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the error of a call may be about.
var (
	// An earlier datagram: the ICMP errors of icmp(7).
	mayBePending = errnos{
		unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET,
		unix.ENOPROTOOPT, unix.EPROTO, unix.EACCES, unix.EMSGSIZE, unix.EOPNOTSUPP,
	}
	// That the kernel was to cut the message into segments.
	cannotSegment = errnos{unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP}
	// The address that the datagram is to leave from. ENETUNREACH: on an IPv6
	// socket, one of IPv4.
	refusesSource = errnos{unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH}
)

type errnos []unix.Errno

func (e errnos) has(errno unix.Errno) bool { return slices.Contains(e, errno) }

// Errors calls report for every ICMP error that has come in about datagrams this
// socket sent: where the datagram was sent to, and what is wrong there
// (ECONNREFUSED for port unreachable and so on, icmp(7)). It empties the
// socket's error queue (recvmsg(2), MSG_ERRQUEUE) and returns how many errors
// there were.
func (s *Socket) Errors(report func(to netip.AddrPort, err error)) (n int) {
	var addr sockaddr
	var control [256]byte
	var payload byte
	iov := unix.Iovec{Base: &payload}
	iov.SetLen(1)
	for range 1000 { // a flood of ICMP must not occupy the caller
		h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&addr)), Namelen: sizeofInet6, Control: &control[0], Iov: &iov}
		h.SetIovlen(1)
		h.SetControllen(len(control))
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			break
		}
		if errno := extendedError(control[:min(int(h.Controllen), len(control))]); errno != 0 {
			report(getAddr(&addr), errno)
			n++
		}
	}
	return n
}

// extendedError finds the error in a control message (IP_RECVERR, ip(7)); 0 if
// there is none that came by ICMP. What the machine itself reports about a
// datagram (SO_EE_ORIGIN_LOCAL), its send has returned already.
func extendedError(control []byte) unix.Errno {
	for len(control) > 0 {
		var h unix.Cmsghdr
		var data []byte
		h, data, control = nextItem(control)
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if (v4 || v6) && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			if e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6 {
				return unix.Errno(e.Errno)
			}
		}
	}
	return 0
}
