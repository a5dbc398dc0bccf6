package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/kit/program"
)

func TestTheStartWaitsForNamesThatAppear(t *testing.T) {
	for _, before := range []string{"no such host", servfail} {
		t.Run("after "+before, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := labNames()
				n.remove("two")
				if before == servfail {
					n.set("two", servfail)
				}
				n.setIn(startPatience-startPause-time.Millisecond, "two", "192.0.2.2")
				l := newLab(t, "server1=one:1,server2=two:2", n, Probe{})
				began := time.Now()
				if err := l.Resolve(t.Context()); err != nil {
					t.Fatal(err)
				}
				l.expectTurns(t, "both are there", "1212")
				if took := time.Since(began); took > startPatience {
					t.Errorf("it took %v", took)
				}
				l.expectEvents(t)
			})
		})
	}
}

func TestTheStartDoesNotWaitWhenAllNamesResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		threeUp(t, Probe{})
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestANameThatDoesNotResolveAtTheStartHasItsPlaceAndIsDownUntilItDoes(t *testing.T) {
	for _, tt := range []struct{ resolver, reason string }{
		{"", "its name does not resolve: no such host"},
		{servfail, "its name does not resolve: server misbehaving"},
		{silence, "its name does not resolve: i/o timeout"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := labNames()
				n.remove("two")
				if tt.resolver != "" {
					n.set("two", tt.resolver)
				}
				l := newLab(t, "server1=one:1,server2=two:2,server3=three:3", n, Probe{})
				began := time.Now()
				if err := l.Resolve(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != startPatience {
					t.Errorf("it waited %v, want %v", took, startPatience)
				}
				l.watch(t)
				l.expectTurns(t, "its turns go to the next", "13131")
				if got := l.reason(1); got != tt.reason {
					t.Errorf("it is down because %q", got)
				}
				time.Sleep(4 * time.Second)
				l.expectTurns(t, "there is nowhere to try it", "3131")
				n.set("two", "192.0.2.2")
				time.Sleep(l.ResolveInterval + lookTime)
				l.expectTurns(t, "nothing speaks against it any more", "2312")
				l.expectEvents(t, "server2 down "+tt.reason, "server2 up")
			})
		})
	}
}

func TestAServerThatAppearsLateHasToAnswerProbesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := labNames()
		n.remove("two")
		server := &fakeServer{}
		l := newLab(t, "server1=one:1,server2=two:2", n, server.probe())
		if err := l.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.watch(t)
		n.set("two", "192.0.2.2")
		for !l.Addr(1).IsValid() {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		l.expectTurns(t, "one answer is not enough", "1111")
		if got := l.reason(1); got != notHeardOf.Reason {
			t.Errorf("it is down because %q", got)
		}
		time.Sleep(time.Second)
		l.expectTurns(t, "two are", "2121")
	})
}

func TestWhenNobodyResolvesTheBalancerWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := labNames()
		n.remove("one")
		n.remove("two")
		l := newLab(t, "server1=one:1,server2=two:2", n, Probe{})
		if err := l.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.watch(t)
		l.expectTurns(t, "no turn is taken", "")
		n.set("two", "192.0.2.2")
		time.Sleep(l.ResolveInterval)
		l.expectTurns(t, "one is enough", "222")
		n.set("one", "192.0.2.1")
		time.Sleep(l.ResolveInterval)
		l.expectTurns(t, "and it has kept its place", "1212")
	})
}

func TestAStopDuringTheStartEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := labNames()
		n.set("two", silence)
		began := time.Now()
		err := newLab(t, "server2=two:2,server3=nowhere:3", n, Probe{}).Resolve(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("returned %v after %v", err, time.Since(began))
		}
	})
}

func TestServersThatCannotBeWhereTheyAreAreNamedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := labNames()
		n.set("uno", "192.0.2.1")
		n.set("me", itself.Addr().String())
		err := newLab(t, "a=one:1,b=uno:1,c=nowhere:1,d=me:2,e=192.0.2.1:1", n, Probe{}).Resolve(t.Context())
		want := `BALANCER_BACKENDS="b=uno:1": want an address of its own; a=one:1 is at 192.0.2.1:1 too
BALANCER_BACKENDS="d=me:2": want another address than 192.0.2.99:2, the balancer's own (BALANCER_LISTEN)
BALANCER_BACKENDS="e=192.0.2.1:1": want an address of its own; a=one:1 is at 192.0.2.1:1 too`
		if err == nil || err.Error() != want || program.ExitCode(err) != 2 {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	})
}

