package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/rotation"
	"udplab/services/kit/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that the test can change at any time.
type names struct {
	mu    sync.Mutex
	table map[string]string // "": the resolver itself fails
}

func (n *names) set(host, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table[host] = addr
}

func (n *names) remove(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.table, host)
}

func (n *names) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addrs, known := n.table[host]
	switch {
	case !known:
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case addrs == "":
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	var list []netip.Addr
	for a := range strings.SplitSeq(addrs, " ") {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// lab is a set of three backends, one to three, under a fake resolver.
type lab struct {
	*Set
	names *names
}

func newLab(t *testing.T, probe Probe) lab {
	n := &names{table: map[string]string{"one": "192.0.2.1", "two": "192.0.2.2", "three": "192.0.2.3"}}
	var list List
	if err := list.UnmarshalText([]byte("server1=one:1,server2=two:2,server3=three:3")); err != nil {
		t.Fatal(err)
	}
	set, err := Resolve(t.Context(), Config{
		Servers: list, ResolveInterval: 2 * time.Second, Probe: probe, Lookup: n.lookup,
		Rotation: rotation.New(3, rotation.Skip),
		Ledger:   ledger.New([]string{"server1", "server2", "server3"}, time.Second, time.Now()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return lab{set, n}
}

// turns takes n turns as the data path would and shows whose they are, trials
// with a ?.
func (l lab) turns(n int) (out string) {
	turns := make([]rotation.Turn, n)
	for _, turn := range turns[:l.Rotation.Take(turns)] {
		out += fmt.Sprint(turn.Backend + 1)
		if turn.Trial {
			out += "?"
			l.Tried(turn.Backend)
		}
	}
	return out
}

func (l lab) events() (out []string) {
	events, _ := l.Ledger.Events(0)
	for _, e := range events {
		out = append(out, strings.TrimSpace(fmt.Sprint(e.Backend, " ", e.Kind, " ", e.Reason)))
	}
	return out
}

func TestARefusedBackendIsPassedOverAndTriedAgainAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Probe{})
		defer l.close()
		want := func(when string, n int, turns string) {
			t.Helper()
			synctest.Wait()
			if got := l.turns(n); got != turns {
				t.Fatalf("%s: %s, want %s", when, got, turns)
			}
		}
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		want("from the next datagram on", 4, "1313")
		time.Sleep(trialAfter - time.Millisecond)
		want("just before two seconds", 2, "13")
		time.Sleep(time.Millisecond)
		want("one turn tries it", 4, "12?31")
		want("and no more than one", 4, "3131")
		time.Sleep(trialAfter)
		want("and one more after two seconds of silence", 4, "2?313")
		l.Answered(1, l.Addr(1))
		want("a reply brings it back", 4, "1231")
		time.Sleep(2 * trialAfter)
		want("and it stays", 3, "231")
		if got := strings.Join(l.events(), ", "); got != "server2 down connection refused, server2 up" {
			t.Errorf("events: %s", got)
		}
	})
}

func TestEvidenceFromAnAddressThatABackendLeftDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Probe{})
		defer l.close()
		old := l.Addr(1)
		l.names.set("two", "192.0.2.22")
		l.lookAll(t.Context())
		l.Refused(1, old, syscall.ECONNREFUSED)
		if !l.Up(1) {
			t.Error("a refusal of the old address took the backend down")
		}
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		l.Answered(1, old)
		if l.Up(1) {
			t.Error("a late reply from the old address brought the backend up")
		}
	})
}

func TestAMovedBackendKeepsItsPlaceAndItsOldAddressForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Probe{})
		defer l.close()
		old := l.Addr(1)
		l.names.set("two", "192.0.2.22")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.Run(ctx) }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := l.Addr(1).String(); got != "192.0.2.22:2" {
			t.Errorf("backend 2 is at %s", got)
		}
		if i, current, ok := l.Owner(old); i != 1 || current || !ok {
			t.Errorf("the old address is %d's, current %v, known %v", i, current, ok)
		}
		if got := l.turns(4); got != "1231" {
			t.Errorf("turns %s", got)
		}
		time.Sleep(oldAddresses + 2*time.Second)
		synctest.Wait()
		if _, _, ok := l.Owner(old); ok {
			t.Error("the old address is still known after a minute")
		}
		cancel()
		<-done
		if got := strings.Join(l.events(), ", "); got != "server2 moved" {
			t.Errorf("events: %s", got)
		}
	})
}

