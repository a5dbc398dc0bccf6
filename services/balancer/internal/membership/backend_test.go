package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that the test can change at any time.
type names struct {
	mu    sync.Mutex
	table map[string]string // host to addresses, or to one of the words below
	asked map[string]int    // how often
}

// What a resolver can say instead of addresses.
const (
	servfail = "SERVFAIL"
	silence  = "silence" // until the one who asks gives up
)

func (n *names) set(host, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table[host] = addr
}

// setIn is set after a while.
func (n *names) setIn(wait time.Duration, host, addr string) {
	time.AfterFunc(wait, func() { n.set(host, addr) })
}

func (n *names) remove(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.table, host)
}

func (n *names) timesAsked(host string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[host]
}

func (n *names) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	addrs, known := n.table[host]
	n.asked[host]++
	n.mu.Unlock()
	switch {
	case !known:
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case addrs == servfail:
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	case addrs == silence:
		<-ctx.Done()
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true, IsTemporary: true}
	}
	var list []netip.Addr
	for a := range strings.SplitSeq(addrs, " ") {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// lab is a set of backends under a fake resolver.
type lab struct {
	*Set
	names *names
}

// labNames resolves one, two and three.
func labNames() *names {
	return &names{table: map[string]string{"one": "192.0.2.1", "two": "192.0.2.2", "three": "192.0.2.3"}, asked: map[string]int{}}
}

// itself is the balancer's own address.
var itself = netip.MustParseAddrPort("192.0.2.99:2")

// newLab is a lab of these backends that has not been resolved.
func newLab(t *testing.T, backends string, n *names, probe Probe) lab {
	t.Helper()
	var list List
	if err := list.UnmarshalText([]byte(backends)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, server := range list {
		names = append(names, server.Name)
	}
	return lab{New(Config{
		Servers: list, ResolveInterval: 2 * time.Second, Probe: probe, Lookup: n.lookup,
		Itself:   func(addr netip.AddrPort) bool { return addr == itself },
		Rotation: balancing.New(len(list), balancing.Skip),
		Ledger:   ledger.New(names, time.Second, time.Now()),
	}), n}
}

// threeUp is a lab of server1, server2 and server3 at one:1, two:2 and three:3.
func threeUp(t *testing.T, probe Probe) lab {
	t.Helper()
	l := newLab(t, "server1=one:1,server2=two:2,server3=three:3", labNames(), probe)
	if err := l.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// watch runs the lab until the test ends.
func (l lab) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// lookAll resolves every name once, as watching does.
func (l lab) lookAll(t *testing.T) {
	for i := range l.Servers {
		l.lookAgain(t.Context(), i)
	}
}

// turns takes n turns as the data path would and shows whose they are, trials
// with a ?.
func (l lab) turns(n int) (out string) {
	turns := make([]balancing.Turn, n)
	for _, turn := range turns[:l.Rotation.Take(turns)] {
		out += fmt.Sprint(turn.Backend + 1)
		if turn.Trial {
			out += "?"
			l.Tried(turn.Backend)
		}
	}
	return out
}

// expectTurns takes as many turns as there are digits.
func (l lab) expectTurns(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	n := len(strings.ReplaceAll(want, "?", ""))
	if want == "" {
		n = 3
	}
	if got := l.turns(n); got != want {
		t.Fatalf("%s: turns %q, want %q", when, got, want)
	}
}

// expectEvents compares all that the ledger says has happened.
func (l lab) expectEvents(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	events, _ := l.Ledger.Events(0)
	for _, e := range events {
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Backend, " ", e.Kind, " ", e.Reason)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// reason is why the ledger says that a backend is down; empty: it is up.
func (l lab) reason(i int) string {
	return l.Ledger.Snapshot(time.Now()).Backends[i].Reason
}

func TestARefusedBackendIsPassedOverAndTriedAgainAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		defer l.close()
		l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
		l.expectTurns(t, "from the next datagram on", "1313")
		time.Sleep(trialAfter - time.Millisecond)
		l.expectTurns(t, "just before two seconds", "13")
		time.Sleep(time.Millisecond)
		l.expectTurns(t, "one turn tries it", "12?31")
		l.expectTurns(t, "and no more than one", "3131")
		time.Sleep(trialAfter)
		l.expectTurns(t, "and one more after two seconds of silence", "2?313")
		l.Answered(1, l.Addr(1))
		l.expectTurns(t, "a reply brings it back", "1231")
		time.Sleep(2 * trialAfter)
		l.expectTurns(t, "and it stays", "231")
		l.expectEvents(t, "server2 down connection refused", "server2 up")
	})
}

func TestATurnWithoutAReplyIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		l.watch(t)
		for range 100 {
			l.expectTurns(t, "all three have their turns, though nobody answers", "123123123")
			time.Sleep(time.Second)
		}
		l.expectEvents(t)
	})
}

func TestTheReasonIsTheNewestEvidence(t *testing.T) {
	l := threeUp(t, Probe{Payload: "healthcheck"})
	defer l.close()
	for _, evidence := range []error{syscall.EHOSTUNREACH, syscall.ECONNREFUSED} {
		l.Refused(1, l.Addr(1), evidence)
	}
	if got := l.reason(1); got != "connection refused" {
		t.Errorf("it is down because of %q", got)
	}
	l.names.remove("two")
	l.lookAll(t)
	if got := l.reason(1); got != "its name is gone" {
		t.Errorf("it is down because of %q", got)
	}
	l.expectEvents(t, "server2 down host unreachable") // it went down once
}

func TestEvidenceFromAnAddressThatABackendLeftDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := threeUp(t, Probe{})
		defer l.close()
		old := l.Addr(1)
		l.names.set("two", "192.0.2.22")
		l.lookAll(t)
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

func TestEvidenceAfterTheEndChangesNothing(t *testing.T) {
	l := threeUp(t, Probe{})
	l.Refused(0, l.Addr(0), syscall.ECONNREFUSED)
	l.close()
	l.Answered(0, l.Addr(0))
	l.Refused(1, l.Addr(1), syscall.ECONNREFUSED)
	l.Tried(0)
	l.learn(2, netip.AddrPort{}, &net.DNSError{IsNotFound: true})
	if l.Up(0) || !l.Up(1) || !l.Up(2) {
		t.Errorf("up: %v %v %v", l.Up(0), l.Up(1), l.Up(2))
	}
}

// Many goroutines tell what they see and ask where to send, as the data path
// does, while names change. The race detector and goleak look on.
func TestEvidenceFromEverywhereAtOnce(t *testing.T) {
	l := threeUp(t, Probe{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	for w := range 4 {
		wg.Go(func() {
			for k := range 500 {
				i := (w + k) % 3
				addr := l.Addr(i)
				switch l.Owner(addr); k % 4 {
				case 0:
					l.Refused(i, addr, syscall.ECONNREFUSED)
				case 1:
					l.turns(2)
				case 2:
					l.Answered(i, addr)
				case 3:
					l.names.set("two", fmt.Sprintf("192.0.2.%d", 2+k%20*10))
					l.lookAgain(ctx, 1)
				}
			}
		})
	}
	wg.Go(func() {
		for range 500 {
			d := l.directory.Load()
			for i, addr := range d.addrs {
				if o := d.owners[addr]; addr.IsValid() && (o.backend != i || !o.current) {
					t.Errorf("%v is backend %d's, its owner is said to be %+v", addr, i, o)
					return
				}
			}
		}
		cancel()
	})
	wg.Wait()
	if n := len(l.members[1].old); n > oldMax {
		t.Errorf("%d old addresses are kept", n)
	}
}