func TestNamesAreResolvedEveryTwoSecondsAndAtOnceOnARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		l.watch(t)
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if got := l.names.timesAsked("two"); got != 1+10 {
			t.Errorf("asked %d times in 21 s, want once at the start and 10 times more", got)
		}
		l.names.set("two", "192.0.2.22")
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		synctest.Wait() // no time passes
		if got := l.Addr(1).String(); got != "192.0.2.22:2" {
			t.Errorf("after a refusal it is still at %s", got)
		}
		l.expectTurns(t, "at its new place it is tried at once", "12?31")
	})
}

func TestANameThatIsSlowToResolveHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		l.watch(t)
		l.names.set("one", silence)
		l.names.set("two", "192.0.2.22")
		time.Sleep(l.ResolveInterval)
		synctest.Wait()
		if got := l.Addr(1).String(); got != "192.0.2.22:2" {
			t.Errorf("server2 is still at %s", got)
		}
		l.names.set("one", "192.0.2.11")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := l.Addr(0).String(); got != "192.0.2.11:1" {
			t.Errorf("the slow look-up has not been given up: server1 is still at %s", got)
		}
	})
}

func TestAMovedBackendKeepsItsPlaceAndItsOldAddressForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		l.watch(t)
		old := l.Addr(1)
		l.names.set("two", "192.0.2.22")
		time.Sleep(l.ResolveInterval)
		synctest.Wait()
		if got := l.Addr(1).String(); got != "192.0.2.22:2" {
			t.Errorf("backend 2 is at %s", got)
		}
		if i, current, ok := l.Owner(old); i != 1 || current || !ok {
			t.Errorf("the old address is %d's, current %v, known %v", i, current, ok)
		}
		l.expectTurns(t, "it kept its place", "1231")
		time.Sleep(oldFor - time.Second)
		synctest.Wait()
		if _, _, ok := l.Owner(old); !ok {
			t.Error("the old address is forgotten within the minute")
		}
		time.Sleep(time.Second + l.ResolveInterval)
		synctest.Wait()
		if _, _, ok := l.Owner(old); ok {
			t.Error("the old address is still known after a minute")
		}
		l.expectEvents(t, "server2 moved")
	})
}

func TestABackendThatMovesAgainAndAgainIsRememberedAtItsLastPlacesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		defer l.close()
		for k := range 200 {
			l.names.set("two", fmt.Sprintf("198.51.100.%d", k))
			l.lookAgain(t.Context(), 1)
		}
		known := 0
		for k := range 199 {
			if _, current, ok := l.Owner(netip.MustParseAddrPort(fmt.Sprintf("198.51.100.%d:2", k))); ok && !current {
				known++
				if k < 199-oldMax {
					t.Errorf("place %d of 200 is still known", k)
				}
			}
		}
		if known != oldMax {
			t.Errorf("%d old places are known, want %d", known, oldMax)
		}
		if n := len(l.directory.Load().owners); n != 3+oldMax {
			t.Errorf("the directory has %d addresses", n)
		}
	})
}

func TestABackendWhoseNameIsGoneIsDownUntilTheNameIsBack(t *testing.T) {
	for _, tt := range []struct {
		back   string
		events []string
	}{
		{"192.0.2.2", []string{"server2 down its name is gone", "server2 up"}},
		{"192.0.2.22", []string{"server2 down its name is gone", "server2 moved", "server2 up"}},
	} {
		t.Run("at "+tt.back, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := threeUp(t, Probe{})
				l.watch(t)
				l.names.remove("two")
				time.Sleep(l.ResolveInterval)
				l.expectTurns(t, "its turns go to the next", "1313")
				if l.Addr(1).IsValid() {
					t.Errorf("it is at %v", l.Addr(1))
				}
				time.Sleep(2 * trialAfter)
				l.expectTurns(t, "there is nowhere to try it", "1313")
				l.names.set("two", tt.back)
				time.Sleep(l.ResolveInterval)
				l.expectTurns(t, "it is tried at once", "12?31")
				if got := l.reason(1); got != notHeardOf.Reason {
					t.Errorf("it is down because %q", got)
				}
				l.Answered(1, l.Addr(1))
				l.expectTurns(t, "it answered", "231")
				l.expectEvents(t, tt.events...)
			})
		})
	}
}

