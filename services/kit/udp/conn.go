package udp

import (
	"net"
	"net/netip"
)

// Conn is a UDP socket that is connected to one peer and hears nobody else. Its
// methods may be called by several goroutines.
type Conn struct {
	*net.UDPConn
	sender sender
}

// Dial opens a socket that is connected to an address.
func Dial(to netip.AddrPort) (*Conn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteBuffer(SendBuffer) // a smaller one serves too
	return &Conn{conn, newSender(conn)}, nil
}

// Send sends a datagram to the peer. It does not wait for room in a full send
// buffer, but returns an error.
func (c *Conn) Send(payload []byte) error { return c.sender.send(payload, nil, netip.AddrPort{}) }
