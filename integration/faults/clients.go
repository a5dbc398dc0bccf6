package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
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
	// firstPort is the lowest of the clients' ports, and ports is how many they
	// have: so many that none is used again before minutes have passed. Systems
	// give higher ones to sockets with port 0.
	firstPort, ports = 10_000, 10_000
)

// clients come and go, and check their replies. Each has a port of its own that
// no other has had for a while: to the balancer, a client is its address and
// port, and the replies to one that has gone would be right for one that has its
// port.
type clients struct {
	target  netip.AddrPort
	started atomic.Int64 // clients so far

	mu     sync.Mutex
	counts traffic.Counts
	wrong  []string
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
	number := int(c.started.Add(1))
	conn, err := net.DialUDP("udp", &net.UDPAddr{Port: firstPort + number%ports}, net.UDPAddrFromAddrPort(c.target))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil // somebody else's: the next client has another
	}
	if err != nil {
		return err
	}
	defer conn.Close()
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
