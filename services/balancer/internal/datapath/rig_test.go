package datapath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/udp"
)

func TestMain(m *testing.M) {
	// The runtime opens descriptors of its own with the first socket. Tests that
	// count descriptors must not see that.
	if conn, err := net.ListenUDP("udp4", nil); err == nil {
		conn.Close()
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen before it fails: so
// long that a busy machine makes no test fail.
const patience = time.Minute

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// server is a server in the test.
type server struct {
	name  string
	conn  *net.UDPConn
	addr  netip.AddrPort
	asked atomic.Int64
	done  chan struct{}
}

func startServer(t testing.TB, name, address string, answer func(*server, []byte, netip.AddrPort)) *server {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil && strings.Contains(address, "::") {
		t.Skipf("no IPv6 here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(4 << 20)
	s := &server{name: name, conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), done: make(chan struct{})}
	t.Cleanup(s.stop)
	go func() {
		defer close(s.done)
		buf := make([]byte, udp.MaxDatagram)
		for {
			n, from, err := s.conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				s.asked.Add(1)
				answer(s, buf[:n], udp.Unmap(from))
			}
		}
	}()
	return s
}

func (s *server) stop() {
	if s.conn.Close() == nil {
		<-s.done
	}
}

// named answers with the payload, a space and the server's name.
func (s *server) named(payload []byte, from netip.AddrPort) {
	s.conn.WriteToUDPAddrPort([]byte(string(payload)+" "+s.name), from)
}

func (s *server) echo(payload []byte, from netip.AddrPort) {
	s.conn.WriteToUDPAddrPort(payload, from)
}

// held is a datagram that a server has not answered yet.
type held struct {
	server  *server
	session netip.AddrPort // where it came from
}

func (h held) answer(payload string) { h.server.named([]byte(payload), h.session) }

// members is the servers of a test: addresses and states that the test may
// change, and states that follow the evidence at once.
type members struct {
	scheduler *balancing.Scheduler
	ledger    *ledger.Ledger
	tried     atomic.Int32 // trials

	mu       sync.Mutex // guards the rest
	backends []membership.Backend
	former   map[netip.AddrPort]*membership.Backend
	snapshot *membership.Snapshot
	list     uint64
}

// newMembers returns servers at these addresses, called server1 and so on. Turns
// wait for an answer for longer than any test.
func newMembers(addrs ...netip.AddrPort) *members {
	m := &members{list: 1, scheduler: balancing.New(balancing.Skip), ledger: ledger.New(time.Hour, time.Now()), former: map[netip.AddrPort]*membership.Backend{}}
	m.change(func() {
		for i, addr := range addrs {
			m.backends = append(m.backends, membership.Backend{ID: membership.ID(i + 1), Name: fmt.Sprintf("server%d", i+1), Addr: addr})
		}
	})
	return m
}

// change changes the servers, from the next turn on.
func (m *members) change(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.snapshot = membership.NewSnapshot(m.list, slices.Clone(m.backends)...)
	m.scheduler.Apply(m.snapshot, func(turn uint64) { m.ledger.Apply(time.Now(), m.snapshot, turn) })
}

// set sets the state of the server at a place, counted from 0.
func (m *members) set(place int, state membership.State) {
	m.change(func() {
		if m.backends[place].State = state; state == membership.Trial {
			m.backends[place].Trials++
		}
	})
}

// replace replaces the list by another. Servers that are gone are known by their
// address for as long as the test runs.
func (m *members) replace(list []membership.Backend) {
	m.change(func() {
		for _, b := range m.backends {
			m.former[b.Addr] = &b
		}
		m.backends = list
		m.list++
	})
}

// move gives the server at a place another address.
func (m *members) move(place int, to netip.AddrPort) {
	m.change(func() {
		former := m.backends[place]
		m.former[former.Addr] = &former
		m.backends[place].Addr = to
	})
}

func (m *members) isDown(place int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.backends[place].State != membership.Up
}

func (m *members) Owner(addr netip.AddrPort) (*membership.Backend, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, current := m.snapshot.Owner(addr); b != nil {
		return b, current
	}
	return m.former[addr], false
}

func (m *members) Failed(e membership.Evidence) { m.found(e.Backend, e.Addr, membership.Down) }

func (m *members) Answered(id membership.ID, addr netip.AddrPort) { m.found(id, addr, membership.Up) }

// found sets the state of a server if it is still at the address.
func (m *members) found(id membership.ID, addr netip.AddrPort, state membership.State) {
	m.change(func() {
		for i := range m.backends {
			if b := &m.backends[i]; b.ID == id && b.Addr == addr {
				b.State = state
			}
		}
	})
}

func (m *members) Tried(membership.ID) { m.tried.Add(1) }

// rig is a running data path with three servers.
type rig struct {
	*members
	t       testing.TB
	path    DataPath
	servers []*server
	held    chan held
	cancel  func() // tells the data path to stop
	stop    func() // cancels and waits until Run has returned
}

// setup is what a test may want otherwise.
type setup struct {
	listen   string                                               // default 127.0.0.1:0
	servers  string                                               // their address; default 127.0.0.1:0
	idle     time.Duration                                        // default a minute
	sessions int                                                  // default 10,000
	drain    time.Duration                                        // default 50 ms
	stopped  bool                                                 // before it runs
	answer   func(s *server, payload []byte, from netip.AddrPort) // default (*server).named
	hold     string                                               // datagrams with this payload are not answered, but come to rig.held
	// beforeRun is called when the data path is open and does not run yet.
	beforeRun func(*rig)
}

// opener opens one of the data paths.
type opener func(context.Context, Config) (DataPath, error)

func (open opener) start(t testing.TB, s setup) *rig {
	t.Helper()
	r := &rig{t: t, held: make(chan held, 1)}
	answer := func(server *server, payload []byte, from netip.AddrPort) {
		switch {
		case s.hold != "" && string(payload) == s.hold:
			r.held <- held{server, from}
		case s.answer != nil:
			s.answer(server, payload, from)
		default:
			server.named(payload, from)
		}
	}
	var addrs []netip.AddrPort
	for i := range 3 {
		started := startServer(t, fmt.Sprintf("server%d", i+1), cmp.Or(s.servers, "127.0.0.1:0"), answer)
		r.servers = append(r.servers, started)
		addrs = append(addrs, started.addr)
	}
	r.members = newMembers(addrs...)
	var err error
	r.path, err = open(t.Context(), Config{
		Listen: cmp.Or(s.listen, "127.0.0.1:0"), SessionIdle: cmp.Or(s.idle, time.Minute), MaxSessions: cmp.Or(s.sessions, 10_000),
		Drain: cmp.Or(s.drain, 50*time.Millisecond), Scheduler: r.scheduler, Ledger: r.ledger, Members: r.members,
	})
	if err != nil && strings.Contains(s.listen, "::") {
		t.Skipf("no data path on %s here: %v", s.listen, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.beforeRun != nil {
		s.beforeRun(r)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if s.stopped {
		cancel()
	}
	ran := make(chan error, 1)
	go func() { ran <- r.path.Run(ctx) }()
	r.cancel = cancel
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ran:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Errorf("the data path still runs %v after its stop", patience)
		}
		r.checkBooks()
	})
	t.Cleanup(r.stop)
	return r
}

// allUp wants no server to be down.
func (r *rig) allUp() {
	r.t.Helper()
	for i, b := range r.backends {
		if r.isDown(i) {
			r.t.Errorf("%s was blamed", b.Name)
		}
	}
}

// checkBooks checks the promises that hold at every moment.
func (r *rig) checkBooks() {
	r.t.Helper()
	s := r.snapshot()
	if s.OrderViolations != 0 {
		r.t.Errorf("%d order violations", s.OrderViolations)
	}
	if s.Received != s.Forwarded+s.DroppedTotal() {
		r.t.Errorf("received %d, forwarded %d, dropped %d", s.Received, s.Forwarded, s.DroppedTotal())
	}
	// The servers' own counts and the scheduler's are kept apart from these.
	turns, forwarded := s.Removed.Turns, s.Removed.Forwarded
	for _, b := range s.Backends {
		turns += b.Turns
		forwarded += b.Forwarded
	}
	took := s.Forwarded + s.Dropped[ledger.DroppedDown] + s.Dropped[ledger.NoSocket] + s.Dropped[ledger.SendFailed]
	if number, _ := r.scheduler.Cursor(); number != took || s.Turns != took || turns != took || forwarded != s.Forwarded {
		r.t.Errorf("%d datagrams took a turn, %d were forwarded: the scheduler gave %d, the ledger has %d, the servers %d and %d",
			took, s.Forwarded, number, s.Turns, turns, forwarded)
	}
}

// snapshot is the books as they are now.
func (r *rig) snapshot() ledger.Snapshot { return r.ledger.Snapshot(time.Now()) }

// asked is how many datagrams have come to the servers.
func (r *rig) asked() (sum int) {
	for _, s := range r.servers {
		sum += int(s.asked.Load())
	}
	return sum
}

// replied waits until exactly so many replies are counted: the client may hear
// one just before the ledger does.
func (r *rig) replied(n uint64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d replies are counted", n), func() bool { return r.snapshot().Replied >= n })
	if got := r.snapshot().Replied; got != n {
		r.t.Errorf("%d replies are counted, want %d", got, n)
	}
}

// client sends to the data path.
type client struct {
	t    testing.TB
	conn *net.UDPConn
}

func (r *rig) client() *client {
	r.t.Helper()
	return r.clientAt(r.t, r.path.Addr().Addr().String())
}

// clientAt writes to the data path at an address of its own choice, and hears only
// what comes from there.
func (r *rig) clientAt(t testing.TB, host string) *client {
	t.Helper()
	return newClient(t, netip.AddrPortFrom(netip.MustParseAddr(host), r.path.Addr().Port()))
}

func newClient(t testing.TB, target netip.AddrPort) *client {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		t.Skipf("no way to %v here: %v", target, err)
	}
	conn.SetReadBuffer(4 << 20)
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn}
}

func (c *client) send(payload string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(payload)); err != nil {
		c.t.Fatal(err)
	}
}

// hearFor returns the next datagram; ok is false if none comes within wait.
func (c *client) hearFor(wait time.Duration) (datagram string, ok bool) {
	c.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, udp.MaxDatagram)
	n, err := c.conn.Read(buf)
	return string(buf[:n]), err == nil
}

// hear returns the next datagram, which must come.
func (c *client) hear() string {
	c.t.Helper()
	datagram, ok := c.hearFor(patience)
	if !ok {
		c.t.Fatal("no answer")
	}
	return datagram
}

// ask sends a datagram and returns the answer.
func (c *client) ask(payload string) string {
	c.t.Helper()
	c.send(payload)
	return c.hear()
}

// who asks again and again and wants answers from the servers of these numbers.
func (c *client) who(order string) {
	c.t.Helper()
	got := ""
	for range order {
		answer := c.ask("ping")
		got += answer[len(answer)-1:]
	}
	if got != order {
		c.t.Errorf("answered by %s, want %s", got, order)
	}
}
