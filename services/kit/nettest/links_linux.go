package nettest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Veth makes a pair of interfaces with a cable between them (veth(4)) and waits
// until both are up. They have the IPv6 addresses fe80::1 and fe80::2, which it
// returns with their zones.
func Veth(t *testing.T, one, other string) (a, b netip.Addr) {
	t.Helper()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = one
	must(t, "veth pair", netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: other}))
	// Packets that wait for a neighbour would keep a namespace alive for minutes,
	// and so many places taken in the machine's one table of neighbours.
	t.Cleanup(func() { _ = netlink.LinkDel(find(t, one)) })
	for _, name := range []string{one, other} {
		link := find(t, name)
		// The kernel's own address would be usable only after a second or two,
		// once it has asked whether anybody else has it.
		must(t, "IPv6 on "+name, netlink.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE))
		must(t, name, netlink.LinkSetUp(link))
	}
	for name, address := range map[string]string{one: "fe80::1/64", other: "fe80::2/64"} {
		// Until the kernel has seen the cable it drops what is sent there.
		wait(t, name, func() bool { return find(t, name).Attrs().OperState == netlink.OperUp })
		addAddress(t, name, netip.MustParsePrefix(address))
	}
	return netip.MustParseAddr("fe80::1").WithZone(one), netip.MustParseAddr("fe80::2").WithZone(other)
}

// addAddress gives an interface that is up an address of a network, and waits until
// datagrams to it arrive.
func addAddress(t *testing.T, link string, address netip.Prefix) {
	t.Helper()
	ip := address.Addr()
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(address.Bits(), ip.BitLen())}}
	if ip.Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	must(t, "address "+address.String()+" on "+link, netlink.AddrAdd(find(t, link), a))
	// The kernel adds the route of an IPv6 address a moment later.
	wait(t, "route to "+ip.String(), func() bool {
		routes, err := netlink.RouteGetWithOptions(ip.AsSlice(), &netlink.RouteGetOptions{Oif: link})
		return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
	})
}

// SetMTU sets the largest packet that an interface sends, in bytes.
func SetMTU(t *testing.T, link string, mtu int) {
	t.Helper()
	must(t, "MTU of "+link, netlink.LinkSetMTU(find(t, link), mtu))
}

// SilentLink makes an interface with the address 192.0.2.1, whose neighbors 192.0.2.2
// to 192.0.2.254 never answer. The kernel keeps what is sent to each, up to 208 KiB
// (net.ipv4.neigh unres_qlen_bytes), which counts against the sender's buffer.
func SilentLink(t *testing.T) {
	t.Helper()
	Veth(t, "near", "far")
	addAddress(t, "near", netip.MustParsePrefix("192.0.2.1/24"))
	index := find(t, "near").Attrs().Index
	for i := byte(2); i < 255; i++ {
		// An entry of this kind does not depend on room in the table of neighbors,
		// which the whole machine shares.
		must(t, "neighbor", netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: index, IP: net.IPv4(192, 0, 2, i), State: netlink.NUD_INCOMPLETE, Flags: netlink.NTF_EXT_LEARNED,
		}))
	}
}

func find(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, name, err)
	return link
}

// wait waits until something is there that the kernel sets up on its own.
func wait(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not there after a minute", what)
		}
	}
}
