package datapath

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/udp"
)

func testItself(t *testing.T, open opener) {
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			r := open.start(t, setup{listen: listen})
			r.move(0, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.path.Addr().Port()))
			c := r.clientAt("127.0.0.1")
			c.send([]byte("round and round"))
			eventually(t, "it was dropped when it came back", func() bool { return r.snapshot().Dropped[ledger.Loop] == 1 })
			if got := c.who(2); got != "23" {
				t.Errorf("it took more than its turn: %s", got)
			}
			if s := r.snapshot(); s.Turns != 3 || s.SessionsOpened != 1 {
				t.Errorf("turns %d, sessions opened %d", s.Turns, s.SessionsOpened)
			}
		})
	}
}

// What goes round by way of another balancer looks like ever new clients. It is
// not told, but kept to the limits, and it ends where they do.
func testCircle(t *testing.T, open opener) {
	const limit = 20
	r := open.start(t, setup{sessions: limit})
	first := newMembers(balancing.Skip, r.path.Addr())
	other, err := open(t.Context(), Config{
		Listen: "127.0.0.1:0", SessionIdle: time.Minute, MaxSessions: limit,
		Scheduler: first.scheduler, Ledger: first.ledger, Members: first,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := other.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()

	r.move(0, other.Addr())
	r.set(1, membership.Down) // or the next turn would lead out of the circle
	r.set(2, membership.Down)
	r.client().send([]byte("round and round"))
	eventually(t, "a balancer had no room for it", func() bool {
		return r.snapshot().Dropped[ledger.SessionLimit]+first.ledger.Snapshot(time.Now()).Dropped[ledger.SessionLimit] == 1
	})
	for _, s := range []ledger.Snapshot{r.snapshot(), first.ledger.Snapshot(time.Now())} {
		if s.Sessions > limit || s.Received != s.Forwarded+s.DroppedTotal() {
			t.Errorf("sessions %d, received %d, forwarded %d, dropped %d", s.Sessions, s.Received, s.Forwarded, s.DroppedTotal())
		}
	}
	r.set(1, membership.Up)
	r.set(2, membership.Up)
	r.move(0, r.servers[0].addr)
}

func testStrangersKeepNothing(t *testing.T, open opener) {
	r := open.start(t, setup{idle: 100 * time.Millisecond})
	r.client().send([]byte("and that is all"))
	eventually(t, "server1 was asked", func() bool { return r.servers[0].asked.Load() == 1 })
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(*r.servers[0].from.Load()))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	eventually(t, "the session was closed", func() bool {
		stranger.Write([]byte("stay")) // may be refused
		return r.snapshot().SessionsClosed[ledger.Idle] == 1
	})
}

// Regular clients, who have been heard over more than a second, and then many
// more new clients than there is room for. Every second one of these comes twice,
// and none of them waits for an answer. No more are sent than the data path takes, so
// that a busy machine loses none.
func testFlood(t *testing.T, open opener) {
	const limit, regulars, burst = 300, 20, 50
	var mu sync.Mutex
	from := map[string]netip.AddrPort{} // a regular at a server to the session's address there
	moved := 0
	r := open.start(t, setup{sessions: limit, prepare: func(servers []*server) {
		for _, s := range servers {
			s.answer = func(s *server, payload []byte, session netip.AddrPort) {
				if string(payload) == "flood" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				who := string(payload) + s.name
				if known, ok := from[who]; ok && known != session {
					moved++
				}
				from[who] = session
				s.named(payload, session)
			}
		}
	}})
	files := openFiles()
	clients := make([]*client, regulars)
	next := 0
	regularAsks := func() {
		clients[next%regulars].ask(fmt.Sprintf("regular %d ", next%regulars))
		next++
	}
	for i := range clients {
		clients[i] = r.client()
	}
	for since := time.Now(); time.Since(since) < 1200*time.Millisecond || next < 3*regulars || next%regulars > 0; {
		regularAsks()
	}
	for range regulars { // now each is known to be a regular
		regularAsks()
	}

	newcomers, sent := 0, r.snapshot().Received
	flood := func(evicted uint64) {
		eventually(t, fmt.Sprintf("%d sessions made room", evicted), func() bool {
			for range burst {
				newcomers++
				sent += floodOnce(t, newcomers, r.path.Addr())
			}
			// More may come: a stranger's, to a port that somebody had before.
			eventually(t, "the burst was received", func() bool { return r.snapshot().Received >= sent })
			regularAsks()
			sent++
			if n := openFiles(); n > files+regulars+3*limit+10 {
				t.Fatalf("%d files are open, %d before the flood", n, files)
			}
			s := r.snapshot()
			if s.Sessions > limit {
				t.Fatalf("%d sessions, want %d at most", s.Sessions, limit)
			}
			return s.SessionsClosed[ledger.Evicted] >= evicted
		})
	}
	flood(limit)
	full := inUse() // all places have long been taken
	flood(2 * limit)
	// A leg's buffer is the largest thing that one may have at the moment and the
	// other not.
	room := uint64(4 << 20)
	if _, portable := r.path.(*portable); portable {
		room += limit * 3 * udp.MaxDatagram
	}
	if now := inUse(); now > full+room {
		t.Errorf("%d KiB are in use, %d KiB at half of the flood", now>>10, full>>10)
	}
	mu.Lock()
	defer mu.Unlock()
	if moved > 0 {
		t.Errorf("%d times a regular came to a server in another session than before", moved)
	}
	if s := r.snapshot(); s.Dropped[ledger.SessionLimit] == 0 {
		t.Error("there was room for everybody: that was no flood")
	}
}

// inUse is how many bytes of the heap are.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// floodOnce sends one or two datagrams as the n-th of many clients, at an
// address of its own where a machine has many, and is gone. It returns how many
// it has sent.
func floodOnce(t *testing.T, n int, to netip.AddrPort) uint64 {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 1+byte(n>>16), byte(n>>8), byte(n))})
	if err != nil {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 1 + n%2 {
		if _, err := conn.WriteToUDPAddrPort([]byte("flood"), to); err != nil {
			t.Fatal(err)
		}
	}
	return uint64(1 + n%2)
}

