package lab

import (
	"context"
	"net"
	"net/netip"
	"time"

	"udplab/services/kit/udp"
)

// Ask sends one datagram from a new socket and returns the answer. It returns an
// error if the datagram is refused or ctx ends; it does not send again.
func Ask(ctx context.Context, addr netip.AddrPort, payload string) (string, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })() // fails only if it is closed
	if _, err := conn.Write([]byte(payload)); err != nil {
		return "", err
	}
	answer := make([]byte, udp.MaxDatagram)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}
