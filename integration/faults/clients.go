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
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.target))
	if err != nil {
		return err
	}
	defer conn.Close()
	number := c.claim(conn.LocalAddr().(*net.UDPAddr).Port, time.Now())
	if number == 0 {
		return nil // the next has another port, perhaps
	}
	most := 1 + random.IntN(2)*random.IntN(8)
	v := client{UDPConn: conn, book: newBook(number, most), since: time.Now()}
	until := v.since.Add(time.Duration(random.Int64N(int64(longestVisit))))
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.wrong = c.counts.Plus(v.book.Counts), append(c.wrong, v.wrong...)
	return nil
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

// count is how many clients have come so far.
func (c *clients) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

// client is one of them.
type client struct {
	*net.UDPConn
	book  *traffic.Book
	since time.Time
	wrong []string
}

// newBook is the record of a client with so many datagrams in flight at most.
func newBook(number, most int) *traffic.Book {
	return traffic.NewBook(traffic.Settings{
		Client: number, Count: 1 << 60, Window: most, Timeout: replyTime, Sizes: traffic.Sizes{Usual: traffic.PingSize},
		Server: func(name []byte) bool { return string(name) == guest || slices.Contains(servers, string(name)) },
	})
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
	if _, _, outcome := v.book.Reply(payload, time.Since(v.since)); outcome > traffic.Late {
		v.wrong = append(v.wrong, fmt.Sprintf("client %d got %q: it is %v", v.book.Client, payload, outcome))
	}
}

// pause waits, but not for longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
