package datapath

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/mmsg"
)

// bounce answers whatever comes to n sockets with itself, in batches and
// without allocating, until the test ends. It returns where.
func bounce(tb testing.TB, n int) (addrs []netip.AddrPort) {
	tb.Helper()
	poller, err := mmsg.NewPoller(n)
	if err != nil {
		tb.Fatal(err)
	}
	sockets := make([]*mmsg.Socket, n)
	for i := range sockets {
		if sockets[i], err = mmsg.Listen(netip.MustParseAddrPort("127.0.0.1:0"), false); err != nil {
			tb.Fatal(err)
		}
		sockets[i].SetReceiveBuffer(4 << 20)
		if err := poller.Add(sockets[i], uint64(i)); err != nil {
			tb.Fatal(err)
		}
		addrs = append(addrs, sockets[i].Addr())
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		in, out := mmsg.NewInbox(64, 2048), mmsg.NewOutbox(64)
		for !stop.Load() {
			events, _ := poller.Wait(-1)
			for i := range events {
				event, ok := poller.Event(i)
				if !ok {
					continue
				}
				socket := sockets[event.Token]
				got, _ := in.Receive(socket, 0, 64)
				out.Begin(socket)
				for j := range got {
					out.Add(in.Payload(j), in.From(j), netip.Addr{})
				}
				out.Send()
			}
		}
	})
	tb.Cleanup(func() {
		stop.Store(true)
		poller.Wake()
		wg.Wait()
		for _, s := range sockets {
			s.Close()
		}
		poller.Close()
	})
	return addrs
}

// crowd is clients that keep a window of datagrams under way to a target.
type crowd struct {
	tb      testing.TB
	target  netip.AddrPort
	window  int
	sockets []*mmsg.Socket
	poller  *mmsg.Poller
	in      *mmsg.Inbox
	out     *mmsg.Outbox
	payload []byte
}

func newCrowd(tb testing.TB, clients, window int, target netip.AddrPort) *crowd {
	tb.Helper()
	poller, err := mmsg.NewPoller(clients)
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowd{tb: tb, target: target, window: window, poller: poller,
		in: mmsg.NewInbox(64, 2048), out: mmsg.NewOutbox(64), payload: make([]byte, 64)}
	tb.Cleanup(func() { poller.Close() })
	for i := range clients {
		s, err := mmsg.Dial(false)
		if err != nil {
			tb.Fatal(err)
		}
		s.SetReceiveBuffer(1 << 20)
		if err := poller.Add(s, uint64(i)); err != nil {
			tb.Fatal(err)
		}
		c.sockets = append(c.sockets, s)
		tb.Cleanup(func() { s.Close() })
	}
	return c
}

func (c *crowd) send(s *mmsg.Socket, n int) {
	c.out.Begin(s)
	for range n {
		c.out.Add(c.payload, c.target, netip.Addr{})
	}
	c.out.Send()
}

// exchange makes at least n round trips and returns how many. It fails the test
// when answers stop coming.
func (c *crowd) exchange(n int) (done int) {
	for _, s := range c.sockets {
		c.send(s, c.window)
	}
	under := len(c.sockets) * c.window
	heard := time.Now()
	for under > 0 {
		events, err := c.poller.Wait(patience)
		if err != nil || events == 0 && time.Since(heard) > patience { // a signal ends a wait early
			c.tb.Fatalf("after %d round trips %d answers did not come: %v", done, under, err)
		}
		if events > 0 {
			heard = time.Now()
		}
		for i := range events {
			event, _ := c.poller.Event(i)
			s := c.sockets[event.Token]
			got, _ := c.in.Receive(s, 0, 64)
			done += got
			under -= got
			if more := min(got, max(n-done-under, 0)); more > 0 {
				c.send(s, more)
				under += more
			}
		}
	}
	return done
}

// startLoaded starts a data path before bouncing servers.
func startLoaded(tb testing.TB, open opener) *rig {
	tb.Helper()
	return open.start(tb, setup{others: bounce(tb, 3), sessions: 20_000})
}

// The event loop, with the ledger, the counters and the limits, allocates
// nothing for a datagram of a client that it knows.
func TestNothingIsAllocatedForADatagram(t *testing.T) {
	for _, tt := range []struct{ clients, window int }{{1, 1}, {1, 64}, {50, 1}, {20, 5}} {
		t.Run(fmt.Sprintf("clients=%d/window=%d", tt.clients, tt.window), func(t *testing.T) {
			r := startLoaded(t, variants()["epoll"])
			c := newCrowd(t, tt.clients, tt.window, r.path.Addr())
			c.exchange(500) // the sessions are there
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			done := c.exchange(5000)
			runtime.ReadMemStats(&after)
			if n := after.Mallocs - before.Mallocs; n > uint64(done)/100 {
				t.Errorf("%d allocations for %d round trips", n, done)
			}
			if s := r.snapshot(); s.DroppedTotal() != s.Dropped[ledger.Stranger] { // any process may write to a port
				t.Errorf("dropped %v", s.Dropped)
			}
		})
	}
}

// Round trips without a data path and through each data path, everything in this
// process. The figure of a path is to be read as a ratio to that of direct.
func BenchmarkRoundTrips(b *testing.B) {
	for _, load := range []struct{ clients, window int }{{1, 1}, {1, 64}, {500, 1}} {
		paths := variants()
		delete(paths, "epoll with three workers")
		paths["direct"] = nil
		for _, name := range []string{"direct", "epoll", "portable"} {
			b.Run(fmt.Sprintf("clients=%d/window=%d/path=%s", load.clients, load.window, name), func(b *testing.B) {
				var target netip.AddrPort
				if open := paths[name]; open != nil {
					target = startLoaded(b, open).path.Addr()
				} else {
					target = bounce(b, 1)[0]
				}
				c := newCrowd(b, load.clients, load.window, target)
				c.exchange(1000)
				b.ReportAllocs()
				b.ResetTimer()
				done := c.exchange(b.N)
				b.StopTimer()
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(done), "ns/datagram")
				b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "datagrams/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
