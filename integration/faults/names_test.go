package faults

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestNamesAreWhatTheyWereSetToOrGoneOrUnknown(t *testing.T) {
	n := ServeNames(t, "127.0.0.1:0")
	asking := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
	expect := func(name, want string, patience time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		got := "unknown"
		addrs, err := asking.LookupNetIP(ctx, "ip", name+domain)
		if failed := (*net.DNSError)(nil); errors.As(err, &failed) && failed.IsNotFound {
			got = "not found"
		} else if len(addrs) == 1 {
			got = addrs[0].String()
		}
		if got != want {
			t.Errorf("%s is %s (%v), want %s", name, got, err, want)
		}
	}
	here, there := netip.MustParseAddr("127.0.0.11"), netip.MustParseAddr("127.0.0.12")
	expect("server1", "not found", time.Minute)
	n.Set(map[string]netip.Addr{"server1": here, "server2": there})
	expect("server1", "127.0.0.11", time.Minute)
	n.Set(map[string]netip.Addr{"server1": {}})
	expect("server1", "not found", time.Minute)
	expect("SERVER2", "127.0.0.12", time.Minute)
	n.Silence(true)
	expect("server2", "unknown", 50*time.Millisecond)
	n.Silence(false)
	expect("server2", "127.0.0.12", time.Minute)
	for _, garbage := range []string{"", "hello", "\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if answer := n.answer([]byte(garbage)); answer != nil {
			t.Errorf("%q is answered by %q", garbage, answer)
		}
	}
}
