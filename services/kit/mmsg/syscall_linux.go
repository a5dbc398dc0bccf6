package mmsg

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls themselves. Those on a nonblocking socket never wait, so
// the scheduler need not be told of them (RawSyscall).

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received
}

// transfer calls recvmmsg(2) or sendmmsg(2).
func transfer(call uintptr, fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// recvfrom returns how long the datagram was, which may be more than there is
// room for (MSG_TRUNC, recv(2)).
func recvfrom(fd int, iov *unix.Iovec, from *byte, length *uint32) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(iov.Base)), uintptr(iov.Len), unix.MSG_DONTWAIT|unix.MSG_TRUNC, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(length)))
	return int(n), errno
}

func sendto(fd int, iov *unix.Iovec, to *sockaddr, length uint32) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(iov.Base)), uintptr(iov.Len), unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(to)), uintptr(length))
	return errno
}

// Drops is how many datagrams the kernel has dropped at a socket since it was
// opened: SK_MEMINFO_DROPS, the ninth number of SO_MEMINFO
// (include/uapi/linux/sock_diag.h). It wraps around at 32 bits.
func Drops(fd int) (uint32, error) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return info[8], nil
}
