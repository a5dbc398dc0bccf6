package nettest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Datagram is a UDP datagram over IPv4 with any sender.
type Datagram struct {
	From, To netip.AddrPort
	Payload  []byte
	Checksum uint16 // 0 means none, which is right for any datagram (RFC 768)
}

// Send sends the datagram through a raw socket (raw(7)).
func (d Datagram) Send(t *testing.T) {
	t.Helper()
	sendPacket(t, header(unix.IPPROTO_UDP, d.From, d.To), d.bytes())
}

func (d Datagram) bytes() (b []byte) {
	for _, field := range []uint16{d.From.Port(), d.To.Port(), uint16(8 + len(d.Payload)), d.Checksum} {
		b = binary.BigEndian.AppendUint16(b, field)
	}
	return append(b, d.Payload...)
}

// FragmentationNeeded is a code of the ICMP message destination unreachable
// (RFC 792).
const FragmentationNeeded = 4

// Unreachable sends the ICMP message that the datagram's destination would send
// to its sender: destination unreachable with a code. FragmentationNeeded also
// says the path's MTU.
func (d Datagram) Unreachable(t *testing.T, code, mtu int) {
	t.Helper()
	h := header(unix.IPPROTO_UDP, d.From, d.To)
	h.TotalLen += len(d.bytes())
	quoted, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte{0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	body = append(body, d.bytes()[:8]...)
	message, err := (&icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: code, Body: &icmp.RawBody{Data: body}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	sendPacket(t, header(unix.IPPROTO_ICMP, d.To, d.From), message)
}

// header is an IPv4 header of a packet without content. The kernel adds its
// checksum.
func header(protocol int, from, to netip.AddrPort) *ipv4.Header {
	return &ipv4.Header{
		Version: ipv4.Version, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen, TTL: 64, Protocol: protocol,
		Src: from.Addr().AsSlice(), Dst: to.Addr().AsSlice(),
	}
}

func sendPacket(t *testing.T, h *ipv4.Header, content []byte) {
	t.Helper()
	socket, err := net.ListenPacket("ip4:udp", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	raw, err := ipv4.NewRawConn(socket)
	if err != nil {
		t.Fatal(err)
	}
	h.TotalLen += len(content)
	if err := raw.WriteTo(h, content, nil); err != nil {
		t.Fatal(err)
	}
}
