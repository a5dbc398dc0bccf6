package nettest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Link makes two interfaces of these names with a cable between them (veth(4)),
// and turns them on. Each has the link-local IPv6 address that the kernel gives
// it, which Link returns with its zone.
func Link(t *testing.T, one, other string) (a, b netip.Addr) {
	t.Helper()
	peer := attribute(1, append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, name(other))...)) // VETH_INFO_PEER
	info := append(attribute(unix.IFLA_INFO_KIND, []byte("veth")), attribute(unix.IFLA_INFO_DATA, peer)...)
	ask(t, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, make([]byte, unix.SizeofIfInfomsg),
		attribute(unix.IFLA_IFNAME, name(one)), attribute(unix.IFLA_LINKINFO, info))
	for _, device := range []string{one, other} {
		// Nobody else is there who could have the same address.
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", device, "accept_dad"), []byte("0"), 0); err != nil {
			cannot(t, "no IPv6 here: %v", err)
		}
		up(t, device)
	}
	return linkLocal(t, one), linkLocal(t, other)
}

// Give gives an interface an IPv4 address of a network.
func Give(t *testing.T, device string, address netip.Prefix) {
	t.Helper()
	body := make([]byte, unix.SizeofIfAddrmsg) // struct ifaddrmsg
	body[0], body[1] = unix.AF_INET, byte(address.Bits())
	binary.NativeEndian.PutUint32(body[4:], uint32(index(t, device)))
	ip := address.Addr().AsSlice()
	ask(t, unix.RTM_NEWADDR, unix.NLM_F_CREATE, body, attribute(unix.IFA_LOCAL, ip), attribute(unix.IFA_ADDRESS, ip))
}

// Narrow sets how many bytes an interface takes in one packet.
func Narrow(t *testing.T, device string, mtu int) {
	t.Helper()
	ask(t, unix.RTM_NEWLINK, 0, infomsg(t, device, 0), attribute(unix.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, uint32(mtu))))
}

func up(t *testing.T, device string) {
	t.Helper()
	ask(t, unix.RTM_NEWLINK, 0, infomsg(t, device, unix.IFF_UP))
}

// linkLocal waits for an interface's link-local address.
func linkLocal(t *testing.T, device string) netip.Addr {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		i, err := net.InterfaceByName(device)
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsLinkLocalUnicast() {
				return p.Addr().WithZone(device)
			}
		}
	}
	cannot(t, "%s gets no link-local address here", device)
	return netip.Addr{}
}

// ask sends the kernel one request (rtnetlink(7)) and waits for its answer.
func ask(t *testing.T, kind, flags uint16, body []byte, attributes ...[]byte) {
	t.Helper()
	for _, a := range attributes {
		body = append(body, a...)
	}
	request := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(request, uint32(cap(request)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	request = append(request, body...)

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(os.NewSyscallError("sendto", err))
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		t.Fatalf("the kernel answered a request of kind %d with %d bytes: %v", kind, n, err)
	}
	switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:]))); errno { // NLMSG_ERROR
	case 0:
	case unix.EPERM, unix.EOPNOTSUPP:
		cannot(t, "the kernel does not do that here: request of kind %d: %v", kind, errno)
	default:
		t.Fatalf("request of kind %d: %v", kind, errno)
	}
}

// infomsg is a struct ifinfomsg that sets flags of an interface.
func infomsg(t *testing.T, device string, flags uint32) []byte {
	t.Helper()
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index(t, device)))
	binary.NativeEndian.PutUint32(body[8:], flags)
	binary.NativeEndian.PutUint32(body[12:], flags)
	return body
}

func index(t *testing.T, device string) int {
	t.Helper()
	i, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

// attribute is a struct rtattr and its value, padded to four bytes.
func attribute(kind uint16, value []byte) []byte {
	a := make([]byte, unix.SizeofRtAttr, unix.SizeofRtAttr+len(value)+3)
	binary.NativeEndian.PutUint16(a, uint16(unix.SizeofRtAttr+len(value)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, value...)
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

func name(device string) []byte { return append([]byte(device), 0) }