func testClientRate(t *testing.T, open opener) {
	const limit, n = 5, 100
	r := open.start(t, setup{rate: limit})
	a, b := r.client(), r.client()
	began := time.Now()
	for range n {
		a.send([]byte("as fast as I can"))
	}
	eventually(t, "all were received", func() bool { return r.snapshot().Received == n })
	// A second's worth at once, and what has been saved up since.
	s, most := r.snapshot(), limit*(1+time.Since(began).Seconds())
	if s.Turns < limit || float64(s.Turns) > most || s.Dropped[ledger.ClientRate] != n-s.Turns {
		t.Errorf("%d turns, want %d to %.1f; %d refused of %d", s.Turns, limit, most, s.Dropped[ledger.ClientRate], n)
	}
	// Another client has its own, and the order has not moved.
	if got, want := b.who(1), fmt.Sprint(s.Turns%3+1); got != want {
		t.Errorf("the next client is answered by server%s, want server%s", got, want)
	}
}

// staysOpen checks that a session in which something happens again and again is
// not closed for being idle. Step makes it happen and waits until the data path has
// seen it. When a step or the pause before it took so long that the session may
// have been closed rightly, again makes a new one and the time starts anew.
func (r *rig) staysOpen(idle time.Duration, again, step func()) {
	r.t.Helper()
	closed := func() uint64 { return r.snapshot().SessionsClosed[ledger.Idle] }
	deadline := time.Now().Add(patience)
	again()
	began, before, last := time.Now(), closed(), time.Now()
	for time.Since(began) < 3*idle {
		started := time.Now()
		step()
		switch n := closed(); {
		case time.Since(last) >= idle:
			if time.Now().After(deadline) {
				r.t.Fatalf("for %v this machine has not run for %v without a pause of %v", patience, 3*idle, idle)
			}
			again()
			began, before, started = time.Now(), closed(), time.Now()
		case n > before:
			r.t.Fatalf("closed as idle %v after something happened, want %v at least", time.Since(last), idle)
		}
		last = started
		time.Sleep(idle / 20)
	}
}

func testClientRateKeeps(t *testing.T, open opener) {
	const idle = 200 * time.Millisecond // less than the second for the next allowance
	r := open.start(t, setup{rate: 1, idle: idle})
	c := r.client()
	step := func() {
		n := r.snapshot().Received
		c.send([]byte("and again"))
		eventually(t, "it was received", func() bool { return r.snapshot().Received > n })
	}
	r.staysOpen(idle, step, step)
	if r.snapshot().Dropped[ledger.ClientRate] == 0 {
		t.Error("nothing was refused")
	}
}

func testRepliesRenew(t *testing.T, open opener) {
	const idle = 200 * time.Millisecond
	asked := make(chan netip.AddrPort, 1)
	r := open.start(t, setup{idle: idle, prepare: func(servers []*server) {
		for _, s := range servers {
			s.answer = func(s *server, _ []byte, from netip.AddrPort) { asked <- from }
		}
	}})
	c := r.client()
	var session netip.AddrPort
	again := func() {
		c.send([]byte("tell me more and more"))
		session = <-asked
	}
	r.staysOpen(idle, again, func() {
		before := r.snapshot()
		from := r.servers[(before.Turns-1)%3]
		from.named([]byte("more"), session)
		eventually(t, "it was carried", func() bool {
			s := r.snapshot()
			return s.Replied > before.Replied || s.Sessions == 0
		})
	})
}

