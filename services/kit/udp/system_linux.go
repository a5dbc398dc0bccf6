package udp

import (
	"golang.org/x/sys/unix"

	"udplab/services/kit/mmsg"
)

func forceReceiveBuffer(fd uintptr, bytes int) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
}

func drops(fd uintptr) (uint32, error) { return mmsg.Drops(int(fd)) }
