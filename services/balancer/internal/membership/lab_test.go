package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a resolver that the test can change at any time: hosts to addresses, or
// to one of the words below.
type names struct{ sync.Map }

// What a resolver can say instead of addresses.
const (
	nxdomain = ""
	servfail = "SERVFAIL"
	silence  = "silence" // until the one who asks gives up
)

// labNames resolves one, two and three.
func labNames() *names {
	n := new(names)
	n.set("one", "192.0.2.1")
	n.set("two", "192.0.2.2")
	n.set("three", "192.0.2.3")
	return n
}

func (n *names) set(host, addrs string) { n.Store(host, addrs) }

func (n *names) lookup(ctx context.Context, _, host string) (list []netip.Addr, err error) {
	addrs, known := n.Load(host)
	switch {
	case !known || addrs == nxdomain:
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case addrs == servfail:
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	case addrs == silence:
		<-ctx.Done()
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true, IsTemporary: true}
	}
	for a := range strings.SplitSeq(addrs.(string), " ") {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

// self is the balancer's own address.
var self = netip.MustParseAddrPort("192.0.2.99:7")

// lab is servers under a fake resolver, and what they have published.
type lab struct {
	*Members
	names *names

	mu       sync.Mutex
	resolved bool
	newest   *Snapshot
	copied   []Backend // its, when it was published
	changes  []string  // from one snapshot to the next, since the last expect
}

// newLab is a lab of these servers that has not been resolved. It is closed at the
// end of the test.
func newLab(t *testing.T, servers string, n *names, probe Probe) *lab {
	t.Helper()
	var list List
	if err := list.UnmarshalText([]byte(servers)); err != nil {
		t.Fatal(err)
	}
	l := &lab{names: n, newest: new(Snapshot)}
	l.Members = New(Config{
		Servers: list, ResolveInterval: 2 * time.Second, Probe: probe, Lookup: n.lookup,
		IsSelf: func(addr netip.AddrPort) bool { return addr == self },
		Apply:  func(now time.Time, s *Snapshot) { l.apply(t, now, s) },
	})
	t.Cleanup(l.close)
	return l
}

// threeUp is a lab of server1, server2 and server3 at one:7, two:7 and three:7.
func threeUp(t *testing.T, probe Probe) *lab {
	t.Helper()
	l := newLab(t, "server1=one:7,server2=two:7,server3=three:7", labNames(), probe)
	l.resolve(t)
	l.expect(t, "at the start", "+++", "server1 at 192.0.2.1:7", "server2 at 192.0.2.2:7", "server3 at 192.0.2.3:7")
	return l
}

func (l *lab) resolve(t *testing.T) {
	t.Helper()
	if err := l.Resolve(t.Context(), func(entry, want string) { t.Errorf("%s: want %s", entry, want) }); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resolved = true
}

// watch runs the lab until the test ends.
func (l *lab) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (l *lab) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Run(ctx)
}

// lookUpAll resolves every name once, as watching does.
func (l *lab) lookUpAll(t *testing.T) {
	for _, b := range l.members {
		l.lookUpAgain(t.Context(), b)
	}
}

// apply checks that a snapshot is what may come after the one before, which must
// not have changed, and keeps what is new.
func (l *lab) apply(t *testing.T, now time.Time, s *Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.newest
	if !slices.Equal(before.Backends, l.copied) {
		t.Errorf("the snapshot before was %+v and is %+v", l.copied, before.Backends)
	}
	l.newest, l.copied = s, slices.Clone(s.Backends)
	at := map[netip.AddrPort]bool{self: true}
	var changes []string
	for i, b := range s.Backends {
		owner, current := s.Owner(b.Addr)
		if b.Addr.IsValid() && (at[b.Addr] || owner != &s.Backends[i] || !current) || !b.Addr.IsValid() && owner != nil {
			t.Errorf("%s is at %v, whose owner is %v, current %v", b.Name, b.Addr, owner, current)
		}
		at[b.Addr] = true
		if !b.Addr.IsValid() && b.State != Down && l.resolved || b.Up() != (b.Reason == "") {
			t.Errorf("got %+v", b)
		}
		if a := before.Backend(b.ID); a != nil {
			if change := l.change(t, now, *a, b); change != "" {
				changes = append(changes, change)
			}
		}
	}
	if len(changes) > 0 {
		l.changes = append(l.changes, strings.Join(changes, "; "))
	} else if len(s.owners) == len(before.owners) && s.List == before.List { // else a former address is forgotten
		t.Errorf("nothing is new: %+v", s)
	}
}

// change says what is new about a server.
func (l *lab) change(t *testing.T, now time.Time, a, b Backend) (change string) {
	since, trials := a.Since, a.Trials
	switch {
	case b.Addr != a.Addr && !b.Addr.IsValid():
		change = ", nowhere"
	case b.Addr != a.Addr:
		change = ", at " + b.Addr.String()
	}
	if b.State != a.State || b.Reason != a.Reason {
		change += ", " + b.State.String()
	}
	if b.Reason != a.Reason && b.Reason != "" {
		change += ": " + b.Reason
	}
	if b.Up() != a.Up() {
		since = now
	}
	if b.State == Trial && a.State != Trial {
		trials++
	}
	tried := b.State == Trial || a.Tried && !b.Up() && b.Addr.IsValid()
	if b.Since != since || b.Trials != trials || b.Tried != tried {
		t.Errorf("%+v\nafter %+v", b, a)
	}
	if change != "" {
		change = b.Name + change[1:]
	}
	return change
}

// expect compares the states, a letter for each server (+ up, - down, ? trial),
// and what has changed since the last time, a string for each snapshot.
func (l *lab) expect(t *testing.T, when, states string, changes ...string) {
	t.Helper()
	got := ""
	for _, b := range l.Snapshot().Backends {
		got += string("+-?"[b.State])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if got != states || !slices.Equal(l.changes, changes) {
		t.Errorf("%s: %s after %q\nwant %s after %q", when, got, l.changes, states, changes)
	}
	l.changes = nil
}

// now is a server as it is, and refuse and answer are evidence from where it is.
func (l *lab) now(id ID) *Backend { return l.Snapshot().Backend(id) }

func (l *lab) refuse(id ID, reason string) {
	l.Failed(Evidence{Backend: id, Addr: l.now(id).Addr, Cause: Refused, Reason: reason})
}

func (l *lab) answer(id ID) { l.Answered(id, l.now(id).Addr) }

// step is something that happens in a lab under watch, and what comes of it.
type step struct {
	does    string // "two=192.0.2.22" is what the resolver says from now on; "refuse 2", "exclude 2", "answer 2", "tried 2"
	wait    time.Duration
	states  string
	changes []string
}

// play has steps happen one after the other.
func (l *lab) play(t *testing.T, steps ...step) {
	t.Helper()
	for i, s := range steps {
		host, addrs, isName := strings.Cut(s.does, "=")
		if isName {
			l.names.set(host, addrs)
		}
		var verb string
		var id ID
		switch fmt.Sscan(s.does, &verb, &id); verb {
		case "refuse":
			l.refuse(id, "connection refused")
		case "exclude":
			l.refuse(id, "host unreachable")
		case "answer":
			l.answer(id)
		case "tried":
			l.Tried(id)
		}
		time.Sleep(s.wait)
		synctest.Wait()
		l.expect(t, fmt.Sprintf("step %d, %s and %v", i+1, s.does, s.wait), s.states, s.changes...)
	}
}
