package udp

import (
	"net"

	"golang.org/x/sys/unix"

	"udplab/services/kit/mmsg"
)

// SetReceiveBuffer asks for a receive buffer of so many bytes, beyond the
// system's limit (net.core.rmem_max) where the process may exceed it. A smaller
// one than asked for is no error: ReceiveBuffer says what was granted.
func SetReceiveBuffer(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	forced := false
	err = raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) == nil
	})
	if err != nil || forced {
		return err
	}
	return conn.SetReadBuffer(bytes)
}

// Drops is how many datagrams the kernel has dropped at a socket since it was
// opened, mostly because its receive buffer was full; 0 if it does not say.
func Drops(conn *net.UDPConn) uint64 {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	n := uint32(0)
	if raw.Control(func(fd uintptr) { n, err = mmsg.Drops(int(fd)) }) != nil || err != nil {
		return 0
	}
	return uint64(n)
}
