package api

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// observer sees what happens to a balancer whose past is no news any more.
type observer struct {
	*balancer
	activity
	now time.Time
}

func newObserver() *observer {
	o := &observer{balancer: newBalancer("server1", "server2", "server3"), now: time.Now()}
	o.look()
	o.items, o.lastID = nil, 0
	return o
}

// look returns what is new as "number kind count text".
func (o *observer) look() (lines []string) {
	for _, item := range o.activity.look(o.now, o.Config, o.Ledger.Snapshot(o.now)) {
		lines = append(lines, fmt.Sprintf("%d %s %d %s", item.ID, item.Kind, item.Count, item.Text))
	}
	return lines
}

// become changes the state of a server.
func (o *observer) become(at time.Time, place int, state membership.State) {
	o.servers[place].State, o.servers[place].Reason = state, "connection refused"
	o.apply(at)
}

func TestWhatHappenedIsToldInSentences(t *testing.T) {
	tests := []struct {
		name string
		make func(o *observer)
		want []string
	}{
		{"nothing", func(*observer) {}, nil},
		{"a server goes down", func(o *observer) { o.become(o.now, 1, membership.Down) },
			[]string{"1 down 1 server2 is down: connection refused; its turns go to the next server"}},
		{"a server goes down that keeps its turns", func(o *observer) {
			o.Facts.WhenDown = "hold"
			o.become(o.now, 1, membership.Down)
		}, []string{"1 down 1 server2 is down: connection refused; its turns are kept and lost"}},
		{"a server moves and comes up", func(o *observer) {
			o.become(o.now, 0, membership.Down)
			o.look()
			o.servers[0].Addr = netip.MustParseAddrPort("127.0.0.1:2527")
			o.become(o.now, 0, membership.Up)
		}, []string{"2 moved 1 server1 moved to 127.0.0.1:2527", "3 up 1 server1 is up and has its turns again"}},
		{"a new client", func(o *observer) { o.more(o.now, 8, "127.0.0.1:4001") },
			[]string{"1 client 1 new client 127.0.0.1:4001, began at turn #4 with server1"}},
		{"many new clients", func(o *observer) {
			for i := range 1204 {
				o.more(o.now, 1, fmt.Sprint("127.0.0.1:", 5000+i))
			}
		}, []string{"1 client 1204 1,204 new clients, the last 127.0.0.1:6203, began at turn #1,207 with server1"}},
		{"drops for two reasons", func(o *observer) {
			o.Ledger.Dropped(ledger.Stranger, 1)
			o.Ledger.Dropped(ledger.NoBackend, 4)
		}, []string{
			"1 dropped 4 4 datagrams dropped: no server is up",
			"2 dropped 1 1 datagram dropped: it came to a client’s port from an address that is no server’s",
		}},
		{"the kernel drops", func(o *observer) { o.KernelDrops = func() uint64 { return 19 } },
			[]string{"1 dropped 2 2 datagrams dropped: they came faster than they could be taken (the kernel’s count)"}},
		{"a client whose first datagram took its server down", func(o *observer) {
			o.become(o.now, 2, membership.Down)
			o.more(o.now.Add(1), 1, "127.0.0.1:4001")
			o.become(o.now.Add(2), 0, membership.Down)
			o.now = o.now.Add(time.Second)
		}, []string{
			"1 down 1 server3 is down: connection refused; its turns go to the next server",
			"2 client 1 new client 127.0.0.1:4001, began at turn #4 with server1",
			"3 down 1 server1 is down: connection refused; its turns go to the next server",
		}},
	}
	for _, test := range tests {
		o := newObserver()
		test.make(o)
		if got := o.look(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		o.now = o.now.Add(time.Minute)
		if got := o.look(); got != nil {
			t.Errorf("%s: told again: %q", test.name, got)
		}
	}
}

func TestWhatGoesOnIsOneItemThatGrows(t *testing.T) {
	o := newObserver()
	drop := func(n int) func() { return func() { o.Ledger.Dropped(ledger.NoBackend, n) } }
	client := func(addr string) func() { return func() { o.more(o.now, 1, addr) } }
	for _, step := range []struct {
		name  string
		after time.Duration
		do    func()
		want  string
	}{
		{"drops", 0, drop(4), "1 dropped 4 4 datagrams dropped: no server is up"},
		{"more drops soon after", dropsTogether - 1, drop(3), "1 dropped 7 7 datagrams dropped: no server is up"},
		{"more drops a while after", dropsTogether, drop(1), "2 dropped 1 1 datagram dropped: no server is up"},
		{"a client", 0, client("127.0.0.1:4001"), "3 client 1 new client 127.0.0.1:4001, began at turn #4 with server1"},
		{"another soon after", clientsTogether - 1, client("127.0.0.1:4002"), "3 client 2 2 new clients, the last 127.0.0.1:4002, began at turn #5 with server2"},
		{"another a while after", clientsTogether, client("127.0.0.1:4003"), "4 client 1 new client 127.0.0.1:4003, began at turn #6 with server3"},
	} {
		o.now = o.now.Add(step.after)
		step.do()
		if got := o.look(); len(got) != 1 || got[0] != step.want {
			t.Errorf("%s: %q", step.name, got)
		}
	}
}

func TestOnlyTheLastItemsAreKept(t *testing.T) {
	o := newObserver()
	for range (1204 + 256) / 2 { // the ledger keeps 256 events
		o.become(o.now, 1, membership.Down)
		o.become(o.now, 1, membership.Up)
	}
	got := o.look()
	if want := "1 missed 1204 1,204 more changes of servers, too many to list"; got[0] != want || len(got) != 1+256 {
		t.Errorf("%d items, the first is %q, want %q", len(got), got[0], want)
	}
	if len(o.items) != itemsKept || o.items[itemsKept-1].ID != 1+256 {
		t.Errorf("%d are kept, the last is number %d", len(o.items), o.items[itemsKept-1].ID)
	}
}

func TestEveryDispositionHasAReasonForPeople(t *testing.T) {
	for f := ledger.Forwarded + 1; f < ledger.Dispositions; f++ {
		if dropReasons[f] == "" {
			t.Errorf("%s has none", f)
		}
	}
}
