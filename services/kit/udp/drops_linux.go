package udp

import (
	"net"

	"udplab/services/kit/mmsg"
)

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
