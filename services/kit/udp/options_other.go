//go:build !linux

package udp

import "net"

// Drops is how many datagrams the system has dropped at a socket; it does not
// say.
func Drops(*net.UDPConn) uint64 { return 0 }

// SetReceiveBuffer asks for a receive buffer of so many bytes.
func SetReceiveBuffer(conn *net.UDPConn, bytes int) error { return conn.SetReadBuffer(bytes) }
