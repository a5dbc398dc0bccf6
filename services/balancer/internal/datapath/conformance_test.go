package datapath

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/udp"
)

// variants are the data paths of this system, with one worker and with three.
func variants() map[string]opener {
	all := map[string]opener{}
	for name, open := range openers {
		all[string(name)] = func(ctx context.Context, cfg Config) (DataPath, error) {
			cfg.Workers = 1
			return open(ctx, cfg)
		}
	}
	if open := openers[Epoll]; open != nil {
		all["epoll with three workers"] = func(ctx context.Context, cfg Config) (DataPath, error) {
			cfg.Workers = 3
			return open(ctx, cfg)
		}
	}
	return all
}

// One suite for every data path: the promise is the same.
func TestConformance(t *testing.T) {
	for name, open := range variants() {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				name string
				test func(*testing.T, opener)
			}{
				{"the order carries on from one client to the next", testOrder},
				{"any size passes whole, over both address families", testSizes},
				{"nobody waits for another's reply", testNobodyWaits},
				{"every client gets its own answers and the order is exact", testManyClients},
				{"a wildcard listener answers from the address that was asked", testAskedAddress},
				{"over the session limit no turn is taken, and who is idle makes room", testSessionLimit},
				{"idle sessions are closed with their sockets", testIdleExpiry},
				{"a backend that refuses is passed over and comes back", testRefusal},
				{"a backend that is down keeps its turn under hold", testHold},
				{"without a backend no turn is taken", testNoBackend},
				{"a trial turn is reported", testTrial},
				{"a datagram from a backend's own address is dropped", testLoop},
				{"a backend that is the balancer itself makes no circle", testItself},
				{"two balancers that point at each other keep their limits", testCircle},
				{"a stranger's datagram reaches no client", testStranger},
				{"strangers keep no session", testStrangersKeepNothing},
				{"a flood of new clients takes nothing from those who were there", testFlood},
				{"a client may send so many a second and no more", testClientRate},
				{"a client that sends more than it may keeps its session", testClientRateKeeps},
				{"a datagram that is too long for its way is lost, and no other", testTooLong},
				{"a reply that the system does not take is lost, and no other", testReplyNotTaken},
				{"a turn whose backend has just lost its name is lost, and no other", testNameGone},
				{"a client that refuses its replies harms nobody", testRefusingClient},
				{"who asks a broadcast address is answered", testBroadcast},
				{"a backend that moved answers from both places", testMoved},
				{"a backend that moves to and fro costs no sockets", testToAndFro},
				{"replies renew a session", testRepliesRenew},
				{"a second reply reaches the client", testSecondReply},
				{"what one client sends arrives in order at each backend", testInOrder},
				{"a list that changes under load keeps the order and the books", testListChanges},
				{"a client may ask at one address and then at another", testAskedInTurn},
				{"replies are still carried while it stops", testDrain},
				{"it does not wait for a silent backend longer than it may", testDrainEnds},
				{"what the kernel drops is counted", testKernelDrops},
				{"it stops under no traffic", testStopIdle},
				{"it stops one datagram later", testStopAfterOne},
				{"it stops under flood in time", testStopUnderFlood},
				{"what was sent before the stop is counted", testShutdown},
				{"what is sent after it is counted too", testSentWhileDraining},
			} {
				t.Run(tt.name, func(t *testing.T) { tt.test(t, open) })
			}
		})
	}
}

func testOrder(t *testing.T, open opener) {
	r := open.start(t, setup{})
	for run, want := range []string{"1231231231", "2312312312", "3123123123"} {
		if got := r.client().who(10); got != want {
			t.Errorf("client %d: %s, want %s", run+1, got, want)
		}
	}
	r.replied(30)
	if s := r.snapshot(); s.Turns != 30 || s.Sessions != 3 {
		t.Errorf("turns %d, sessions %d", s.Turns, s.Sessions)
	}
}