func TestABackendWhoseNameIsGoneIsDownUntilTheNameIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Probe{})
		defer l.close()
		l.names.remove("two")
		l.lookAll(t.Context())
		if got := l.turns(4); got != "1313" || l.Addr(1).IsValid() {
			t.Fatalf("turns %s, address %v", got, l.Addr(1))
		}
		time.Sleep(2 * trialAfter) // there is nowhere to try it
		synctest.Wait()
		if got := l.turns(4); got != "1313" {
			t.Fatalf("turns %s", got)
		}
		l.names.set("two", "192.0.2.22")
		l.lookAll(t.Context())
		synctest.Wait()
		if got := l.turns(4); got != "12?31" {
			t.Fatalf("turns %s", got)
		}
		l.Answered(1, l.Addr(1))
		if got := strings.Join(l.events(), ", "); got != "server2 down its name is gone, server2 moved, server2 up" {
			t.Errorf("events: %s", got)
		}
	})
}

func TestWhenTheResolverItselfFailsTheLastAddressIsKept(t *testing.T) {
	l := newLab(t, Probe{})
	defer l.close()
	had := l.Addr(1)
	l.names.set("two", "")
	l.lookAll(t.Context())
	if l.Addr(1) != had || !l.Up(1) {
		t.Errorf("now at %v, up %v", l.Addr(1), l.Up(1))
	}
}

func TestOfSeveralAddressesTheOneItHadThenTheFirstOfIPv4(t *testing.T) {
	l := newLab(t, Probe{})
	defer l.close()
	l.names.set("two", "2001:db8::2 192.0.2.20 192.0.2.21")
	l.lookAll(t.Context())
	if got := l.Addr(1).String(); got != "192.0.2.20:2" {
		t.Errorf("chose %s", got)
	}
	l.names.set("two", "2001:db8::2 192.0.2.21 192.0.2.20")
	l.lookAll(t.Context())
	if got := l.Addr(1).String(); got != "192.0.2.20:2" {
		t.Errorf("left for %s", got)
	}
}

func TestAnAddressThatWentToAnotherBackendIsThatOnes(t *testing.T) {
	l := newLab(t, Probe{})
	defer l.close()
	l.names.set("three", "192.0.2.33")
	l.lookAll(t.Context())
	l.Servers[1].Port = "3"
	l.names.set("two", "192.0.2.3") // where three was
	l.lookAll(t.Context())
	if i, current, ok := l.Owner(netip.MustParseAddrPort("192.0.2.3:3")); i != 1 || !current || !ok {
		t.Errorf("it is %d's, current %v, known %v", i, current, ok)
	}
}

func TestProbesRiseAndFall(t *testing.T) {
	failed := errors.New("i/o timeout")
	for _, tt := range []struct {
		name   string
		probes []error
		up     bool
	}{
		{"two failures are not enough", []error{failed, failed}, true},
		{"three in a row are", []error{failed, failed, failed}, false},
		{"an answer in between starts over", []error{failed, failed, nil, failed, failed}, true},
		{"a refusal is enough at once", []error{syscall.ECONNREFUSED}, false},
		{"one answer does not bring it back", []error{syscall.ECONNREFUSED, nil}, false},
		{"two in a row do", []error{syscall.ECONNREFUSED, nil, nil}, true},
		{"two with a failure in between do not", []error{syscall.ECONNREFUSED, nil, failed, nil}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, Probe{Payload: "healthcheck", Rise: 2, Fall: 3})
			defer l.close()
			var tally streak
			for _, err := range tt.probes {
				l.judge(1, l.Addr(1), &tally, err)
			}
			if l.Up(1) != tt.up {
				t.Errorf("up is %v", l.Up(1))
			}
		})
	}
}

func TestWithProbesNoTurnIsGivenForATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Probe{Payload: "healthcheck", Rise: 2, Fall: 3})
		defer l.close()
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		time.Sleep(3 * trialAfter)
		synctest.Wait()
		if got := l.turns(4); got != "1313" {
			t.Errorf("turns %s", got)
		}
	})
}