func TestABackendThatIsGoneWhileItIsAboutToBeTriedIsNotTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		defer l.close()
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		time.Sleep(trialAfter) // its turn is due
		synctest.Wait()
		l.names.remove("two")
		l.lookAll(t)
		l.expectTurns(t, "it has no address", "1313")
	})
}

func TestWhenTheResolverItselfFailsTheLastAddressIsKept(t *testing.T) {
	for _, failure := range []string{servfail, silence} {
		t.Run(failure, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := threeUp(t, Probe{})
				l.watch(t)
				had := l.Addr(1)
				l.names.set("two", failure)
				time.Sleep(time.Minute)
				synctest.Wait()
				if l.Addr(1) != had || !l.Up(1) {
					t.Errorf("now at %v, up %v", l.Addr(1), l.Up(1))
				}
				l.expectEvents(t)
			})
		})
	}
}

// Docker gives the address of a stopped container to the next one that starts,
// which may be another server's, while its own name fails rather than vanishes.
func TestAnAddressThatTwoBackendsClaimIsTheLaterOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "server1=one:7,server2=two:7,server3=three:7", labNames(), Probe{})
		if err := l.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.watch(t)
		contested := netip.MustParseAddrPort("192.0.2.2:7")
		owner := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if i, current, ok := l.Owner(contested); i != want || !current || !ok {
				t.Errorf("%s: it is %d's, current %v, known %v", when, i, current, ok)
			}
		}
		l.names.set("two", servfail)      // stopped, and
		l.names.set("three", "192.0.2.2") // what was server3 starts there
		for range 5 {                     // and nothing goes to and fro
			time.Sleep(l.ResolveInterval)
			owner("three came later", 2)
			l.expectTurns(t, "server2 has no address", "1313")
		}
		if got := l.reason(1); got != "its address is server3's now" {
			t.Errorf("server2 is down because %q", got)
		}
		l.names.set("two", "192.0.2.2") // its name is answered again, with the old address
		time.Sleep(l.ResolveInterval)
		owner("server2 claims nothing new", 2)
		l.names.set("two", "192.0.2.22")
		time.Sleep(l.ResolveInterval)
		l.expectTurns(t, "server2 has a place of its own", "12?31")
		l.Answered(1, l.Addr(1))
		l.names.set("two", "192.0.2.2")
		time.Sleep(l.ResolveInterval)
		owner("two came later", 1)
		l.expectTurns(t, "server3 has lost its address", "2121")
		l.names.remove("two")
		time.Sleep(2 * l.ResolveInterval)
		owner("nobody else claims it", 2)
		l.expectEvents(t, "server2 down its address is server3's now", "server3 moved",
			"server2 moved", "server2 up", "server3 down its address is server2's now",
			"server2 moved", "server2 down its name is gone")
	})
}

func TestAnAddressThatWasLeftIsWhoeversComesThere(t *testing.T) {
	l := newLab(t, "server1=one:7,server2=two:7,server3=three:7", labNames(), Probe{})
	defer l.close()
	if err := l.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.names.set("three", "192.0.2.33")
	l.lookAll(t)
	l.names.set("two", "192.0.2.3") // where three was
	l.lookAll(t)
	left := netip.MustParseAddrPort("192.0.2.3:7")
	if i, current, ok := l.Owner(left); i != 1 || !current || !ok {
		t.Errorf("it is %d's, current %v, known %v", i, current, ok)
	}
	l.names.set("two", "192.0.2.2")
	l.lookAll(t)
	if i, current, ok := l.Owner(left); i != 1 || current || !ok {
		t.Errorf("late replies from there are %d's, current %v, known %v: want those of who left last", i, current, ok)
	}
}

