package udp

import (
	"net"
	"runtime"
)

// ReceiveBuffer is how large the system made a socket's receive buffer, in
// bytes as SetReceiveBuffer asks for them; 0 if it does not say.
func ReceiveBuffer(conn *net.UDPConn) int {
	size, _ := control(conn, receiveBuffer)
	if runtime.GOOS == "linux" {
		return size / 2 // Linux doubles what it grants, for its own bookkeeping: socket(7)
	}
	return size
}

// SetReceiveBuffer asks for a receive buffer of so many bytes, on Linux beyond
// the system's limit (net.core.rmem_max) where the process may exceed it. A
// smaller one than asked for is no error: ReceiveBuffer says what was granted.
func SetReceiveBuffer(conn *net.UDPConn, bytes int) error {
	force := func(fd uintptr) (int, error) { return bytes, forceReceiveBuffer(fd, bytes) }
	if _, err := control(conn, force); err == nil {
		return nil
	}
	return conn.SetReadBuffer(bytes)
}

// Drops is how many datagrams the kernel has dropped at a socket since it was
// opened, mostly because its receive buffer was full; 0 if it does not say, as
// only Linux does.
func Drops(conn *net.UDPConn) uint64 {
	total, _ := control(conn, drops)
	return uint64(total)
}

// control calls f with a socket's descriptor. After an error the result is 0.
func control[T any](conn *net.UDPConn, f func(fd uintptr) (T, error)) (result T, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return result, err
	}
	if closed := raw.Control(func(fd uintptr) { result, err = f(fd) }); closed != nil {
		return result, closed
	}
	return result, err
}