// longestV6 is the longest payload over IPv6, in bytes, longer than any over
// IPv4: its length counts no IP header (RFC 8200).
const longestV6 = 65_535 - 8

func testTooLong(t *testing.T, open opener) {
	r := open.start(t, setup{listen: "[::1]:0"})
	c := r.client()
	c.send([]byte(strings.Repeat("x", longestV6)))
	eventually(t, "it was dropped", func() bool { return r.snapshot().Dropped[ledger.SendFailed] == 1 })
	if got := c.who(3); got != "231" {
		t.Errorf("after it: %s", got)
	}
	if r.isDown(0) {
		t.Error("it took server1 down")
	}

	r = open.start(t, setup{listen: "[::1]:0", servers: "[::1]:0", prepare: func(servers []*server) {
		servers[0].answer = (*server).echo
	}})
	if got := r.client().ask(strings.Repeat("x", longestV6)); len(got) != longestV6 {
		t.Errorf("over IPv6 all the way %d bytes came back as %d", longestV6, len(got))
	}
}

func testReplyNotTaken(t *testing.T, open opener) {
	r := open.start(t, setup{servers: "[::1]:0", prepare: func(servers []*server) {
		servers[0].answer = func(s *server, payload []byte, from netip.AddrPort) {
			s.echo(make([]byte, longestV6), from)
			s.named(payload, from)
		}
	}})
	if got := r.client().who(4); got != "1231" {
		t.Errorf("got %s", got)
	}
	eventually(t, "the replies are counted", func() bool { return r.snapshot().Replied == 4 && r.snapshot().Backends[0].Lost == 2 })
}

func testNameGone(t *testing.T, open opener) {
	r := open.start(t, setup{})
	r.move(0, netip.AddrPort{})
	c := r.client()
	c.send([]byte("lost"))
	if got := c.who(2); got != "23" {
		t.Errorf("got %s", got)
	}
	if n := r.snapshot().Dropped[ledger.SendFailed]; n != 1 {
		t.Errorf("%d dropped", n)
	}
}

func testRefusingClient(t *testing.T, open opener) {
	const n, each = 20, 3
	gone := make(chan netip.AddrPort, 1)
	r := open.start(t, setup{prepare: func(servers []*server) {
		for _, s := range servers {
			s.answer = func(s *server, payload []byte, from netip.AddrPort) {
				if string(payload) == "do not answer yet" {
					gone <- from
				} else {
					s.named(payload, from)
				}
			}
		}
	}})
	stays := r.client()
	_, deaf := r.path.(*portable) // package net does not pass on what the system says of a listener
	for i := range uint64(n) {
		goes := r.client()
		goes.send([]byte("do not answer yet"))
		session := <-gone
		goes.conn.Close()
		server := r.servers[2*i%3] // every second turn is of a client that goes
		for k := range each {      // of different lengths, or the kernel may refuse several as one
			server.named(make([]byte, k), session)
		}
		question := fmt.Sprint("question ", i)
		if got := stays.ask(question); !strings.HasPrefix(got, question+" server") {
			t.Fatalf("the client that stays hears %q, want the answer to %q", got, question)
		}
		eventually(t, "every reply is counted", func() bool { return r.snapshot().Replied == (i+1)*(each+1) })
		eventually(t, "and so is every refusal", func() bool { return deaf || r.snapshot().RepliesRefused == (i+1)*each })
	}
	for i, b := range r.snapshot().Backends {
		if r.isDown(i) || b.Lost > 0 {
			t.Errorf("%s: down %v, %d replies lost", b.Name, r.isDown(i), b.Lost)
		}
	}
}

func testBroadcast(t *testing.T, open opener) {
	r := open.start(t, setup{listen: ":0"})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	everybody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 255, 255, 255}), r.path.Addr().Port())
	if _, err := conn.WriteToUDPAddrPort([]byte("everybody?"), everybody); err != nil {
		t.Skipf("no broadcast here: %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 100)
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, "everybody? server") {
		t.Errorf("got %q: %v", got, err)
	}
	if s := r.snapshot(); s.Backends[0].Lost > 0 {
		t.Errorf("%d replies lost", s.Backends[0].Lost)
	}
}

func testToAndFro(t *testing.T, open opener) {
	r := open.start(t, setup{})
	c := r.client()
	c.who(3)
	here, there := r.servers[0].addr, startServer(t, "server1", "127.0.0.1:0").serve().addr
	elsewhere := startServer(t, "server1", "127.0.0.1:0").serve().addr
	most := openFiles() + 1 // one socket to where it was before
	for i := range 12 {
		r.move(0, []netip.AddrPort{there, here, elsewhere}[i%3])
		if got := c.who(3); got != "123" {
			t.Errorf("move %d: %s", i+1, got)
		}
		eventually(t, "no more sockets than before", func() bool { return openFiles() <= most })
	}
}
