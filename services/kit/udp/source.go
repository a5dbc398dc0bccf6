package udp

import (
	"bytes"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// sources turns what the kernel reports beside a datagram, the address it was sent
// to, into the control message by which an answer leaves from there.
type sources struct {
	convert func(report []byte) []byte // nil result: the kernel chooses
	known   map[string][]byte
}

// maxSources is how many control messages a socket remembers. There are as many as
// the machine has addresses: few, unless somebody writes to all of 127.0.0.0/8.
const maxSources = 1024

// reportDestinations makes the kernel report where each datagram was sent to. It
// returns nil if the system cannot.
func reportDestinations(conn *net.UDPConn, v6 bool) *sources {
	switch {
	case v6 && ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true) == nil:
		return &sources{sourceV6, map[string][]byte{}}
	case !v6 && ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true) == nil:
		return &sources{sourceV4, map[string][]byte{}}
	}
	return nil
}

// of is the control message for an answer to a datagram with this report.
func (s *sources) of(report []byte) []byte {
	source, ok := s.known[string(report)]
	if !ok {
		if len(s.known) == maxSources {
			clear(s.known)
		}
		source = s.convert(report)
		s.known[string(report)] = source
	}
	return source
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
