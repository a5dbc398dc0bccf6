//go:build unix

package udp

import (
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// ReceiveBuffer is how large the kernel made a socket's receive buffer, in
// bytes as they are asked for by SetReadBuffer; 0 if it does not say.
func ReceiveBuffer(conn *net.UDPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	size := 0
	raw.Control(func(fd uintptr) { size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	if err != nil {
		return 0
	}
	if runtime.GOOS == "linux" {
		size /= 2 // Linux doubles what it grants, for its own bookkeeping: socket(7)
	}
	return size
}
