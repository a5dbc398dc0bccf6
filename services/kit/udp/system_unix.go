//go:build unix

package udp

import "golang.org/x/sys/unix"

const (
	errConnReset = unix.ECONNRESET
	errHostDown  = unix.EHOSTDOWN
)

func receiveBuffer(fd uintptr) (int, error) {
	return unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
}
