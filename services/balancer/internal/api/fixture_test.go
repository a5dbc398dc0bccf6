package api

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// balancer is a balancer that has had three turns: the first was answered, the
// second not, the third was dropped.
type balancer struct {
	Config
	feed    *feed
	alive   atomic.Bool
	servers []membership.Backend
}

func newBalancer(names ...string) *balancer {
	start := time.Now().Add(-time.Minute)
	b := &balancer{}
	b.alive.Store(true)
	b.Config = Config{
		Ledger:      ledger.New(time.Second, start),
		Scheduler:   balancing.New(balancing.Skip),
		Alive:       b.alive.Load,
		Hosts:       Hosts{"localhost", "127.0.0.1", "[::1]", "balancer"},
		HostsFrom:   "BALANCER_HTTP_HOSTS",
		Facts:       view.Facts{Version: "v1.2.3", Listen: "[::]:8888", DataPath: "portable", WhenDown: "skip", AnswerTimeout: 1000},
		Grace:       500 * time.Millisecond,
		KernelDrops: func() uint64 { return 17 },
	}
	for i, name := range names {
		b.servers = append(b.servers, membership.Backend{ID: membership.ID(i + 1), Name: name, Configured: name + ".lab:2526", Since: start})
	}
	b.servers[0].Addr = netip.MustParseAddrPort("127.0.0.1:2526")
	b.apply(start)
	var pending ledger.Outstanding
	b.Ledger.SessionOpened()
	b.Scheduler.Take(make([]balancing.Turn, 3))
	for _, disposition := range []ledger.Disposition{ledger.Forwarded, ledger.Forwarded, ledger.SendFailed} {
		b.turn(start.Add(time.Second), "127.0.0.1:4000", &pending, disposition)
	}
	b.Ledger.Replied(start.Add(time.Second+412*time.Microsecond), []ledger.Reply{{Backend: 1, Bytes: 27, Head: []byte("PING 1 10:04:05.120 server1"), Outstanding: &pending}})
	b.Ledger.Dropped(ledger.NoBackend, 4)
	b.feed = newFeed(b.Config)
	return b
}

// more gives a balancer n more turns, all forwarded, by one client.
func (b *balancer) more(at time.Time, n int, client string) {
	var pending ledger.Outstanding
	for range n {
		b.turn(at, client, &pending, ledger.Forwarded)
	}
}

// turn gives a balancer one more turn.
func (b *balancer) turn(at time.Time, client string, pending *ledger.Outstanding, disposition ledger.Disposition) {
	last := b.Ledger.Last()
	place := int(last) % len(b.servers)
	b.Ledger.Received(at, []ledger.Request{{
		Client: netip.MustParseAddrPort(client), Bytes: 19, Disposition: disposition, Outstanding: pending,
		Turn: balancing.Turn{Number: last + 1, Step: balancing.Step{List: 1, Place: place}, Backend: &b.servers[place]},
	}})
}

func (b *balancer) down(i int, reason string) {
	b.servers[i].State, b.servers[i].Reason, b.servers[i].Since = membership.Down, reason, time.Now()
	b.apply(time.Now())
}

// apply makes the servers as they are hold from the next turn on.
func (b *balancer) apply(now time.Time) {
	s := membership.NewSnapshot(1, slices.Clone(b.servers)...)
	b.Scheduler.Apply(s, func(turn uint64) { b.Ledger.Apply(now, s, turn) })
}

// get asks the handler and returns its answer.
func (b *balancer) get(path string) *httptest.ResponseRecorder {
	return b.ask("GET", "localhost", path)
}

func (b *balancer) ask(method, host, path string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // or /events would have no end
	request := httptest.NewRequestWithContext(ctx, method, path, nil)
	request.Host = host
	answer := httptest.NewRecorder()
	handler(b.Config, b.feed).ServeHTTP(answer, request)
	return answer
}

// network is a listener in memory: with it, a server and its clients can live
// in one bubble of package synctest.
type network struct {
	conns  chan net.Conn
	ctx    context.Context
	cancel func()
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error { n.cancel(); return nil }

func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

// dial opens a connection, which is closed with the test; nil if nobody listens.
func (n *network) dial(t *testing.T) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	select {
	case n.conns <- far:
		return near
	case <-n.ctx.Done():
		return nil
	}
}

// serve runs a server of a balancer in memory. The test is to call stop,
// which returns what Serve returned, and may do so again.
func serve(t *testing.T, b *balancer) (n *network, server *Server, stop func() error) {
	n = &network{conns: make(chan net.Conn)}
	n.ctx, n.cancel = context.WithCancel(t.Context())
	server = New(n, b.Config)
	ctx, cancel := context.WithCancel(t.Context())
	var result error
	done := make(chan struct{})
	go func() { defer close(done); result = server.Serve(ctx) }()
	return n, server, func() error { cancel(); <-done; return result }
}

// told is an event as a reader gets it.
type told struct {
	name, id string
	hello
	Texts any    `json:"texts"` // times are only written
	Why   string `json:"why"`
}

// mustDecode reads JSON.
func mustDecode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
