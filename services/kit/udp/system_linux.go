package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func forceReceiveBuffer(fd uintptr, bytes int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) // few may
}

func drops(fd uintptr) uint64 { return uint64(KernelDrops(int(fd))) }

// KernelDrops is how many datagrams the kernel has dropped at a socket since it
// was opened: SK_MEMINFO_DROPS, the ninth number of SO_MEMINFO
// (include/uapi/linux/sock_diag.h). It wraps around at 32 bits.
func KernelDrops(fd int) uint32 {
	var info [9]uint32 // stays zero if the kernel does not say
	size := uint32(unsafe.Sizeof(info))
	unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[8]
}
