package datapath

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"udplab/services/balancer/internal/membership"
)

// relist replaces the list by another. Servers that are gone are known by their
// address for as long as the test runs.
func (m *members) relist(list []membership.Backend) {
	m.change(func() {
		for _, b := range m.backends {
			m.former[b.Addr] = &b
		}
		m.backends = list
		m.list++
	})
}

// Servers join at the end and leave from anywhere, several times, while clients
// send without a pause. Every datagram takes one turn, in an order that the ledger
// finds right, and every answer arrives, also of a server that has just left.
func testListChanges(t *testing.T, open opener) {
	const clients, changes = 4, 30
	r := open.start(t, setup{})
	var spare []*server
	for i := range 3 {
		s := startServer(t, fmt.Sprintf("server%d", 4+i), "127.0.0.1:0").serve()
		spare = append(spare, s)
	}
	var sent, answered atomic.Uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		c := r.client()
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for range 8 {
					c.conn.Write([]byte("ping"))
					sent.Add(1)
				}
				for range 8 {
					if _, ok := c.hearFor(patience); ok {
						answered.Add(1)
					}
				}
			}
		})
	}
	nextID := membership.ID(4)
	for i := range changes {
		before := sent.Load()
		r.mu.Lock()
		list := slices.Clone(r.backends)
		r.mu.Unlock()
		if len(list) > 2 && i%3 > 0 {
			list = slices.Delete(list, i%len(list), i%len(list)+1)
		} else {
			s := spare[i/3%len(spare)]
			list = slices.DeleteFunc(list, func(b membership.Backend) bool { return b.Addr == s.addr })
			list = append(list, membership.Backend{ID: nextID, Name: fmt.Sprintf("server%d", nextID), Addr: s.addr})
			nextID++
		}
		r.relist(list)
		eventually(t, "clients have gone on", func() bool { return sent.Load() > before+50 })
	}
	close(stop)
	wg.Wait()
	if sent.Load() != answered.Load() {
		t.Errorf("%d were sent, %d answered", sent.Load(), answered.Load())
	}
	r.replied(answered.Load())
	if s := r.snapshot(); s.Forwarded != sent.Load() || s.Removed.Turns == 0 {
		t.Errorf("%d were sent, %d forwarded; servers that are gone had %d turns", sent.Load(), s.Forwarded, s.Removed.Turns)
	}
	events, _ := r.ledger.Events(0)
	listed := 0
	for _, e := range events {
		if e.Kind == "added" || e.Kind == "removed" {
			listed++
		}
	}
	if listed < changes {
		t.Errorf("%d changes are events, of %d", listed, changes)
	}
}