func TestABackendThatBecomesTheBalancerItselfIsDownAndNeverServed(t *testing.T) {
	for name, probe := range map[string]Probe{"without probes": {}, "with probes": (&fakeServer{}).probe()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := threeUp(t, probe)
				l.watch(t)
				l.names.set("two", itself.Addr().String())
				time.Sleep(10 * time.Second)
				l.expectTurns(t, "it has no turn, not even to try it", "131313")
				if _, _, known := l.Owner(itself); known || l.Addr(1).IsValid() {
					t.Errorf("the balancer takes itself for a server, at %v", l.Addr(1))
				}
				if got := l.reason(1); got != "its name leads to the balancer itself" {
					t.Errorf("it is down because %q", got)
				}
				l.names.set("two", "192.0.2.2")
				time.Sleep(l.ResolveInterval + 2*time.Second)
				synctest.Wait()
				if probe.Payload == "" {
					l.Answered(1, l.Addr(1))
				}
				l.expectTurns(t, "it is back where it was", "123")
			})
		})
	}
}

func TestOfSeveralAddressesTheOneItHadThenTheFirstOfIPv4(t *testing.T) {
	l := threeUp(t, Probe{})
	defer l.close()
	for _, step := range []struct{ addrs, want string }{
		{"2001:db8::2 192.0.2.20 192.0.2.21", "192.0.2.20:2"},
		{"2001:db8::2 192.0.2.21 192.0.2.20", "192.0.2.20:2"},
		{"0.0.0.0 :: 224.0.0.1 ::ffff:192.0.2.23", "192.0.2.23:2"},
		{"2001:db8::2 2001:db8::3", "[2001:db8::2]:2"},
		{"2001:db8::3 2001:db8::2 192.0.2.20", "[2001:db8::2]:2"},
		{"0.0.0.0", "invalid AddrPort"},
	} {
		l.names.set("two", step.addrs)
		l.lookAll(t)
		if got := l.Addr(1).String(); got != step.want {
			t.Errorf("of %s it chose %s, want %s", step.addrs, got, step.want)
		}
	}
}

func TestWhatTheSystemsResolverSaysOfANameThatThereIsNot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := systemLookup(ctx, "no..such") // answered without a network
	if !gone(err) || reason(err) != "no such host" {
		t.Errorf("%v: gone %v, reason %q", err, gone(err), reason(err))
	}
	addrs, err := systemLookup(ctx, "localhost")
	if err != nil || len(addrs) == 0 {
		t.Errorf("localhost: %v, %v", addrs, err)
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

// Whatever the resolver says in whatever order, no two backends are at one
// address, none is at the balancer's, and who has no address has no turn.
func FuzzLearn(f *testing.F) {
	f.Add([]byte{0x01, 0x12, 0x21, 0x0f, 0x1f})
	f.Add([]byte("123 two claims, one gone, and back again"))
	places := []string{"", servfail, itself.Addr().String(), "192.0.2.1", "192.0.2.2", "192.0.2.3", "0.0.0.0", "192.0.2.3 192.0.2.1"}
	f.Fuzz(func(t *testing.T, steps []byte) {
		n := labNames()
		l := newLab(t, "server1=one:2,server2=two:2,server3=three:2", n, Probe{})
		defer l.close()
		if err := l.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, step := range steps[:min(len(steps), 200)] {
			i := int(step>>4) % 3
			host := l.Servers[i].Host
			if place := places[int(step&15)%len(places)]; place != "" {
				n.set(host, place)
			} else {
				n.remove(host)
			}
			l.lookAgain(t.Context(), i)
			seen := map[netip.AddrPort]int{}
			for j := range l.Servers {
				addr := l.Addr(j)
				if other, twice := seen[addr]; addr.IsValid() && twice {
					t.Fatalf("servers %d and %d are both at %v", other, j, addr)
				}
				seen[addr] = j
				if o, current, ok := l.Owner(addr); addr.IsValid() && (o != j || !current || !ok) {
					t.Fatalf("server %d is at %v, which is %d's (current %v, known %v)", j, addr, o, current, ok)
				}
				if !addr.IsValid() && (l.Up(j) || strings.Contains(l.turns(6), fmt.Sprint(j+1))) {
					t.Fatalf("server %d has no address and has turns", j)
				}
			}
			if _, ok := seen[itself]; ok {
				t.Fatal("a server is at the balancer's own address")
			}
		}
	})
}
