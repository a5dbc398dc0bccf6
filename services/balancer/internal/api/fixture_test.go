package api

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// balancer is a balancer that has had three turns: the first was answered, the
// second not, the third was dropped.
type balancer struct {
	Config
	feed  *feed
	alive atomic.Bool
}

func newBalancer(names ...string) *balancer {
	start := time.Now().Add(-time.Minute)
	b := &balancer{}
	b.alive.Store(true)
	b.Config = Config{
		Ledger:      ledger.New(names, time.Second, start),
		Rotation:    balancing.New(len(names), balancing.Skip),
		Alive:       b.alive.Load,
		Hosts:       Hosts{"localhost", "127.0.0.1", "[::1]", "balancer"},
		Facts:       Facts{Version: "v1.2.3", Listen: "[::]:8888", DataPath: "portable", WhenDown: "skip", AnswerTimeout: 1000},
		Grace:       500 * time.Millisecond,
		KernelDrops: func() uint64 { return 17 },
	}
	for i, name := range names {
		b.Facts.Servers = append(b.Facts.Servers, name+".lab:2526")
		if i == 0 {
			b.Ledger.BackendAt(start, i, netip.MustParseAddrPort("127.0.0.1:2526"))
		}
	}
	client := netip.MustParseAddrPort("127.0.0.1:4000")
	pending := make([]ledger.Outstanding, len(names))
	b.Ledger.SessionOpened()
	turns := make([]balancing.Turn, 3)
	b.Rotation.Take(turns)
	for i, turn := range turns {
		disposition := ledger.Forwarded
		if i == 2 {
			disposition = ledger.SendFailed
		}
		b.Ledger.Received(start.Add(time.Second), []ledger.Request{{
			Client: client, Bytes: 19, Disposition: disposition, Turn: turn.Number, Backend: turn.Backend, Outstanding: &pending[turn.Backend],
		}})
	}
	b.Ledger.Replied(start.Add(time.Second+412*time.Microsecond), []ledger.Reply{{Backend: 0, Bytes: 27, Head: []byte("PING 1 10:04:05.120 server1"), Outstanding: &pending[0]}})
	b.Ledger.Dropped(ledger.NoBackend, 4)
	b.feed = newFeed(b.Config)
	return b
}

// more gives a balancer n more turns, all forwarded, by one client.
func (b *balancer) more(at time.Time, n int, client string) {
	pending := make([]ledger.Outstanding, len(b.Facts.Servers))
	for range n {
		b.turn(at, client, pending)
	}
}

// turn gives a balancer one more turn.
func (b *balancer) turn(at time.Time, client string, pending []ledger.Outstanding) {
	number := b.Ledger.Last()
	backend := int(number) % len(pending)
	b.Ledger.Received(at, []ledger.Request{{
		Client: netip.MustParseAddrPort(client), Bytes: 19, Turn: number, Backend: backend, Outstanding: &pending[backend],
	}})
}

func (b *balancer) down(i int, reason string) {
	b.Rotation.Set(i, balancing.Down)
	b.Ledger.BackendDown(time.Now(), i, ledger.Evidence{Reason: reason})
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

func newNetwork(t *testing.T) *network {
	ctx, cancel := context.WithCancel(t.Context())
	return &network{make(chan net.Conn), ctx, cancel}
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

// serve runs a server of a balancer on a network. The test is to call stop,
// which returns what Serve returned, and may do so again.
func serve(t *testing.T, b *balancer) (n *network, server *Server, stop func() error) {
	n = newNetwork(t)
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
	Why string `json:"why"`
}

// mustDecode reads JSON.
func mustDecode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
