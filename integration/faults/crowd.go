package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// visitors is how many clients there are at a time.
	visitors = 20
	// answerTime is how long a client waits for an answer before it goes on.
	answerTime = 50 * time.Millisecond
	// longestVisit is how long a client stays at the most.
	longestVisit = 3 * time.Second
)

// crowd is clients that come and go. Each has a socket of its own, whose port
// nobody has had for a while: to the balancer, a client is its address and port,
// and the answers of one that has gone would be right for one that has its port.
type crowd struct {
	target netip.AddrPort
	books  *Books

	mu   sync.Mutex
	left map[int]time.Time // by port: when its last client left at the latest
}

// quarantine is how long a port stays unused, longer than any answer takes.
const quarantine = time.Minute

// run lets clients come and go until the context ends.
func (c *crowd) run(ctx context.Context, seed uint64) error {
	failed := make([]error, visitors)
	var wg sync.WaitGroup
	for i := range visitors {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(2+i)))
			for ctx.Err() == nil && failed[i] == nil {
				failed[i] = c.visit(ctx, dice)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// visit is one client from its coming to its going, which may be while answers
// are on their way to it. Some wait for each answer, others send a few
// datagrams at once.
func (c *crowd) visit(ctx context.Context, dice *rand.Rand) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := c.books.Client()
	most := 1 + dice.IntN(2)*dice.IntN(8)
	until := time.Now().Add(time.Duration(dice.Int64N(int64(longestVisit))))
	for ctx.Err() == nil && time.Now().Before(until) {
		for range 1 + dice.IntN(most) {
			_, _ = conn.Write(client.Next()) // refused: the balancer is down
		}
		listen(conn, client, time.Now().Add(answerTime))
		pause(ctx, time.Duration(dice.Int64N(int64(15*time.Millisecond))))
	}
	if dice.IntN(2) == 0 {
		_, _ = conn.Write(client.Next()) // and goes without waiting
	}
	return nil
}

// dial opens a socket whose port is free for a new client.
func (c *crowd) dial() (*net.UDPConn, error) {
	for {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.target))
		if err != nil {
			return nil, err
		}
		if c.claim(conn.LocalAddr().(*net.UDPAddr).Port, time.Now()) {
			return conn, nil
		}
		conn.Close()
	}
}

// claim says whether a new client may have a port, and then it has it.
func (c *crowd) claim(port int, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left, used := c.left[port]; used && now.Sub(left) < quarantine {
		return false
	}
	if c.left == nil {
		c.left = map[int]time.Time{}
	}
	c.left[port] = now.Add(longestVisit)
	return true
}

// listen enters what comes until every datagram has its answer or it is late.
// A refusal is no answer: the balancer is down, and may come back.
func listen(conn *net.UDPConn, client *Client, until time.Time) {
	_ = conn.SetReadDeadline(until) // fails on closed connections only
	buf := make([]byte, 1<<16)
	for client.Open() > 0 {
		n, err := conn.Read(buf)
		if err == nil {
			client.Answer(buf[:n])
		} else if !time.Now().Before(until) {
			return
		} else {
			pause(context.Background(), time.Millisecond)
		}
	}
}

// pause waits, but not for longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
