package datapath

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// clients are n clients of the data path.
func (r *rig) clients(n int) (clients []*client) {
	r.t.Helper()
	for range n {
		clients = append(clients, r.client())
	}
	return clients
}

// exchange lets every client make so many round trips, a window of them under way
// at a time, and calls heard with each answer and the client's number. It allocates
// nothing for a round trip.
func exchange(t testing.TB, clients []*client, each, window int, heard func(client int, answer []byte)) {
	t.Helper()
	var wg sync.WaitGroup
	for k, c := range clients {
		wg.Go(func() {
			request, buf := fmt.Appendf(nil, "client %d", k), make([]byte, 100)
			for sent, got := 0, 0; got < each; got++ {
				for ; sent < min(each, got+window); sent++ {
					c.conn.Write(request)
				}
				c.conn.SetReadDeadline(time.Now().Add(patience))
				n, err := c.conn.Read(buf)
				if err != nil {
					t.Errorf("client %d: after %d answers: %v", k, got, err)
					return
				}
				heard(k, buf[:n])
			}
		})
	}
	wg.Wait()
}

func ignore(int, []byte) {}

// The event loop, with the ledger, the counters and the limits, allocates nothing
// for a datagram of a client that it knows.
func TestNothingIsAllocatedForADatagram(t *testing.T) {
	open := variants()[string(Epoll)]
	if open == nil {
		t.Skip("only the data path for Linux promises this")
	}
	for _, tt := range []struct{ clients, window int }{{1, 1}, {1, 64}, {50, 1}, {20, 5}} {
		t.Run(fmt.Sprintf("clients=%d/window=%d", tt.clients, tt.window), func(t *testing.T) {
			r := open.start(t, setup{answer: (*server).echo})
			clients, each := r.clients(tt.clients), 5000/tt.clients
			exchange(t, clients, each, tt.window, ignore) // the sessions are there
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			exchange(t, clients, each, tt.window, ignore)
			runtime.ReadMemStats(&after)
			const byClient = 10 // its goroutine and its buffers
			if n := int(after.Mallocs - before.Mallocs); n > 50+byClient*tt.clients {
				t.Errorf("%d allocations for %d round trips", n, tt.clients*each)
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
	paths := variants()
	delete(paths, threeWorkers)
	paths["direct"] = nil
	for _, load := range []struct{ clients, window int }{{1, 1}, {1, 64}, {500, 1}} {
		for name, open := range paths {
			b.Run(fmt.Sprintf("clients=%d/window=%d/path=%s", load.clients, load.window, name), func(b *testing.B) {
				var clients []*client
				if open != nil {
					clients = open.start(b, setup{answer: (*server).echo}).clients(load.clients)
				} else {
					target := startServer(b, name, "127.0.0.1:0", (*server).echo).addr
					for range load.clients {
						clients = append(clients, newClient(b, target))
					}
				}
				exchange(b, clients, 2, load.window, ignore)
				each := b.N/load.clients + 1
				b.ReportAllocs()
				b.ResetTimer()
				exchange(b, clients, each, load.window, ignore)
				b.StopTimer()
				n := float64(each * load.clients)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/datagram")
				b.ReportMetric(n/b.Elapsed().Seconds(), "datagrams/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