func testSizes(t *testing.T, open opener) {
	for _, tt := range []struct{ listen, servers string }{
		{"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"127.0.0.1:0", "[::1]:0"}, {"[::1]:0", "127.0.0.1:0"},
	} {
		t.Run(tt.listen+" to "+tt.servers, func(t *testing.T) {
			r := open.start(t, setup{listen: tt.listen, servers: tt.servers, prepare: func(servers []*server) {
				for _, s := range servers {
					s.answer = (*server).echo
				}
			}})
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
	r := open.start(t, setup{prepare: func(servers []*server) { servers[0].answer = (*server).silent }})
	a, b := r.client(), r.client()
	a.send([]byte("to server1, which never answers"))
	eventually(t, "server1 was asked", func() bool { return r.servers[0].asked.Load() == 1 })
	if got := b.who(2); got != "23" {
		t.Errorf("answered by %s", got)
	}
	a.send([]byte("1"))
	eventually(t, "server1 was asked again", func() bool { return r.servers[0].asked.Load() == 2 })
	if got := a.ask("and on"); got != "and on server2" {
		t.Errorf("got %q", got)
	}
}

func testManyClients(t *testing.T, open opener) {
	const clients, each, window = 20, 150, 5
	r := open.start(t, setup{})
	var wrong atomic.Int64
	var wg sync.WaitGroup
	for k := range clients {
		c := r.client()
		wg.Go(func() {
			sent, heard := 0, 0
			for heard < each {
				for sent < each && sent-heard < window {
					c.conn.Write(fmt.Appendf(nil, "client %d", k))
					sent++
				}
				answer, ok := c.hear(patience)
				if !ok {
					t.Errorf("client %d: %d answers of %d", k, heard, each)
					return
				}
				if !strings.HasPrefix(answer, fmt.Sprintf("client %d server", k)) {
					wrong.Add(1)
				}
				heard++
			}
		})
	}
	wg.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d answers went to the wrong client", wrong.Load())
	}
	r.replied(clients * each)
	s := r.snapshot()
	for i, b := range s.Backends {
		if b.Turns != clients*each/3 || r.servers[i].asked.Load() != clients*each/3 || b.Answered != b.Turns {
			t.Errorf("%s: %d turns, asked %d times, %d answered, want %d", b.Name, b.Turns, r.servers[i].asked.Load(), b.Answered, clients*each/3)
		}
	}
}

func testAskedAddress(t *testing.T, open opener) {
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		t.Run(host, func(t *testing.T) {
			r := open.start(t, setup{listen: ":0"})
			if got := r.clientAt(host).who(3); got != "123" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func testSessionLimit(t *testing.T, open opener) {
	r := open.start(t, setup{sessions: 2})
	a, b, c := r.client(), r.client(), r.client()
	if got := a.who(1) + b.who(1); got != "12" {
		t.Fatalf("got %s", got)
	}
	eventually(t, "a datagram of the third client was dropped", func() bool {
		a.send([]byte("still here"))
		b.send([]byte("still here"))
		c.send([]byte("one too many"))
		return r.snapshot().Dropped[ledger.SessionLimit] > 0
	})
	// a is idle from now on; when it has been for a second, c gets its place.
	eventually(t, "the idle session made room", func() bool {
		b.send([]byte("still here"))
		c.send([]byte("and now?"))
		_, ok := c.hear(20 * time.Millisecond)
		return ok
	})
	s := r.snapshot()
	if s.Sessions != 2 || s.SessionsClosed[ledger.Evicted] == 0 {
		t.Errorf("sessions %d, evicted %d", s.Sessions, s.SessionsClosed[ledger.Evicted])
	}
	if s.Turns != s.Received-s.Dropped[ledger.SessionLimit] {
		t.Errorf("%d turns of %d received, %d of them over the limit", s.Turns, s.Received, s.Dropped[ledger.SessionLimit])
	}
}

func testIdleExpiry(t *testing.T, open opener) {
	r := open.start(t, setup{idle: 100 * time.Millisecond})
	c := r.client()
	before := openFiles()
	for range 3 {
		c.send([]byte("and that is all"))
	}
	eventually(t, "the datagrams were forwarded", func() bool { return r.snapshot().Forwarded == 3 })
	eventually(t, "the session was closed", func() bool { return r.snapshot().SessionsClosed[ledger.Idle] >= 1 && r.snapshot().Sessions == 0 })
	eventually(t, "its sockets were closed", func() bool { return openFiles() == before })
	eventually(t, "the client is answered in a new session", func() bool {
		c.send([]byte("once more"))
		_, ok := c.hear(50 * time.Millisecond)
		return ok && r.snapshot().SessionsOpened >= 2
	})
}

// openFiles counts this process's open files where the system shows them.
func openFiles() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

func testRefusal(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	c.who(3)
	addr := r.servers[1].addr.String()
	r.servers[1].stop()
	c.who(1)
	c.send([]byte("lost on server2"))
	eventually(t, "the refusal was heard", func() bool { return r.isDown(1) })
	if got := c.who(5); got != "31313" {
		t.Errorf("while server2 is down: %s", got)
	}
	if lost := r.snapshot().DroppedTotal(); lost != 0 {
		t.Errorf("%d datagrams were dropped: the kernel took them all", lost)
	}
	again := startServer(t, "server2", addr).serve()
	r.set(1, membership.Trial)
	if got := c.who(4); got != "1231" {
		t.Errorf("after server2 came back: %s, asked %d times", got, again.asked.Load())
	}
	if r.isDown(1) {
		t.Error("its reply did not bring server2 back")
	}
}

func testHold(t *testing.T, open opener) {
	r := open.start(t, setup{whenDown: balancing.Hold})
	c := r.client()
	r.set(1, membership.Down)
	c.who(1)
	c.send([]byte("lost"))
	if got := c.who(2); got != "31" {
		t.Errorf("got %s", got)
	}
	if s := r.snapshot(); s.Dropped[ledger.DroppedDown] != 1 || s.Turns != 4 || s.Received != 4 {
		t.Errorf("held %d, turns %d, received %d", s.Dropped[ledger.DroppedDown], s.Turns, s.Received)
	}
}

func testNoBackend(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	for i := range 3 {
		r.set(i, membership.Down)
	}
	c.send([]byte("to nobody"))
	eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.NoBackend] == 1 })
	for i := range 3 {
		r.set(i, membership.Up)
	}
	if got := c.who(3); got != "123" {
		t.Errorf("afterwards: %s", got)
	}
}

func testTrial(t *testing.T, open opener) {
	r := open.start(t, setup{})
	r.set(1, membership.Trial)
	c := r.client()
	if got := c.who(2); got != "12" {
		t.Errorf("got %s", got)
	}
	eventually(t, "the trial was reported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.tried == 1
	})
}

func testLoop(t *testing.T, open opener) {
	r := open.start(t, setup{})
	if _, err := r.servers[0].conn.WriteToUDPAddrPort([]byte("round and round"), r.path.Addr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.Loop] == 1 })
	if got := r.client().who(1); got != "1" {
		t.Errorf("it took a turn: %s", got)
	}
}

