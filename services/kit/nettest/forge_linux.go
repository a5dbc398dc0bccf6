package nettest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Datagram is a UDP datagram over IPv4 that anybody may have sent.
type Datagram struct {
	From, To netip.AddrPort
	Payload  []byte
	Checksum uint16 // 0: none, which is right for any datagram (RFC 768)
}

// Send puts the datagram on its way (raw(7)).
func (d Datagram) Send(t *testing.T) {
	t.Helper()
	put(t, unix.IPPROTO_UDP, d.From.Addr(), d.To.Addr(), append(d.header(), d.Payload...))
}

func (d Datagram) header() (h []byte) {
	h = binary.BigEndian.AppendUint16(h, d.From.Port())
	h = binary.BigEndian.AppendUint16(h, d.To.Port())
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(d.Payload)))
	return binary.BigEndian.AppendUint16(h, d.Checksum)
}

// Codes of the ICMP message destination unreachable (RFC 792).
const (
	PortUnreachable     = 3
	FragmentationNeeded = 4
)

// Unreachable answers a datagram with an ICMP message destination unreachable
// of the given code, in the name of the datagram's destination. Mtu is what the
// way takes, for FragmentationNeeded.
func (d Datagram) Unreachable(t *testing.T, code byte, mtu int) {
	t.Helper()
	message := []byte{3, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	quoted := d.header()
	message = append(message, ipHeader(unix.IPPROTO_UDP, d.From.Addr(), d.To.Addr(), len(quoted)+len(d.Payload))...)
	message = append(message, quoted...)
	sum := uint32(0)
	for i := 0; i < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum>>16+sum))
	put(t, unix.IPPROTO_ICMP, d.To.Addr(), d.From.Addr(), message)
}

// put sends an IPv4 packet.
func put(t *testing.T, protocol byte, from, to netip.Addr, content []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	packet := append(ipHeader(protocol, from, to, len(content)), content...)
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		t.Fatal(os.NewSyscallError("sendto", err))
	}
}

// ipHeader is an IPv4 header without its checksum, which the kernel adds.
func ipHeader(protocol byte, from, to netip.Addr, size int) []byte {
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, 64, protocol // version and length, time to live
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+size))
	copy(h[12:], from.AsSlice())
	copy(h[16:], to.AsSlice())
	return h
}
