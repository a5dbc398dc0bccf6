package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/integration/traffic"
)

const (
	// atOnce is how many clients there are at a time.
	atOnce = 20
	// replyTime is how long a client waits for a reply before it goes on.
	replyTime = 50 * time.Millisecond
	// longestVisit is how long a client stays at the most.
	longestVisit = 3 * time.Second
	// quarantine is how long after its client came a port stays unused, longer
	// than any reply takes.
	quarantine = longestVisit + time.Minute
)

// clients come and go, and check their replies. Each has a socket of its own,
// whose port no other has had for a while: to the balancer, a client is its
// address and port, and the replies to one that has gone would be right for one
// that has its port.
type clients struct {
	target netip.AddrPort

	mu      sync.Mutex
	ports   map[int]time.Time // when a client last got it
	started int               // clients so far
	counts  traffic.Counts
	wrong   []string
}

func newClients(target netip.AddrPort) *clients {
	return &clients{target: target, ports: map[int]time.Time{}}
}

// run lets clients come and go until the context ends.
func (c *clients) run(ctx context.Context, seed uint64) error {
	var group errgroup.Group
	for i := range uint64(atOnce) {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(seed, 2+i))
			for ctx.Err() == nil {
				if err := c.visit(ctx, random); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// visit is one client from its coming to its going, which may be while replies
// are on their way to it. Some wait for each reply, others send a few
// datagrams at once.
func (c *clients) visit(ctx context.Context, random *rand.Rand) error {
	most := 1 + random.IntN(2)*random.IntN(8)
	v, err := c.open(most)
	if err != nil {
		return err
	}
	defer v.close()
	until := time.Now().Add(time.Duration(random.Int64N(int64(longestVisit))))
	for ctx.Err() == nil && time.Now().Before(until) {
		for range 1 + random.IntN(most) {
			v.send()
		}
		v.listen(time.Now().Add(replyTime))
		v.book.Expire(time.Since(v.since))
		pause(ctx, time.Duration(random.Int64N(int64(15*time.Millisecond))))
	}
	if random.IntN(2) == 0 {
		v.send() // and goes without waiting
	}
	return nil
}

// client is one of them.
type client struct {
	*net.UDPConn
	all   *clients
	book  *traffic.Book
	since time.Time
	from  []string // the server of each reply in time
}

// open opens a socket for a new client, whose port is free.
func (c *clients) open(window int) (*client, error) {
	for {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.target))
		if err != nil {
			return nil, err
		}
		if number := c.claim(conn.LocalAddr().(*net.UDPAddr).Port, time.Now()); number > 0 {
			return &client{UDPConn: conn, all: c, since: time.Now(), book: traffic.NewBook(traffic.Settings{
				Client: number, Count: 1 << 60, Window: window, Timeout: replyTime,
				Sizes:  traffic.Sizes{Usual: traffic.PingSize},
				Server: func(name []byte) bool { return string(name) == guest || slices.Contains(servers, string(name)) },
			})}, nil
		}
		conn.Close()
	}
}

// claim returns the number of a new client that has this port from now on; 0 if
// it must not.
func (c *clients) claim(port int, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, used := c.ports[port]; used && now.Sub(at) < quarantine {
		return 0
	}
	c.ports[port] = now
	c.started++
	return c.started
}

// close ends a visit and adds up what it saw.
func (v *client) close() {
	v.Close()
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.all.counts = v.all.counts.Plus(v.book.Counts)
}

// send sends a datagram, if there is room in the window. A refusal is no
// matter: the balancer is down.
func (v *client) send() {
	if _, payload, ok := v.book.Next(time.Since(v.since)); ok {
		_, _ = v.Write(payload)
	}
}

// listen checks what comes until everything is answered or it is late. A refusal
// is no reply: the balancer is down, and may come back.
func (v *client) listen(until time.Time) {
	_ = v.SetReadDeadline(until) // fails on closed connections only
	buf := make([]byte, 1<<16)
	for v.book.InFlight() > 0 {
		n, err := v.Read(buf)
		switch {
		case err == nil:
			v.take(buf[:n])
		case !time.Now().Before(until):
			return
		default:
			pause(context.Background(), time.Millisecond)
		}
	}
}

// take checks a reply. One that comes in time or late is good, any other a
// problem.
func (v *client) take(payload []byte) {
	server, _, outcome := v.book.Reply(payload, time.Since(v.since))
	switch outcome {
	case traffic.InTime:
		v.from = append(v.from, string(server))
	case traffic.Late:
	default:
		v.all.mu.Lock()
		defer v.all.mu.Unlock()
		v.all.wrong = append(v.all.wrong, fmt.Sprintf("client %d got %q: it is %v", v.book.Client, payload, outcome))
	}
}

// count is how many clients have come so far.
func (c *clients) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

// pause waits, but not for longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