func testStranger(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	c.who(1)
	session := *r.servers[0].from.Load()
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(session))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 3 {
		stranger.Write([]byte("buy this")) // may be refused: that is an answer too
	}
	for range 2 {
		if got := c.ask("ping"); !strings.HasPrefix(got, "ping server") {
			t.Errorf("the client heard %q", got)
		}
	}
	r.replied(3)
	_, connected := r.path.(*portable) // then the kernel takes nothing from strangers
	eventually(t, "the stranger's datagrams are counted", func() bool {
		return connected || r.snapshot().Dropped[ledger.Stranger] == 3
	})
}

func testMoved(t *testing.T, open opener) {
	r := open.start(t, setup{prepare: func(servers []*server) { servers[0].answer = (*server).silent }})
	c := r.client()
	c.send([]byte("first"))
	eventually(t, "server1 was asked", func() bool { return r.servers[0].asked.Load() == 1 })
	moved := startServer(t, "server1", "127.0.0.1:0").serve()
	r.move(0, moved.addr)
	if got := c.who(3); got != "231" {
		t.Errorf("after the move: %s", got)
	}
	if moved.asked.Load() != 1 || r.servers[0].asked.Load() != 1 {
		t.Errorf("asked %d times at the new place, %d at the old", moved.asked.Load(), r.servers[0].asked.Load())
	}
	r.servers[0].named([]byte("late"), *r.servers[0].from.Load())
	if got, _ := c.hear(patience); got != "late server1" {
		t.Errorf("the late reply from the old place: %q", got)
	}
}

