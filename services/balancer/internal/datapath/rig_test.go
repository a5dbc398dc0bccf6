package datapath

import (
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
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// server is a backend in the test. By default it answers each datagram with
// its payload, a space and its name.
type server struct {
	name   string
	conn   *net.UDPConn
	addr   netip.AddrPort
	asked  atomic.Int64
	from   atomic.Pointer[netip.AddrPort] // who asked last
	answer func(s *server, payload []byte, from netip.AddrPort)
	done   chan struct{}
}

func startServer(t *testing.T, name, address string) *server {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil && strings.Contains(address, "::") {
		t.Skipf("no IPv6 here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(4 << 20)
	s := &server{name: name, conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), done: make(chan struct{})}
	s.answer = (*server).named
	t.Cleanup(s.stop)
	return s
}

// serve answers until the server is stopped.
func (s *server) serve() *server {
	go func() {
		defer close(s.done)
		buf := make([]byte, udp.MaxDatagram)
		for {
			n, from, err := s.conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				from = udp.Unmap(from)
				s.from.Store(&from)
				s.asked.Add(1)
				s.answer(s, buf[:n], from)
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

func (s *server) named(payload []byte, from netip.AddrPort) {
	s.conn.WriteToUDPAddrPort([]byte(string(payload)+" "+s.name), from)
}

func (s *server) echo(payload []byte, from netip.AddrPort) {
	s.conn.WriteToUDPAddrPort(payload, from)
}

func (s *server) silent([]byte, netip.AddrPort) {}

// members is the servers of a test: addresses and states that the test may
// change, and states that follow the evidence at once.
type members struct {
	scheduler *balancing.Scheduler
	ledger    *ledger.Ledger

	mu       sync.Mutex // guards the rest
	backends []membership.Backend
	former   map[netip.AddrPort]*membership.Backend // of servers that have moved or are gone
	snapshot *membership.Snapshot
	list     uint64
	tried    int
}

// newMembers returns servers at these addresses, called server1 and so on. Turns
// wait for an answer for longer than any test.
func newMembers(whenDown balancing.WhenDown, addrs ...netip.AddrPort) *members {
	m := &members{
		scheduler: balancing.New(whenDown), ledger: ledger.New(time.Minute, time.Now()),
		former: map[netip.AddrPort]*membership.Backend{}, list: 1,
	}
	for i, addr := range addrs {
		m.backends = append(m.backends, membership.Backend{ID: membership.ID(i + 1), Name: fmt.Sprintf("server%d", i+1), Addr: addr})
	}
	m.change(func() {})
	return m
}

// change changes the servers, from the next turn on.
func (m *members) change(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.snapshot = membership.NewSnapshot(0, m.list, slices.Clone(m.backends)...)
	m.scheduler.Apply(m.snapshot, func(turn uint64) { m.ledger.Apply(time.Now(), m.snapshot, turn) })
}

func (m *members) set(i int, state membership.State) {
	m.change(func() {
		if m.backends[i].State = state; state == membership.Trial {
			m.backends[i].Trials++
		}
	})
}

func (m *members) move(i int, to netip.AddrPort) {
	m.change(func() {
		was := m.backends[i]
		m.former[was.Addr] = &was
		m.backends[i].Addr = to
	})
}

func (m *members) isDown(i int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.backends[i].State != membership.Up
}

func (m *members) Owner(addr netip.AddrPort) (*membership.Backend, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, current := m.snapshot.Owner(addr); b != nil {
		return b, current
	}
	return m.former[addr], false
}

func (m *members) Failed(e membership.Evidence) {
	if i := m.index(e.Backend, e.Addr); i >= 0 && !m.isDown(i) {
		m.set(i, membership.Down)
	}
}

func (m *members) Answered(id membership.ID, addr netip.AddrPort) {
	if i := m.index(id, addr); i >= 0 && m.isDown(i) {
		m.set(i, membership.Up)
	}
}

func (m *members) Tried(id membership.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tried++
}

// index is where the server of an ID stands in the list, if it is at addr; else -1.
func (m *members) index(id membership.ID, addr netip.AddrPort) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.IndexFunc(m.backends, func(b membership.Backend) bool { return b.ID == id && b.Addr == addr })
}

func (m *members) at(i int) netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.backends[i].Addr
}

// rig is a running data path with three servers.
type rig struct {
	*members
	t       *testing.T
	path    DataPath
	servers []*server
	cancel  func()       // tells the data path to stop
	stop    func() error // cancels and waits until Run has returned
}

// setup is what a test may want otherwise.
type setup struct {
	listen   string // default 127.0.0.1:0
	servers  string // their address; default 127.0.0.1:0
	whenDown balancing.WhenDown
	idle     time.Duration // default a minute
	sessions int           // default 10,000
	rate     int           // of each client; default no limit
	drain    time.Duration // default 50 ms
	stopped  bool          // before it runs
	prepare  func(servers []*server)
	// beforeRun is called when the data path is open and does not run yet.
	beforeRun func(*rig)
}

// opener opens one of the data paths.
type opener func(context.Context, Config) (DataPath, error)

func (open opener) start(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t}
	var addrs []netip.AddrPort
	for i := range 3 {
		server := startServer(t, fmt.Sprintf("server%d", i+1), or(s.servers, "127.0.0.1:0"))
		r.servers = append(r.servers, server)
		addrs = append(addrs, server.addr)
	}
	r.members = newMembers(s.whenDown, addrs...)
	if s.prepare != nil {
		s.prepare(r.servers)
	}
	for _, server := range r.servers {
		server.serve()
	}
	path, err := open(t.Context(), Config{
		Listen: or(s.listen, "127.0.0.1:0"), SessionIdle: or(s.idle, time.Minute), MaxSessions: or(s.sessions, 10_000),
		ClientRate: s.rate, Drain: or(s.drain, 50*time.Millisecond), Scheduler: r.scheduler, Ledger: r.ledger, Members: r.members,
	})
	if err != nil && strings.Contains(s.listen, "::") {
		t.Skipf("no data path on %s here: %v", s.listen, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.path = path
	if s.beforeRun != nil {
		s.beforeRun(r)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if s.stopped {
		cancel()
	}
	ran := make(chan error, 1)
	go func() { ran <- path.Run(ctx) }()
	r.cancel = cancel
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ran:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the data path still runs %v after its stop", patience)
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.balances()
	})
	return r
}

// or is the value, or what to take if there is none.
func or[T comparable](value, otherwise T) T {
	var none T
	if value == none {
		return otherwise
	}
	return value
}

// balances checks the promises that hold at every moment.
func (r *rig) balances() {
	r.t.Helper()
	s := r.ledger.Snapshot(time.Now())
	if s.OrderViolations != 0 {
		r.t.Errorf("%d order violations", s.OrderViolations)
	}
	if s.Received != s.Forwarded+s.DroppedTotal() {
		r.t.Errorf("received %d, forwarded %d, dropped %d", s.Received, s.Forwarded, s.DroppedTotal())
	}
	// The backends' own counts and the scheduler's are kept apart from these.
	turns, forwarded := s.Removed.Turns, s.Removed.Forwarded
	for _, b := range s.Backends {
		turns += b.Turns
		forwarded += b.Forwarded
	}
	took := s.Forwarded + s.Dropped[ledger.DroppedDown] + s.Dropped[ledger.NoSocket] + s.Dropped[ledger.SendFailed]
	if number, _, _ := r.scheduler.Cursor(); number != took || s.Turns != took || turns != took || forwarded != s.Forwarded {
		r.t.Errorf("%d datagrams took a turn, %d were forwarded: the scheduler gave %d, the ledger has %d, the servers %d and %d",
			took, s.Forwarded, number, s.Turns, turns, forwarded)
	}
}

func (r *rig) snapshot() ledger.Snapshot { return r.ledger.Snapshot(time.Now()) }

// replied waits until exactly so many replies are counted: the client may hear
// one just before the ledger does.
func (r *rig) replied(n uint64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d replies are counted", n), func() bool { return r.snapshot().Replied >= n })
	if got := r.snapshot().Replied; got != n {
		r.t.Errorf("%d replies are counted, want %d", got, n)
	}
}

// client is somebody who sends to the data path.
type client struct {
	t    *testing.T
	conn *net.UDPConn
}

func (r *rig) client() *client { return r.clientAt(r.path.Addr().Addr().String()) }

// clientAt writes to the data path at an address of its own choice, and hears only
// what comes from there.
func (r *rig) clientAt(host string) *client {
	r.t.Helper()
	target := netip.AddrPortFrom(netip.MustParseAddr(host), r.path.Addr().Port())
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		r.t.Skipf("no way to %v here: %v", target, err)
	}
	conn.SetReadBuffer(4 << 20)
	r.t.Cleanup(func() { conn.Close() })
	return &client{r.t, conn}
}

func (c *client) send(payload []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(payload); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next datagram; "" and false if none comes within wait.
func (c *client) hear(wait time.Duration) (string, bool) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, udp.MaxDatagram)
	n, err := c.conn.Read(buf)
	return string(buf[:n]), err == nil
}

// ask sends a datagram and waits for the answer.
func (c *client) ask(payload string) string {
	c.t.Helper()
	c.send([]byte(payload))
	answer, ok := c.hear(patience)
	if !ok {
		c.t.Fatalf("no answer to %.20q", payload)
	}
	return answer
}

// who asks n times and returns the last characters of the answers: the
// servers' numbers.
func (c *client) who(n int) (order string) {
	c.t.Helper()
	for range n {
		answer := c.ask("ping")
		order += answer[len(answer)-1:]
	}
	return order
}
