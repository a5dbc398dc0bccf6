package api

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// vanished is how long a reader that acknowledges nothing, such as a laptop that
// has left, keeps its place among the readers.
const vanished = 10 * time.Second

// giveUpVanished makes the kernel end such connections (TCP_USER_TIMEOUT, tcp(7),
// RFC 5482), which accepted ones take over. Without it that takes about a quarter
// of an hour: what is written meanwhile fits into the socket's buffer, so that no
// deadline is ever missed.
func giveUpVanished(_, _ string, conn syscall.RawConn) error {
	var err error
	if failed := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanished.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return os.NewSyscallError("TCP_USER_TIMEOUT", err)
}