func testSecondReply(t *testing.T, open opener) {
	r := open.start(t, setup{prepare: func(servers []*server) {
		servers[0].answer = func(s *server, payload []byte, from netip.AddrPort) {
			s.named(payload, from)
			s.named(payload, from)
		}
	}})
	c := r.client()
	first := c.ask("twice")
	second, ok := c.hear(patience)
	if first != "twice server1" || second != first || !ok {
		t.Errorf("got %q and %q", first, second)
	}
	r.replied(2)
	if s := r.snapshot(); s.Backends[0].Answered != 1 {
		t.Errorf("answered %d", s.Backends[0].Answered)
	}
}

func testInOrder(t *testing.T, open opener) {
	const n, burst = 300, 50
	heard := make([][]string, 3)
	var mu sync.Mutex
	r := open.start(t, setup{prepare: func(servers []*server) {
		for i := range servers {
			servers[i].answer = func(_ *server, payload []byte, _ netip.AddrPort) {
				mu.Lock()
				defer mu.Unlock()
				heard[i] = append(heard[i], string(payload))
			}
		}
	}})
	c := r.client()
	for i := range n { // in bursts, so that they come in batches
		c.send(fmt.Appendf(nil, "%d", i))
		if sent := i + 1; sent%burst == 0 {
			eventually(t, "every datagram has arrived", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(heard[0])+len(heard[1])+len(heard[2]) == sent
			})
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range heard {
		for k, payload := range heard[i] {
			if want := fmt.Sprint(3*k + i); payload != want {
				t.Fatalf("server%d: datagram %d is number %s, want %s", i+1, k+1, payload, want)
			}
		}
	}
}

func testAskedInTurn(t *testing.T, open opener) {
	r := open.start(t, setup{listen: ":0"})
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(patience))
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"} {
		asked := netip.AddrPortFrom(netip.MustParseAddr(host), r.path.Addr().Port())
		if _, err := conn.WriteToUDPAddrPort([]byte("where are you"), asked); err != nil {
			t.Skipf("no way to %v here: %v", asked, err)
		}
		_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil || from != asked {
			t.Errorf("asked %v, answered from %v: %v", asked, from, err)
		}
	}
}

func testDrainEnds(t *testing.T, open opener) {
	r := open.start(t, setup{prepare: func(servers []*server) { servers[0].answer = (*server).silent }})
	r.client().send([]byte("to server1, which never answers"))
	eventually(t, "server1 was asked", func() bool { return r.servers[0].asked.Load() == 1 })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func testDrain(t *testing.T, open opener) {
	asked := make(chan netip.AddrPort, 1)
	r := open.start(t, setup{drain: patience, prepare: func(servers []*server) {
		servers[0].answer = func(_ *server, _ []byte, from netip.AddrPort) { asked <- from }
	}})
	c := r.client()
	c.send([]byte("slow"))
	from := <-asked
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	r.servers[0].named([]byte("slow"), from)
	if got, _ := c.hear(patience); got != "slow server1" {
		t.Errorf("got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func testKernelDrops(t *testing.T, open opener) {
	if !kernelCountsDrops(t) {
		t.Skip("this system does not say how many datagrams a full buffer dropped")
	}
	// Before the data path runs, nobody empties its listener.
	sent, lost := uint64(0), backlogDrops()
	r := open.start(t, setup{beforeRun: func(r *rig) {
		for r.path.KernelDrops() == 0 {
			if sent > 100_000 {
				t.Fatalf("no drops reported after %d datagrams that nobody read", sent)
			}
			c := r.client() // several, for the kernel spreads them over the workers
			for range 10_000 {
				c.send([]byte("too many"))
				sent++
			}
		}
	}})
	eventually(t, "every datagram was received or counted as dropped by the kernel", func() bool {
		known := r.snapshot().Received + r.path.KernelDrops()
		return known <= sent && sent-known <= backlogDrops()-lost
	})
	drops := r.path.KernelDrops()
	if err := r.stop(); err != nil || r.path.KernelDrops() != drops {
		t.Errorf("%d drops while it ran, %d after it stopped: %v", drops, r.path.KernelDrops(), err)
	}
}

// kernelCountsDrops says whether the system says how many datagrams it dropped
// at a socket: it overflows one that nobody reads.
func kernelCountsDrops(t *testing.T) bool {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadBuffer(1 << 10)
	for range 1000 {
		conn.WriteToUDP([]byte("too many"), conn.LocalAddr().(*net.UDPAddr))
	}
	return udp.Drops(conn) > 0
}

// backlogDrops is how many packets Linux has dropped before they came to a
// socket: it promises no more for the loopback interface than for others. The
// second column of softnet_stat has them, a line for each processor.
func backlogDrops() (sum uint64) {
	text, _ := os.ReadFile("/proc/net/softnet_stat")
	for line := range strings.Lines(string(text)) {
		if columns := strings.Fields(line); len(columns) > 1 {
			n, _ := strconv.ParseUint(columns[1], 16, 64)
			sum += n
		}
	}
	return sum
}

func testStopIdle(t *testing.T, open opener) {
	before := openFiles()
	r := open.start(t, setup{})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "no files are open but the test's servers", func() bool { return openFiles() <= before+3 })
}

func testStopAfterOne(t *testing.T, open opener) {
	before := openFiles()
	r := open.start(t, setup{})
	c := r.client()
	c.who(1)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "no files are open but the test's servers and client", func() bool { return openFiles() <= before+4 })
	if s := r.snapshot(); s.Sessions != 0 || s.SessionsClosed[ledger.Stopped] != 1 {
		t.Errorf("sessions %d, stopped %d", s.Sessions, s.SessionsClosed[ledger.Stopped])
	}
}

func testStopUnderFlood(t *testing.T, open opener) {
	r := open.start(t, setup{})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		c := r.client()
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					c.conn.Write([]byte("flood")) // refused once the data path is gone
				}
			}
		})
	}
	eventually(t, "the flood has begun", func() bool { return r.snapshot().Received > 1000 })
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	close(done)
	wg.Wait()
	s := r.snapshot()
	if s.Sessions != 0 {
		t.Errorf("%d sessions are left", s.Sessions)
	}
}

