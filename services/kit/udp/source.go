package udp

import (
	"bytes"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// reportDestinations makes the kernel report where each datagram was sent to. It
// returns what turns such a report into the control message by which an answer
// leaves from there (nil: from where the kernel chooses), or nil if the system cannot.
func reportDestinations(conn *net.UDPConn, v6 bool) (source func(report []byte) []byte) {
	switch {
	case v6 && ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true) == nil:
		return sourceV6
	case !v6 && ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true) == nil:
		return sourceV4
	}
	return nil
}

func sourceV6(report []byte) []byte {
	var cm ipv6.ControlMessage
	if cm.Parse(report) != nil || cm.Dst == nil || cm.Dst.IsMulticast() {
		return nil
	}
	// x/net leaves out an IPv4 source, which a dual-stack socket takes in its
	// IPv6 form: write a stand-in and put the address in its place.
	standIn := net.ParseIP("2001:db8::1")
	source := (&ipv6.ControlMessage{Src: standIn}).Marshal()
	return bytes.Replace(source, standIn, cm.Dst.To16(), 1)
}

func sourceV4(report []byte) []byte {
	var cm ipv4.ControlMessage
	if cm.Parse(report) != nil || cm.Dst == nil || cm.Dst.IsMulticast() || cm.Dst.Equal(net.IPv4bcast) {
		return nil
	}
	return (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()
}
