package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheStartWaitsForNamesThatAppear(t *testing.T) {
	for _, after := range []time.Duration{0, startPause, startWait - startPause} {
		synctest.Test(t, func(t *testing.T) {
			n := labNames()
			if after > 0 {
				n.set("two", nxdomain)
				time.AfterFunc(after-time.Millisecond, func() { n.set("two", "192.0.2.2") })
			}
			l := newLab(t, "server1=one:7,server2=two:7", n, Probe{})
			began := time.Now()
			l.resolve(t)
			if took := time.Since(began); took != after {
				t.Errorf("it took %v, want %v", took, after)
			}
			l.expect(t, "both are there", "++", "server1 at 192.0.2.1:7", "server2 at 192.0.2.2:7")
		})
	}
}

func TestANameThatDoesNotResolveAtTheStartHasItsPlaceAndIsDownUntilItDoes(t *testing.T) {
	trusted := []string{"server2 at 192.0.2.2:7, up"}
	probed := []string{"server2 at 192.0.2.2:7, down: " + unheard, "server2 up"}
	for _, tt := range []struct {
		resolver, reason string
		probe            Probe
		back             []string
	}{
		{nxdomain, "no such host", Probe{}, trusted},
		{servfail, "server misbehaving", Probe{}, trusted},
		{silence, "i/o timeout", Probe{}, trusted},
		{nxdomain, "no such host", (&fakeServer{}).probe(), probed},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := labNames()
			n.set("two", tt.resolver)
			l := newLab(t, "server1=one:7,server2=two:7", n, tt.probe)
			began := time.Now()
			l.resolve(t)
			if took := time.Since(began); took != startWait {
				t.Errorf("it waited %v, want %v", took, startWait)
			}
			l.expect(t, "the other is there", "+-", "server1 at 192.0.2.1:7", "server2 down: its name does not resolve: "+tt.reason)
			l.watch(t)
			l.play(t,
				step{"", time.Hour, "+-", nil}, // there is nowhere to try it
				step{"two=192.0.2.2", interval + lookUpTime, "++", tt.back})
		})
	}
}

func TestAStopDuringTheStartEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := labNames()
		n.set("two", silence)
		began := time.Now()
		err := newLab(t, "server2=two:7,server3=nowhere:7", n, Probe{}).Resolve(ctx, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("returned %v after %v", err, time.Since(began))
		}
	})
}

func TestServersThatCannotBeWhereTheyAreAreNamedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := labNames()
		n.set("uno", "192.0.2.1")
		n.set("me", self.Addr().String())
		want := `b=uno:7: an address of its own; a=one:7 is at 192.0.2.1:7 too
d=me:7: another address than 192.0.2.99:7, the balancer's own
e=192.0.2.1:7: an address of its own; a=one:7 is at 192.0.2.1:7 too
`
		got := ""
		l := newLab(t, "a=one:7,b=uno:7,c=nowhere:7,d=me:7,e=192.0.2.1:7", n, Probe{})
		if err := l.Resolve(t.Context(), func(entry, want string) { got += entry + ": " + want + "\n" }); err != nil || got != want {
			t.Errorf("%v, got\n%swant\n%s", err, got, want)
		}
	})
}

func TestAServerIsKnownForAMinuteAtItsLastFormerAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		expect := func(when, addr, want string) {
			t.Helper()
			got := ""
			if b, current := l.Owner(netip.MustParseAddrPort(addr + ":7")); b != nil {
				got = fmt.Sprintf("%s, current %v", b.Name, current)
			}
			if got != want {
				t.Errorf("%s: %s is %q's, want %q", when, addr, got, want)
			}
		}
		for _, step := range []struct{ host, addr, want string }{
			{"three", "192.0.2.33", "server3, current false"},
			{"two", "192.0.2.3", "server2, current true"}, // where three was
			{"two", "192.0.2.22", "server2, current false"},
		} {
			l.names.set(step.host, step.addr)
			l.lookUpAll(t)
			expect(step.host+" went to "+step.addr, "192.0.2.3", step.want)
		}
		time.Sleep(formerFor - 1)
		l.lookUpAll(t)
		expect("within the minute", "192.0.2.3", "server2, current false")
		time.Sleep(time.Nanosecond)
		l.lookUpAll(t)
		expect("after the minute", "192.0.2.3", "")
	})
}

func TestOfSeveralAddressesTheOneItHadThenTheFirstOfIPv4(t *testing.T) {
	l := threeUp(t, Probe{})
	for _, step := range []struct{ addrs, want string }{
		{"2001:db8::2 192.0.2.20 192.0.2.21", "192.0.2.20:7"},
		{"2001:db8::2 192.0.2.21 192.0.2.20", "192.0.2.20:7"},
		{"0.0.0.0 :: 224.0.0.1 ::ffff:192.0.2.23", "192.0.2.23:7"},
		{"2001:db8::2 2001:db8::3", "[2001:db8::2]:7"},
		{"2001:db8::3 2001:db8::2 192.0.2.20", "[2001:db8::2]:7"},
		{"0.0.0.0", "invalid AddrPort"},
	} {
		l.names.set("two", step.addrs)
		l.lookUpAll(t)
		if got := l.now(2).Addr.String(); got != step.want {
			t.Errorf("of %s it chose %s, want %s", step.addrs, got, step.want)
		}
	}
}

func TestWhatTheSystemsResolverSaysOfANameThatThereIsNot(t *testing.T) {
	_, err := New(Config{}).Lookup(t.Context(), "ip", "no..such") // answered without a network
	if !notFound(err) || reason(err) != "no such host" {
		t.Errorf("%v: not found %v, reason %q", err, notFound(err), reason(err))
	}
}

func TestTheZoneOfAnAddressIsTheNumberOfItsInterface(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) == 0 {
		t.Skip("no network interface is known here")
	}
	i := interfaces[0]
	if got, want := numberedZone(netip.MustParseAddr("fe80::1").WithZone(i.Name)).Zone(), fmt.Sprint(i.Index); got != want {
		t.Errorf("zone %s became %s, want %s", i.Name, got, want)
	}
	for _, same := range []string{"fe80::1%7", "fe80::1", "127.0.0.1"} {
		if got := numberedZone(netip.MustParseAddr(same)).String(); got != same {
			t.Errorf("%s became %s", same, got)
		}
	}
}

// Whatever the resolver says in whatever order, every snapshot is what the lab
// demands: no two servers at one address, none at the balancer's, and one that is
// nowhere is down.
func FuzzLearn(f *testing.F) {
	f.Add([]byte{0x01, 0x12, 0x21, 0x0f, 0x1f})
	f.Add([]byte("123 two claims, one gone, and back again"))
	places := []string{nxdomain, servfail, self.Addr().String(), "192.0.2.1", "192.0.2.2", "192.0.2.3", "0.0.0.0", "192.0.2.3 192.0.2.1"}
	f.Fuzz(func(t *testing.T, steps []byte) {
		l := threeUp(t, Probe{})
		for _, step := range steps[:min(len(steps), 200)] {
			b := l.members[int(step>>4)%3]
			l.names.set(b.server.Host, places[int(step&15)%len(places)])
			l.lookUpAgain(t.Context(), b)
		}
	})
}