// Nobody reads before the data path runs, and when it does it is to stop.
func testShutdown(t *testing.T, open opener) {
	const each, clients = 60, 5 // fits into the smallest receive buffer
	r := open.start(t, setup{stopped: true, beforeRun: func(r *rig) {
		for range clients { // several, for the kernel spreads them over the workers
			c := r.client()
			for range each {
				c.send([]byte("too late"))
			}
		}
	}})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if s := r.snapshot(); s.Dropped[ledger.Shutdown] != each*clients || s.Received != each*clients || s.Turns != 0 {
		t.Errorf("%d dropped by the stop of %d received, want %d; %d turns", s.Dropped[ledger.Shutdown], s.Received, each*clients, s.Turns)
	}
}

func testSentWhileDraining(t *testing.T, open opener) {
	asked := make(chan netip.AddrPort, 1)
	r := open.start(t, setup{drain: patience, prepare: func(servers []*server) {
		servers[0].answer = func(s *server, payload []byte, from netip.AddrPort) {
			if string(payload) == "slow" {
				asked <- from
			} else {
				s.named(payload, from)
			}
		}
	}})
	slow, late := r.client(), r.client()
	slow.send([]byte("slow"))
	from := <-asked
	eventually(t, "its turn is recorded", func() bool { return r.snapshot().Forwarded == 1 })
	r.cancel()
	// The batch that is under way may still be forwarded. Who sends more than a
	// batch has sent to a data path that is draining.
	const batch = 128
	sent := uint64(1)
	for {
		late.send([]byte("too late"))
		sent++
		if s := r.snapshot(); s.Dropped[ledger.Shutdown] > 0 || sent-s.Received > batch {
			break
		}
	}
	for range 7 {
		late.send([]byte("too late"))
		sent++
	}
	r.servers[0].named([]byte("slow"), from)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if s := r.snapshot(); s.Received != sent || s.Dropped[ledger.Shutdown] < 8 {
		t.Errorf("%d received of %d, %d of them dropped by the stop", s.Received, sent, s.Dropped[ledger.Shutdown])
	}
}

func TestAPortThatIsInUseIsNamed(t *testing.T) {
	for name, open := range variants() {
		t.Run(name, func(t *testing.T) {
			r := opener(open).start(t, setup{}) // another balancer of the same kind
			address := r.path.Addr().String()
			again, err := open(t.Context(), Config{
				Listen: address, MaxSessions: 1, Scheduler: r.scheduler, Ledger: r.ledger, Members: r.members,
			})
			if err == nil {
				again.Close()
			}
			if err == nil || !strings.Contains(err.Error(), address) {
				t.Errorf("got %v", err)
			}
		})
	}
}
