package udp

import (
	"net"
	"runtime"
)

// SetReceiveBuffer asks for a receive buffer of so many bytes, on Linux beyond the
// system's limit (net.core.rmem_max) where the process may exceed it. It returns how
// many were granted, 0 if the system does not say.
func SetReceiveBuffer(conn *net.UDPConn, bytes int) (granted int) {
	_ = conn.SetReadBuffer(bytes) // a smaller one serves too
	control(conn, func(fd uintptr) {
		forceReceiveBuffer(fd, bytes)
		granted = receiveBuffer(fd)
	})
	if runtime.GOOS == "linux" {
		granted /= 2 // Linux doubles what it grants, for its own bookkeeping: socket(7)
	}
	return granted
}

// Drops is how many datagrams the kernel has dropped at a socket since it was
// opened, mostly because its receive buffer was full; 0 if it does not say, as
// only Linux does.
func Drops(conn *net.UDPConn) (total uint64) {
	control(conn, func(fd uintptr) { total = drops(fd) })
	return total
}

// control calls f with the descriptor of a socket that is open.
func control(conn *net.UDPConn, f func(fd uintptr)) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(f)
	}
}