func TestAProbeIsAnsweredRefusedOrTimedOut(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := server.LocalAddr().(*net.UDPAddr).AddrPort()
	asked := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			asked <- string(buf[:n])
			server.WriteToUDPAddrPort([]byte("HEALTHCHECK server1"), from)
		}
	}()
	p := Probe{Payload: "healthcheck", Timeout: 10 * time.Second}
	if err := p.ask(t.Context(), addr); err != nil {
		t.Errorf("answered: %v", err)
	}
	if got := <-asked; got != "healthcheck" {
		t.Errorf("asked %q", got)
	}
	server.Close()
	<-done
	if err := p.ask(t.Context(), addr); !udp.IsRefusal(err) {
		t.Errorf("refused: %v", err)
	}
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.Timeout = time.Millisecond
	if err := p.ask(t.Context(), silent.LocalAddr().(*net.UDPAddr).AddrPort()); err == nil || udp.IsRefusal(err) {
		t.Errorf("silent: %v", err)
	}
}

func TestBackendsThatDoNotResolveOrShareAnAddressAreNamed(t *testing.T) {
	n := &names{table: map[string]string{"one": "192.0.2.1", "uno": "192.0.2.1"}}
	var list List
	if err := list.UnmarshalText([]byte("a=one:1,b=uno:1,c=nowhere:1")); err != nil {
		t.Fatal(err)
	}
	_, err := Resolve(t.Context(), Config{Servers: list, Lookup: n.lookup})
	want := `BALANCER_BACKENDS="b=uno:1": want an address of its own; a=one:1 is at 192.0.2.1:1 too
BALANCER_BACKENDS="c=nowhere:1": want a name that resolves (lookup nowhere: no such host)`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
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

func TestTheStartWaitsForAResolverThatIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{table: map[string]string{"one": ""}}
		time.AfterFunc(time.Second, func() { n.set("one", "192.0.2.1") })
		_, err := Resolve(t.Context(), Config{
			Servers: List{{"a", "one", "1"}}, Lookup: n.lookup,
			Ledger: ledger.New([]string{"a"}, time.Second, time.Now()),
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestLists(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"server1=localhost:2526,server2=localhost:2527", "[server1=localhost:2526 server2=localhost:2527]"},
		{"localhost:1, localhost:2", "[server1=localhost:1 server2=localhost:2]"},
		{"a=[::1]:7", "[a=[::1]:7]"},
	} {
		var l List
		if err := l.UnmarshalText([]byte(tt.text)); err != nil || fmt.Sprint(l) != tt.want {
			t.Errorf("%s: %v, %v", tt.text, l, err)
		}
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", wantList},
		{"an empty entry", "a=x:1,,b=x:2", wantList},
		{"no port", "a=x", `"a=x": want name=host:port with a port from 1 to 65535`},
		{"port 0", "a=x:0", "port from 1 to 65535"},
		{"port too large", "a=x:65536", "port from 1 to 65535"},
		{"no host", "a=:1", "want name=host:port"},
		{"no name", "=x:1", "want a server's name"},
		{"a name with a space", "a b=x:1", "want a server's name"},
		{"a name with an escape sequence", "a\x1b[31m=x:1", "want a server's name"},
		{"a name that is no text", "a\xff=x:1", "want a server's name"},
		{"every address", "a=0.0.0.0:1", "want the address of one server"},
		{"a group of servers", "a=[ff02::1]:1", "want the address of one server"},
		{"the same name twice", "a=x:1,a=x:2", `"a=x:2": want each name and address once; a=x:1 has it already`},
		{"the same address twice", "a=x:1,b=X:1", "a=x:1 has it already"},
	} {
		var l List
		if err := l.UnmarshalText([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", tt.name, l, err)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add("server1=localhost:2526,[::1]:7,x=y:1")
	f.Add("=,=:,a=b=c:1")
	f.Fuzz(func(t *testing.T, text string) {
		var l, again List
		if l.UnmarshalText([]byte(text)) != nil {
			return
		}
		var entries []string
		for _, s := range l {
			entries = append(entries, s.String())
		}
		if err := again.UnmarshalText([]byte(strings.Join(entries, ","))); err != nil || fmt.Sprint(again) != fmt.Sprint(l) {
			t.Errorf("%q is %v, and then %v: %v", text, l, again, err)
		}
	})
}
