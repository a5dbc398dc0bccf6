package udp

import (
	"net"
	"runtime"
)

// ReceiveBuffer is how large the system made a socket's receive buffer, in
// bytes as SetReceiveBuffer asks for them; 0 if it does not say.
func ReceiveBuffer(conn *net.UDPConn) (size int) {
	err := control(conn, func(fd uintptr) (err error) {
		size, err = receiveBuffer(fd)
		return err
	})
	switch {
	case err != nil:
		return 0
	case runtime.GOOS == "linux":
		return size / 2 // Linux doubles what it grants, for its own bookkeeping: socket(7)
	}
	return size
}

// SetReceiveBuffer asks for a receive buffer of so many bytes, on Linux beyond
// the system's limit (net.core.rmem_max) where the process may exceed it. A
// smaller one than asked for is no error: ReceiveBuffer says what was granted.
func SetReceiveBuffer(conn *net.UDPConn, bytes int) error {
	if control(conn, func(fd uintptr) error { return forceReceiveBuffer(fd, bytes) }) == nil {
		return nil
	}
	return conn.SetReadBuffer(bytes)
}

// Drops is how many datagrams the kernel has dropped at a socket since it was
// opened, mostly because its receive buffer was full; 0 if it does not say, as
// only Linux does.
func Drops(conn *net.UDPConn) uint64 {
	total := uint32(0)
	err := control(conn, func(fd uintptr) (err error) {
		total, err = drops(fd)
		return err
	})
	if err != nil {
		return 0
	}
	return uint64(total)
}

// control calls f with a socket's descriptor and returns its error.
func control(conn *net.UDPConn, f func(fd uintptr) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(fd) }); err != nil {
		return err
	}
	return failed
}
