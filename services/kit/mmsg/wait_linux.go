package mmsg

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WaitExactly is Wait with a limit, never negative, that is kept to some ten
// microseconds, where Wait rounds it up to a millisecond (epoll_pwait2(2), since
// Linux 5.11; before that it is Wait).
func (p *Poller) WaitExactly(limit time.Duration) (int, error) {
	n, errno := p.waitExactly(limit)
	switch errno {
	case 0:
		return n, nil
	case unix.EINTR:
		return 0, nil
	case unix.ENOSYS, unix.EPERM: // EPERM: a filter of system calls that does not know it
		return p.Wait(limit)
	}
	return 0, os.NewSyscallError("epoll_pwait2", errno)
}

// waitExactly holds on to the processor for as long as Hold says, like
// epollWait.
func (p *Poller) waitExactly(limit time.Duration) (int, unix.Errno) {
	brief := min(limit, time.Duration(p.Hold)*time.Millisecond)
	ts := kernelTime(brief)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	if n != 0 || errno != 0 || brief == limit {
		return int(n), errno
	}
	ts = kernelTime(limit - brief)
	n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	return int(n), errno
}

// kernelTime is struct __kernel_timespec: seconds and nanoseconds, of 64 bits
// each on every architecture.
func kernelTime(d time.Duration) [2]int64 {
	return [2]int64{int64(d / time.Second), int64(d % time.Second)}
}
