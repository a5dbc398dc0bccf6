package nettest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Datagram is a UDP datagram over IPv4 with any sender. It has no checksum, which
// is right for any (RFC 768).
type Datagram struct {
	From, To netip.AddrPort
	Payload  []byte
}

// Send sends the datagram through a raw socket (raw(7)).
func (d Datagram) Send(t *testing.T) {
	t.Helper()
	sendPacket(t, unix.IPPROTO_UDP, d.From, d.To, d.bytes())
}

func (d Datagram) bytes() (b []byte) {
	for _, field := range []uint16{d.From.Port(), d.To.Port(), uint16(8 + len(d.Payload)), 0} {
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
	quoted := packet(t, unix.IPPROTO_UDP, d.From, d.To, d.bytes())[:ipv4.HeaderLen+8]
	body := slices.Concat([]byte{0, 0, byte(mtu >> 8), byte(mtu)}, quoted)
	message, err := (&icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: code, Body: &icmp.RawBody{Data: body}}).Marshal(nil)
	must(t, "ICMP message", err)
	sendPacket(t, unix.IPPROTO_ICMP, d.To, d.From, message)
}

// packet is an IPv4 packet. The kernel adds its checksum.
func packet(t *testing.T, protocol int, from, to netip.AddrPort, content []byte) []byte {
	t.Helper()
	header, err := (&ipv4.Header{
		Version: ipv4.Version, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen + len(content), TTL: 64, Protocol: protocol,
		Src: from.Addr().AsSlice(), Dst: to.Addr().AsSlice(),
	}).Marshal()
	must(t, "IPv4 header", err)
	return append(header, content...)
}

func sendPacket(t *testing.T, protocol int, from, to netip.AddrPort, content []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	must(t, "raw socket", os.NewSyscallError("socket", err))
	defer unix.Close(fd)
	err = unix.Sendto(fd, packet(t, protocol, from, to, content), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	must(t, "packet", os.NewSyscallError("sendto", err))
}
