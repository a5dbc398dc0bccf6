package faults

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// asking is a resolver of Go's that asks nobody but these names.
func asking(n *Names) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func TestNamesAreWhatTheyWereSetToOrGoneOrUnknown(t *testing.T) {
	n, err := ServeNames("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	here, there := netip.MustParseAddr("127.0.0.11"), netip.MustParseAddr("127.0.0.12")
	look := func(name string, patience time.Duration) (netip.Addr, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		addrs, err := asking(n).LookupNetIP(ctx, "ip", name+Domain)
		if len(addrs) != 1 {
			return netip.Addr{}, err
		}
		return addrs[0], err
	}
	expect := func(name string, want netip.Addr) {
		t.Helper()
		if got, err := look(name, 10*time.Second); err != nil || got != want {
			t.Errorf("%s is at %v (%v), want %v", name, got, err, want)
		}
	}
	expectGone := func(name string) {
		t.Helper()
		var failed *net.DNSError
		if got, err := look(name, 10*time.Second); !errors.As(err, &failed) || !failed.IsNotFound {
			t.Errorf("%s is at %v (%v), want it not found", name, got, err)
		}
	}

	expectGone("server1")
	n.Set(map[string]netip.Addr{"server1": here, "server2": there})
	expect("server1", here)
	expect("SERVER2", there)
	n.Set(map[string]netip.Addr{"server1": there, "server2": here})
	expect("server1", there)
	n.Set(map[string]netip.Addr{"server1": {}})
	expectGone("server1")
	expect("server2", here)

	n.Silence(true)
	var failed *net.DNSError
	if got, err := look("server2", 50*time.Millisecond); !errors.As(err, &failed) || failed.IsNotFound {
		t.Errorf("server2 is at %v (%v) of a silent resolver, want that nobody knows", got, err)
	}
	n.Silence(false)
	expect("server2", here)
}

func TestGarbageIsNotAnswered(t *testing.T) {
	n := &Names{}
	for _, query := range []string{"", "hello", "\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if answer, err := n.answer([]byte(query)); err == nil || answer != nil {
			t.Errorf("%q is answered by %q", query, answer)
		}
	}
}
