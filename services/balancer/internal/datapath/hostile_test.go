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
	"udplab/services/kit/udp"
)

func testItself(t *testing.T, open opener) {
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		t.Run(listen, func(t *testing.T) {
			r := open.start(t, setup{listen: listen})
			r.backends.move(0, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.relay.Addr().Port()))
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
	rot := balancing.New(1, balancing.Skip)
	led := ledger.New([]string{"first"}, time.Minute, time.Now())
	other, err := open(t.Context(), Config{
		Listen: "127.0.0.1:0", SessionIdle: time.Minute, MaxSessions: limit, Rotation: rot, Ledger: led,
		Backends: &directory{rotation: rot, ledger: led, addrs: []netip.AddrPort{r.relay.Addr()}, down: make([]bool, 1)},
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

	r.backends.move(0, other.Addr())
	r.rotation.Set(1, balancing.Down) // or the next turn would lead out of the circle
	r.rotation.Set(2, balancing.Down)
	r.client().send([]byte("round and round"))
	eventually(t, "a balancer had no room for it", func() bool {
		return r.snapshot().Dropped[ledger.SessionLimit]+led.Snapshot(time.Now()).Dropped[ledger.SessionLimit] == 1
	})
	for _, s := range []ledger.Snapshot{r.snapshot(), led.Snapshot(time.Now())} {
		if s.Sessions > limit || s.Received != s.Forwarded+s.DroppedTotal() {
			t.Errorf("sessions %d, received %d, forwarded %d, dropped %d", s.Sessions, s.Received, s.Forwarded, s.DroppedTotal())
		}
	}
	r.rotation.Set(1, balancing.Up)
	r.rotation.Set(2, balancing.Up)
	r.backends.move(0, r.servers[0].addr)
}

func testStrangersKeepNothing(t *testing.T, open opener) {
	r := open.start(t, setup{idle: 400 * time.Millisecond})
	r.client().who(1)
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

// pinger asks again and again and counts the answers.
type pinger struct {
	*client
	asked, answered int
}

// every asks at an interval until the context ends, and then waits a little for
// answers that are late.
func (p *pinger) every(ctx context.Context, interval time.Duration) {
	for next := time.Now(); ctx.Err() == nil; next = next.Add(interval) {
		p.hearUntil(next)
		time.Sleep(time.Until(next))
		p.conn.Write([]byte("there?"))
		p.asked++
	}
	p.hearUntil(time.Now().Add(2 * time.Second))
}

// hearUntil counts the answers until a moment, or until there are no more to
// come.
func (p *pinger) hearUntil(deadline time.Time) {
	for p.answered < p.asked {
		if _, ok := p.hear(time.Until(deadline)); !ok {
			return
		}
		p.answered++
	}
}

// Clients that ask ten times a second and clients that ask less than once a
// second, as those do that wait a second for a lost answer, and then ten times as
// many new clients a second as there is room for. Half of these come twice, and
// none of them waits for an answer.
func testFlood(t *testing.T, open opener) {
	const limit, newcomers = 300, 3000 // a second
	r := open.start(t, setup{sessions: limit})
	files := openFiles(t)
	const ms = time.Millisecond
	intervals := []time.Duration{100 * ms, 1100 * ms, 1300 * ms, 1500 * ms, 1700 * ms}
	pingers := make([]*pinger, 20)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range pingers {
		pingers[i] = &pinger{client: r.client()}
		pingers[i].who(2)
	}
	for i, p := range pingers {
		wg.Go(func() { p.every(ctx, intervals[i%len(intervals)]) })
	}
	// The first 2 datagrams of each, and what each has sent at 1.7 seconds.
	const known = 20*2 + 4*18 + 16*2
	eventually(t, "all have been heard over more than a second", func() bool { return r.snapshot().Received >= known })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, sent, most := time.Now(), 0, uint64(0)
	full := uint64(0) // what was in use when all places had long been taken
	for time.Since(began) < 3*time.Second {
		if full == 0 && time.Since(began) > time.Second {
			full = inUse()
		}
		for ; sent < int(time.Since(began).Seconds()*newcomers); sent++ {
			floodOnce(t, sent, r.relay.Addr())
		}
		most = max(most, r.snapshot().Sessions)
		if n := openFiles(t); n > files+len(pingers)+3*limit+10 {
			t.Fatalf("%d files are open, %d before the flood", n, files)
		}
		<-tick.C
	}
	// Twice as many have come since, and gone. A leg's buffer is the largest thing
	// that one may have at the moment and the other not.
	room := uint64(4 << 20)
	if _, portable := r.relay.(*portable); portable {
		room += limit * 3 * udp.MaxDatagram
	}
	if now := inUse(); now > full+room {
		t.Errorf("%d KiB are in use, %d KiB two seconds before", now>>10, full>>10)
	}
	stop()
	wg.Wait()
	for i, interval := range intervals {
		asked, answered := 0, 0
		for k := i; k < len(pingers); k += len(intervals) {
			asked += pingers[k].asked
			answered += pingers[k].answered
		}
		t.Logf("every %v: asked %d times, %d answers", interval, asked, answered)
		if answered*100 < asked*99 {
			t.Errorf("of those who asked every %v: %d answers to %d datagrams, want 99 %%", interval, answered, asked)
		}
	}
	s := r.snapshot()
	t.Logf("%d new clients, at most %d sessions, %d dropped, %d by the kernel", sent, most, s.Dropped[ledger.SessionLimit], r.relay.KernelDrops())
	if most != limit || s.Dropped[ledger.SessionLimit] == 0 || s.SessionsClosed[ledger.Evicted] == 0 {
		t.Errorf("at most %d sessions, want %d; evicted %d, dropped %v", most, limit, s.SessionsClosed[ledger.Evicted], s.Dropped)
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
// address of its own where a machine has many, and is gone.
func floodOnce(t *testing.T, n int, to netip.AddrPort) {
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
}

func testClientRate(t *testing.T, open opener) {
	const limit, n = 5, 300
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

// steadily calls f so often, with pauses, and says whether no pause became much
// longer than wanted: where one did, the machine was busy with something else
// and the test shows nothing.
func steadily(times int, pause, longest time.Duration, f func()) bool {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	steady := true
	for last := time.Now(); times > 0; times-- {
		f()
		<-tick.C
		steady = steady && time.Since(last) < longest
		last = time.Now()
	}
	return steady
}

func testClientRateKeeps(t *testing.T, open opener) {
	const idle = 400 * time.Millisecond // less than the second for the next allowance
	for range 5 {
		r := open.start(t, setup{rate: 1, idle: idle})
		c := r.client()
		steady := steadily(40, idle/20, idle/2, func() { c.send([]byte("and again")) })
		s := r.snapshot()
		if r.stop(); !steady {
			continue
		}
		if s.SessionsOpened != 1 || s.Turns > 2 {
			t.Errorf("%d sessions, %d turns", s.SessionsOpened, s.Turns)
		}
		return
	}
	t.Skip("this machine is too busy")
}

func testRepliesRenew(t *testing.T, open opener) {
	const idle = 400 * time.Millisecond
	for range 5 {
		asked := make(chan netip.AddrPort, 1)
		r := open.start(t, setup{idle: idle, prepare: func(servers []*server) {
			servers[0].answer = func(_ *server, _ []byte, from netip.AddrPort) { asked <- from }
		}})
		c := r.client()
		c.send([]byte("tell me more and more"))
		from := <-asked
		steady := steadily(40, idle/20, idle/2, func() { r.servers[0].named([]byte("more"), from) })
		s := r.snapshot()
		if r.stop(); !steady {
			continue
		}
		if s.Sessions != 1 || s.SessionsClosed[ledger.Idle] != 0 {
			t.Errorf("%d sessions, %d closed for being idle", s.Sessions, s.SessionsClosed[ledger.Idle])
		}
		return
	}
	t.Skip("this machine is too busy")
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
	if r.backends.isDown(0) {
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
	r.backends.move(0, netip.AddrPort{})
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
	const n = 50
	r := open.start(t, setup{prepare: func(servers []*server) {
		for _, s := range servers {
			s.answer = func(s *server, payload []byte, from netip.AddrPort) {
				for range 3 { // a refusal for each, where the client is gone
					s.named(payload, from)
				}
			}
		}
	}})
	stays := r.client()
	_, deaf := r.relay.(*portable) // package net does not pass on what the system says of a listener
	for i := range n {
		goes := r.client()
		goes.send([]byte("do not answer"))
		goes.conn.Close()
		question := fmt.Sprint("question ", i)
		stays.send([]byte(question))
		for range 3 {
			if got, ok := stays.hear(patience); !ok || !strings.HasPrefix(got, question+" server") {
				t.Fatalf("the client that stays hears %q, want the answer to %q", got, question)
			}
		}
	}
	eventually(t, "every reply is counted", func() bool { return r.snapshot().Replied == 6*n })
	eventually(t, "and so is every refusal", func() bool { return deaf || r.snapshot().RepliesRefused == 3*n })
	for i, b := range r.snapshot().Backends {
		if r.backends.isDown(i) || b.Lost > 0 {
			t.Errorf("%s: down %v, %d replies lost", b.Name, r.backends.isDown(i), b.Lost)
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
	everybody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 255, 255, 255}), r.relay.Addr().Port())
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
	most := openFiles(t) + 1 // one socket to where it was before
	for i := range 12 {
		r.backends.move(0, []netip.AddrPort{there, here, elsewhere}[i%3])
		if got := c.who(3); got != "123" {
			t.Errorf("move %d: %s", i+1, got)
		}
		eventually(t, "no more sockets than before", func() bool { return openFiles(t) <= most })
	}
}
