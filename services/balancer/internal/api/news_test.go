package api

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// observer looks at snapshots that a test makes.
type observer struct {
	activity
	observation
	now time.Time
}

func newObserver() *observer {
	return &observer{now: time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC)}
}

// look looks after a while and returns what is new as "number kind count text".
func (c *observer) look(after time.Duration) (lines []string) {
	c.now = c.now.Add(after)
	if c.snapshot.Newest.At.IsZero() {
		c.snapshot.Newest.At = c.now
	}
	for _, item := range c.activity.look(c.now, c.observation) {
		lines = append(lines, fmt.Sprintf("%d %s %d %s", item.ID, item.Kind, item.Count, item.Text))
	}
	c.events, c.missed = nil, 0
	return lines
}

func (c *observer) client(n uint64, addr string, turn uint64, server string) {
	c.snapshot.Clients += n
	c.snapshot.Newest = ledger.Join{Client: netip.MustParseAddrPort(addr), Turn: turn, Server: server}
}

func TestWhatHappenedIsToldInSentences(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:2527")
	tests := []struct {
		name string
		make func(c *observer)
		want []string
	}{
		{"nothing", func(c *observer) {}, nil},
		{"a server goes down", func(c *observer) {
			c.events = []ledger.Event{{Kind: ledger.WentDown, Backend: "server2", Reason: "connection refused"}}
		}, []string{"1 down 1 server2 is down: connection refused; its turns go to the next server"}},
		{"a server goes down that keeps its turns", func(c *observer) {
			c.hold = true
			c.events = []ledger.Event{{Kind: ledger.WentDown, Backend: "server2", Reason: "connection refused"}}
		}, []string{"1 down 1 server2 is down: connection refused; its turns are kept and lost"}},
		{"a server moves and comes up", func(c *observer) {
			c.events = []ledger.Event{{Kind: ledger.Moved, Backend: "server2", Addr: at}, {Number: 1, Kind: ledger.WentUp, Backend: "server2"}}
		}, []string{"1 moved 1 server2 moved to 127.0.0.1:2527", "2 up 1 server2 is up and has its turns again"}},
		{"more than anybody could see", func(c *observer) { c.missed = 1204 },
			[]string{"1 missed 1204 1,204 more changes of servers, too many to list"}},
		{"a new client", func(c *observer) { c.client(1, "127.0.0.1:4000", 11, "server2") },
			[]string{"1 client 1 new client 127.0.0.1:4000, began at turn #11 with server2"}},
		{"many new clients", func(c *observer) { c.client(1204, "127.0.0.1:4000", 11, "server1") },
			[]string{"1 client 1204 1,204 new clients, the last 127.0.0.1:4000, began at turn #11 with server1"}},
		{"drops for two reasons", func(c *observer) {
			c.snapshot.Dropped[ledger.NoBackend] = 4
			c.snapshot.Dropped[ledger.Stranger] = 1
		}, []string{
			"1 dropped 4 4 datagrams dropped: no server is up",
			"2 dropped 1 1 datagram dropped: it came to a client’s port from an address that is no server’s",
		}},
		{"the kernel drops", func(c *observer) { c.observation.kernelDrops = 2 },
			[]string{"1 dropped 2 2 datagrams dropped: they came faster than they could be taken (the kernel’s count)"}},
	}
	for _, test := range tests {
		c := newObserver()
		test.make(c)
		if got := c.look(0); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if got := c.look(time.Minute); got != nil {
			t.Errorf("%s: told again: %q", test.name, got)
		}
	}
}

func TestWhatGoesOnIsOneItemThatGrows(t *testing.T) {
	c := newObserver()
	dropped := &c.snapshot.Dropped[ledger.NoBackend]
	for _, step := range []struct {
		name  string
		do    func()
		after time.Duration
		want  string
	}{
		{"drops", func() { *dropped = 4 }, 0, "1 dropped 4 4 datagrams dropped: no server is up"},
		{"more drops soon after", func() { *dropped = 7 }, 4 * time.Second, "1 dropped 7 7 datagrams dropped: no server is up"},
		{"more drops a while after", func() { *dropped = 8 }, 6 * time.Second, "2 dropped 1 1 datagram dropped: no server is up"},
		{"a client", func() { c.client(1, "127.0.0.1:4000", 1, "server1") }, 0, "3 client 1 new client 127.0.0.1:4000, began at turn #1 with server1"},
		{"another a while after", func() { c.client(1, "127.0.0.1:4001", 11, "server2") }, 2 * time.Second, "4 client 1 new client 127.0.0.1:4001, began at turn #11 with server2"},
	} {
		step.do()
		if got := c.look(step.after); len(got) != 1 || got[0] != step.want {
			t.Errorf("%s: %q", step.name, got)
		}
	}
}

// A client whose first datagram took its server down came before that.
func TestWhatHappenedIsToldInItsOrder(t *testing.T) {
	c := newObserver()
	c.client(1, "127.0.0.1:4000", 41, "server2")
	c.snapshot.Newest.At = c.now.Add(100 * time.Millisecond)
	c.events = []ledger.Event{
		{Number: 1, At: c.now.Add(50 * time.Millisecond), Kind: ledger.WentUp, Backend: "server1"},
		{Number: 2, At: c.now.Add(150 * time.Millisecond), Kind: ledger.WentDown, Backend: "server2", Reason: "connection refused"},
	}
	want := []string{
		"1 up 1 server1 is up and has its turns again",
		"2 client 1 new client 127.0.0.1:4000, began at turn #41 with server2",
		"3 down 1 server2 is down: connection refused; its turns go to the next server",
	}
	if got := c.look(time.Second); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOnlyTheLastItemsAreKept(t *testing.T) {
	c := newObserver()
	for i := range 2 * itemsKept {
		c.events = []ledger.Event{{Number: uint64(i + 1), Kind: ledger.WentUp, Backend: "server1"}}
		c.look(time.Second)
	}
	if len(c.items) != itemsKept || c.items[itemsKept-1].ID != 2*itemsKept || c.lastEvent != 2*itemsKept {
		t.Errorf("%d items, the last is number %d", len(c.items), c.items[itemsKept-1].ID)
	}
}

func TestEveryDispositionHasAReasonForPeople(t *testing.T) {
	for f := ledger.Forwarded + 1; f < ledger.Dispositions; f++ {
		if dropReasons[f] == "" {
			t.Errorf("%s has none", f)
		}
	}
}
