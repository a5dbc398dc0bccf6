package datapath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
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

// directory is the Backends of a test: addresses that the test may change, and
// a state that follows the evidence at once.
type directory struct {
	rotation *balancing.Rotation
	ledger   *ledger.Ledger
	mu       sync.Mutex
	addrs    []netip.AddrPort
	old      map[netip.AddrPort]int
	down     []bool
	tried    int
}

func (d *directory) Len() int { return len(d.addrs) }

func (d *directory) Addr(i int) netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addrs[i]
}

func (d *directory) Owner(addr netip.AddrPort) (int, bool, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, a := range d.addrs {
		if a == addr {
			return i, true, true
		}
	}
	i, ok := d.old[addr]
	return i, false, ok
}

func (d *directory) Refused(i int, addr netip.AddrPort, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addrs[i] == addr && !d.down[i] {
		d.down[i] = true
		d.rotation.Set(i, balancing.Down)
		d.ledger.BackendDown(time.Now(), i, ledger.Evidence{Reason: err.Error()})
	}
}

func (d *directory) Answered(i int, addr netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addrs[i] == addr && d.down[i] {
		d.down[i] = false
		d.rotation.Set(i, balancing.Up)
		d.ledger.BackendUp(time.Now(), i)
	}
}

func (d *directory) Tried(int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried++
}

func (d *directory) isDown(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down[i]
}

func (d *directory) move(i int, to netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old[d.addrs[i]] = i
	d.addrs[i] = to
}

// rig is a running relay with three servers.
type rig struct {
	t        *testing.T
	relay    Relay
	rotation *balancing.Rotation
	ledger   *ledger.Ledger
	backends *directory
	servers  []*server
	cancel   func()       // tells the relay to stop
	stop     func() error // cancels and waits until Run has returned
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
	// beforeRun is called when the relay is open and does not run yet.
	beforeRun func(*rig)
}

// opener opens one of the data paths.
type opener func(context.Context, Config) (Relay, error)

func (open opener) start(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t, rotation: balancing.New(3, s.whenDown)}
	r.ledger = ledger.New([]string{"server1", "server2", "server3"}, time.Minute, time.Now()) // turns wait for longer than any test
	r.backends = &directory{rotation: r.rotation, ledger: r.ledger, down: make([]bool, 3), old: map[netip.AddrPort]int{}}
	for i := range 3 {
		server := startServer(t, fmt.Sprintf("server%d", i+1), or(s.servers, "127.0.0.1:0"))
		r.servers = append(r.servers, server)
		r.backends.addrs = append(r.backends.addrs, server.addr)
	}
	if s.prepare != nil {
		s.prepare(r.servers)
	}
	for _, server := range r.servers {
		server.serve()
	}
	relay, err := open(t.Context(), Config{
		Listen: or(s.listen, "127.0.0.1:0"), SessionIdle: or(s.idle, time.Minute), MaxSessions: or(s.sessions, 10_000),
		ClientRate: s.rate, Drain: or(s.drain, 50*time.Millisecond), Rotation: r.rotation, Ledger: r.ledger, Backends: r.backends,
	})
	if err != nil && strings.Contains(s.listen, "::") {
		t.Skipf("no relay on %s here: %v", s.listen, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.relay = relay
	if s.beforeRun != nil {
		s.beforeRun(r)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if s.stopped {
		cancel()
	}
	ran := make(chan error, 1)
	go func() { ran <- relay.Run(ctx) }()
	r.cancel = cancel
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ran:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the relay still runs %v after its stop", patience)
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
	// The backends' own counts and the rotation's are kept apart from these.
	turns, forwarded := uint64(0), uint64(0)
	for _, b := range s.Backends {
		turns += b.Turns
		forwarded += b.Forwarded
	}
	took := s.Forwarded + s.Dropped[ledger.DroppedDown] + s.Dropped[ledger.NoSocket] + s.Dropped[ledger.SendFailed]
	if number, _ := r.rotation.Cursor(); number != took || s.Turns != took || turns != took || forwarded != s.Forwarded {
		r.t.Errorf("%d datagrams took a turn, %d were forwarded: the rotation gave %d, the ledger has %d, the servers %d and %d",
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

// client is somebody who sends to the relay.
type client struct {
	t    *testing.T
	conn *net.UDPConn
}

func (r *rig) client() *client { return r.clientAt(r.relay.Addr().Addr().String()) }

// clientAt writes to the relay at an address of its own choice, and hears only
// what comes from there.
func (r *rig) clientAt(host string) *client {
	r.t.Helper()
	target := netip.AddrPortFrom(netip.MustParseAddr(host), r.relay.Addr().Port())
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
