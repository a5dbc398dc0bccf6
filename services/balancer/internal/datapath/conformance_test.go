package datapath

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/udp"
)

const threeWorkers = "epoll with three workers"

// variants are the data paths of this system, with one worker and with three.
func variants() map[string]opener {
	with := func(kind Kind, workers int) opener {
		return func(ctx context.Context, cfg Config) (DataPath, error) {
			cfg.Kind, cfg.Workers = kind, workers
			return Open(ctx, cfg)
		}
	}
	all := map[string]opener{}
	for kind := range openers {
		all[string(kind)] = with(kind, 1)
	}
	if openers[Epoll] != nil {
		all[threeWorkers] = with(Epoll, 3)
	}
	return all
}

// everyPath runs a test over every data path.
func everyPath(t *testing.T, test func(*testing.T, opener)) {
	for name, open := range variants() {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// One suite for every data path: the promise is the same.
func TestConformance(t *testing.T) {
	everyPath(t, func(t *testing.T, open opener) {
		for _, tt := range []struct {
			name string
			test func(*testing.T, opener)
		}{
			{"the order carries on from one client to the next", testOrder},
			{"any size passes whole, over both address families", testSizes},
			{"nobody waits for another's reply", testNobodyWaits},
			{"every client gets its own answers and the order is exact", testManyClients},
			{"what one client sends arrives in order at each server", testInOrder},
			{"a wildcard listener answers from the address that was asked", testAskedAddress},
			{"over the session limit no turn is taken, and an idle session makes room", testSessionLimit},
			{"idle sessions are closed with their sockets", testIdleExpiry},
			{"a server that refuses is skipped and comes back", testRefusal},
			{"a server that moved answers from both places", testMoved},
			{"a server that moves to and fro costs no sockets", testToAndFro},
			{"a list that changes under load keeps the order and the books", testListChanges},
			{"it does not wait for a silent server longer than it may", testDrainEnds},
			{"it stops under no traffic", func(t *testing.T, open opener) { testStop(t, open, 0) }},
			{"it stops one datagram later", func(t *testing.T, open opener) { testStop(t, open, 1) }},
			{"it stops under flood", testStopUnderFlood},
			{"what was sent before the stop is counted", testSentBeforeStop},
			{"while it stops, replies are still carried, and what is sent is counted", testDrain},
			{"a datagram that comes back to the balancer is dropped", testItself},
			{"a stranger's datagram reaches no client and keeps no session", testStranger},
			{"a datagram that is too long for its way is lost, and no other", testTooLong},
			{"a reply that the system does not take is lost, and no other", testReplyNotTaken},
			{"a turn whose server has just lost its address is lost, and no other", testAddressGone},
			{"a client that refuses its replies harms nobody", testRefusingClient},
			{"what the kernel drops is counted", testKernelDrops},
			{"a port that is in use is named", testPortInUse},
		} {
			t.Run(tt.name, func(t *testing.T) { tt.test(t, open) })
		}
	})
}

func testOrder(t *testing.T, open opener) {
	r := open.start(t, setup{})
	for _, want := range []string{"1231231231", "2312312312", "3123123123"} {
		r.client().who(want)
	}
	r.replied(30)
	if n := r.snapshot().Sessions; n != 3 {
		t.Errorf("%d sessions", n)
	}
}

func testSizes(t *testing.T, open opener) {
	for _, tt := range []struct{ listen, servers string }{
		{"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"127.0.0.1:0", "[::1]:0"}, {"[::1]:0", "127.0.0.1:0"},
	} {
		t.Run(tt.listen+" to "+tt.servers, func(t *testing.T) {
			r := open.start(t, setup{listen: tt.listen, servers: tt.servers, answer: (*server).echo})
			c := r.client()
			for _, size := range []int{0, 1, 64, 1472, 1473, 9000, 65_507, 0, 64} {
				payload := strings.Repeat("x", size)
				if got := c.ask(payload); got != payload {
					t.Errorf("%d bytes came back as %d", size, len(got))
				}
			}
			r.replied(9)
			if s := r.snapshot(); s.Turns != 9 {
				t.Errorf("turns %d: an empty datagram is a datagram", s.Turns)
			}
		})
	}
}

func testNobodyWaits(t *testing.T, open opener) {
	r := open.start(t, setup{hold: "later"})
	a, b := r.client(), r.client()
	a.send("later")
	held := <-r.held
	b.who("23")
	held.answer("first of two")
	held.answer("second of two")
	if first, second := a.hear(), a.hear(); first != "first of two server1" || second != "second of two server1" {
		t.Errorf("got %q and %q", first, second)
	}
	r.replied(4)
	if s := r.snapshot(); s.Backends[0].Answered != 1 {
		t.Errorf("answered %d", s.Backends[0].Answered)
	}
}

func testManyClients(t *testing.T, open opener) {
	const clients, each, window = 20, 150, 5
	r := open.start(t, setup{})
	exchange(t, r.clients(clients), each, window, func(k int, answer []byte) {
		if !strings.HasPrefix(string(answer), fmt.Sprintf("client %d server", k)) {
			t.Errorf("client %d heard %q", k, answer)
		}
	})
	r.replied(clients * each)
	for i, b := range r.snapshot().Backends {
		if n := r.servers[i].asked.Load(); b.Turns != clients*each/3 || n != clients*each/3 || b.Answered != b.Turns {
			t.Errorf("%s: %d turns, asked %d times, %d answered, want %d", b.Name, b.Turns, n, b.Answered, clients*each/3)
		}
	}
}

func testInOrder(t *testing.T, open opener) {
	const n, burst = 300, 50
	var mu sync.Mutex
	heard := map[string][]string{}
	r := open.start(t, setup{answer: func(s *server, payload []byte, _ netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		heard[s.name] = append(heard[s.name], string(payload))
	}})
	c := r.client()
	for sent := 0; sent < n; { // in bursts, so that they come in batches
		for range burst {
			c.send(fmt.Sprint(sent))
			sent++
		}
		eventually(t, "every datagram has arrived", func() bool { return r.asked() == sent })
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range 3 {
		for k, payload := range heard[fmt.Sprint("server", i+1)] {
			if want := fmt.Sprint(3*k + i); payload != want {
				t.Fatalf("server%d: datagram %d is number %s, want %s", i+1, k+1, payload, want)
			}
		}
	}
}

func testAskedAddress(t *testing.T, open opener) {
	r := open.start(t, setup{listen: ":0"})
	conn, err := net.ListenUDP("udp", nil) // one client for all
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const broadcast = "127.255.255.255" // which is answered from any address
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1", "127.0.0.1", broadcast} {
		asked := netip.AddrPortFrom(netip.MustParseAddr(host), r.path.Addr().Port())
		if _, err := conn.WriteToUDPAddrPort([]byte("where are you"), asked); err != nil {
			t.Logf("no way to %v here: %v", asked, err)
			continue
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil || udp.Unmap(from) != asked && host != broadcast {
			t.Errorf("asked %v, answered from %v: %v", asked, from, err)
		}
	}
}

func testSessionLimit(t *testing.T, open opener) {
	long(t)
	r := open.start(t, setup{sessions: 2})
	a, b, c := r.client(), r.client(), r.client()
	a.who("1")
	b.who("2")
	eventually(t, "a datagram of the third client was dropped", func() bool {
		a.send("still here")
		b.send("still here")
		c.send("one too many")
		return r.snapshot().Dropped[ledger.SessionLimit] > 0
	})
	// a is idle from now on; when it has been for a second, c gets its place.
	eventually(t, "the idle session made room", func() bool {
		b.send("still here")
		c.send("and now?")
		_, ok := c.hearFor(20 * time.Millisecond)
		return ok
	})
	s := r.snapshot()
	if s.Sessions != 2 || s.SessionsClosed[ledger.Evicted] == 0 || s.Turns != s.Received-s.Dropped[ledger.SessionLimit] {
		t.Errorf("sessions %d, evicted %d; %d turns of %d received, %d of them over the limit",
			s.Sessions, s.SessionsClosed[ledger.Evicted], s.Turns, s.Received, s.Dropped[ledger.SessionLimit])
	}
}

// long skips a test that takes a second or more.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes too long for -short")
	}
}

func testIdleExpiry(t *testing.T, open opener) {
	r := open.start(t, setup{idle: 100 * time.Millisecond})
	c := r.client()
	before := openFiles()
	for range 3 {
		c.send("and that is all")
	}
	eventually(t, "the datagrams were forwarded", func() bool { return r.snapshot().Forwarded == 3 })
	eventually(t, "the session was closed", func() bool { return r.snapshot().SessionsClosed[ledger.Idle] >= 1 && r.snapshot().Sessions == 0 })
	eventually(t, "its sockets were closed", func() bool { return openFiles() == before })
	eventually(t, "the client is answered in a new session", func() bool {
		c.send("once more")
		_, ok := c.hearFor(50 * time.Millisecond)
		return ok && r.snapshot().SessionsOpened >= 2
	})
}

// openFiles counts this process's open files where the system shows them.
func openFiles() int {
	files, _ := os.ReadDir("/proc/self/fd")
	return len(files)
}

func testRefusal(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	c.who("123")
	r.servers[1].stop()
	c.who("1")
	c.send("lost on server2")
	eventually(t, "the refusal was heard", func() bool { return r.isDown(1) })
	c.who("31313")
	if lost := r.snapshot().DroppedTotal(); lost != 0 {
		t.Errorf("%d datagrams were dropped: the kernel took them all", lost)
	}
	startServer(t, "server2", r.servers[1].addr.String(), (*server).named)
	r.set(1, membership.Trial)
	c.who("1231")
	if r.isDown(1) || r.tried.Load() != 1 {
		t.Errorf("server2 is down after its reply: %v; %d trials", r.isDown(1), r.tried.Load())
	}
}

func testMoved(t *testing.T, open opener) {
	r := open.start(t, setup{hold: "first"})
	c := r.client()
	c.send("first")
	held := <-r.held
	moved := startServer(t, "server1", "127.0.0.1:0", (*server).named)
	r.move(0, moved.addr)
	c.who("231")
	if moved.asked.Load() != 1 || r.servers[0].asked.Load() != 1 {
		t.Errorf("asked %d times at the new place, %d at the old", moved.asked.Load(), r.servers[0].asked.Load())
	}
	held.answer("late")
	if got := c.hear(); got != "late server1" {
		t.Errorf("the late reply from the old place: %q", got)
	}
}

func testToAndFro(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	c.who("123")
	elsewhere := func() netip.AddrPort { return startServer(t, "server1", "127.0.0.1:0", (*server).named).addr }
	places := []netip.AddrPort{elsewhere(), r.servers[0].addr, elsewhere(), elsewhere()}
	files := openFiles()
	for i := range 12 {
		r.move(0, places[i%3])
		c.who("123")
		eventually(t, "no more sockets than it has had places", func() bool { return openFiles() <= files+2 })
	}
	r.change(func() { clear(r.former) })
	r.move(0, places[3])
	c.who("123")
	eventually(t, "none to places that were forgotten", func() bool { return openFiles() <= files+1 })
}

// Servers join at the end and leave from anywhere, several times, while clients
// send without a pause. Every datagram takes one turn, in an order that the ledger
// finds right, and every answer arrives, also of a server that has just left.
func testListChanges(t *testing.T, open opener) {
	const clients, each, window, changes = 4, 2500, 8, 30
	r := open.start(t, setup{})
	var spare [3]*server
	for i := range spare {
		spare[i] = startServer(t, fmt.Sprint("spare", i+1), "127.0.0.1:0", (*server).named)
	}
	var answered atomic.Uint64
	var load sync.WaitGroup
	crowd := r.clients(clients)
	load.Go(func() { exchange(t, crowd, each, window, func(int, []byte) { answered.Add(1) }) })
	list := slices.Clone(r.backends)
	for i := range changes {
		if len(list) > 2 && i%3 > 0 {
			list = slices.Delete(list, i%len(list), i%len(list)+1)
		} else {
			s, id := spare[i/3%len(spare)], membership.ID(4+i)
			list = slices.DeleteFunc(list, func(b membership.Backend) bool { return b.Addr == s.addr })
			list = append(list, membership.Backend{ID: id, Name: fmt.Sprintf("server%d", id), Addr: s.addr})
		}
		r.replace(slices.Clone(list))
		enough := min(answered.Load()+50, clients*each)
		eventually(t, "clients have gone on", func() bool { return answered.Load() >= enough || t.Failed() })
	}
	load.Wait()
	r.replied(clients * each)
	if s := r.snapshot(); s.Forwarded != clients*each || s.Removed.Turns == 0 {
		t.Errorf("%d were forwarded; servers that are gone had %d turns", s.Forwarded, s.Removed.Turns)
	}
}

func testDrainEnds(t *testing.T, open opener) {
	r := open.start(t, setup{hold: "to server1, which never answers"})
	r.client().send("to server1, which never answers")
	<-r.held
	r.stop()
}

func testStop(t *testing.T, open opener, datagrams int) {
	before := openFiles()
	r := open.start(t, setup{})
	c := r.client()
	c.who("123"[:datagrams])
	r.stop()
	eventually(t, "no files are open but the test's servers and client", func() bool { return openFiles() <= before+4 })
	if s := r.snapshot(); s.Sessions != 0 || s.SessionsClosed[ledger.Stopped] != uint64(datagrams) {
		t.Errorf("sessions %d, stopped %d", s.Sessions, s.SessionsClosed[ledger.Stopped])
	}
}

func testStopUnderFlood(t *testing.T, open opener) {
	r := open.start(t, setup{})
	var clients [4]*client
	var wg sync.WaitGroup
	for i := range clients {
		clients[i] = r.client()
		wg.Go(func() {
			for err := error(nil); err == nil; { // refused once the data path is gone, if the system says so
				_, err = clients[i].conn.Write([]byte("flood"))
			}
		})
	}
	eventually(t, "the flood has begun", func() bool { return r.snapshot().Received > 1000 })
	r.stop()
	for _, c := range clients {
		c.conn.Close()
	}
	wg.Wait()
	if s := r.snapshot(); s.Sessions != 0 {
		t.Errorf("%d sessions are left", s.Sessions)
	}
}

// Nobody reads before the data path runs, and when it does it is to stop.
func testSentBeforeStop(t *testing.T, open opener) {
	const each, clients = 60, 5 // fits into the smallest receive buffer
	r := open.start(t, setup{stopped: true, beforeRun: func(r *rig) {
		for range clients { // several, for the kernel spreads them over the workers
			c := r.client()
			for range each {
				c.send("too late")
			}
		}
	}})
	r.stop()
	if s := r.snapshot(); s.Dropped[ledger.Shutdown] != each*clients || s.Received != each*clients || s.Turns != 0 {
		t.Errorf("%d dropped by the stop of %d received, want %d; %d turns", s.Dropped[ledger.Shutdown], s.Received, each*clients, s.Turns)
	}
}

func testDrain(t *testing.T, open opener) {
	r := open.start(t, setup{drain: time.Hour, hold: "slow"})
	slow, late := r.client(), r.client()
	slow.send("slow")
	held := <-r.held
	eventually(t, "its turn is recorded", func() bool { return r.snapshot().Forwarded == 1 })
	r.cancel()
	// The batch that is under way may still be forwarded. What is unread beyond a
	// batch comes while the data path drains.
	const batch = 128
	sent := uint64(1)
	unread := func() uint64 {
		late.send("too late")
		sent++
		return sent - r.snapshot().Received
	}
	for unread() < batch+8 {
	}
	held.answer("slow")
	if got := slow.hear(); got != "slow server1" {
		t.Errorf("got %q", got)
	}
	r.stop()
	if s := r.snapshot(); s.Received != sent || s.Dropped[ledger.Shutdown] < 8 {
		t.Errorf("%d received of %d, %d of them dropped by the stop", s.Received, sent, s.Dropped[ledger.Shutdown])
	}
}

func testPortInUse(t *testing.T, open opener) {
	r := open.start(t, setup{}) // another balancer of the same kind
	address := r.path.Addr().String()
	again, err := open(t.Context(), Config{Listen: address, MaxSessions: 1, Scheduler: r.scheduler, Ledger: r.ledger, Members: r.members})
	if err == nil {
		again.Close()
	}
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
}
