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
	"time"

	"udplab/integration/traffic"
)

const (
	// visitors is how many clients there are at a time.
	visitors = 20
	// replyTime is how long a client waits for a reply before it goes on.
	replyTime = 50 * time.Millisecond
	// longestVisit is how long a client stays at the most.
	longestVisit = 3 * time.Second
	// quarantine is how long a port stays unused, longer than any reply takes.
	quarantine = time.Minute
)

// crowd is clients that come and go, and what they saw. Each has a socket of
// its own, whose port nobody has had for a while: to the balancer, a client is
// its address and port, and the replies to one that has gone would be right for
// one that has its port.
type crowd struct {
	target netip.AddrPort

	mu       sync.Mutex
	left     map[int]time.Time // by port: when its last client left at the latest
	names    []string          // of servers that there are or were
	clients  int               // that have come so far
	counts   traffic.Counts
	problems problems
}

func newCrowd(target netip.AddrPort) *crowd {
	return &crowd{target: target, left: map[int]time.Time{}, names: slices.Clone(servers)}
}

// exists says that there is a server of this name from now on.
func (c *crowd) exists(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

func (c *crowd) known(name []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.names, string(name))
}

// come counts a new client and returns its number.
func (c *crowd) come() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients++
	return c.clients
}

// come so far is what a record needs to know which replies are to newer ones.
func (c *crowd) soFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients
}

// run lets clients come and go until the context ends.
func (c *crowd) run(ctx context.Context, seed uint64) error {
	failed := make([]error, visitors)
	var wg sync.WaitGroup
	for i := range visitors {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(2+i)))
			for ctx.Err() == nil && failed[i] == nil {
				failed[i] = c.visit(ctx, random)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// visit is one client from its coming to its going, which may be while replies
// are on their way to it. Some wait for each reply, others send a few
// datagrams at once.
func (c *crowd) visit(ctx context.Context, random *rand.Rand) error {
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
		v.listen(time.Now().Add(replyTime), func() bool { return v.book.InFlight() == 0 })
		v.book.Expire(time.Since(v.since))
		pause(ctx, time.Duration(random.Int64N(int64(15*time.Millisecond))))
	}
	if random.IntN(2) == 0 {
		v.send() // and goes without waiting
	}
	return nil
}

// visitor is one client.
type visitor struct {
	*net.UDPConn
	crowd *crowd
	book  *traffic.Book
	since time.Time
	from  []string // who sent each reply in time
}

// open opens a socket whose port is free for a new client.
func (c *crowd) open(window int) (*visitor, error) {
	for {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.target))
		if err != nil {
			return nil, err
		}
		if c.claim(conn.LocalAddr().(*net.UDPAddr).Port, time.Now()) {
			return &visitor{conn, c, traffic.NewBook(traffic.Settings{
				Client: c.come(), Count: 1 << 60, Window: window, Timeout: replyTime,
				Sizes: traffic.Sizes{Usual: traffic.PingSize}, Server: c.known,
			}), time.Now(), nil}, nil
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
	c.left[port] = now.Add(longestVisit)
	return true
}

// close ends a visit and adds up what it saw.
func (v *visitor) close() {
	v.Close()
	v.crowd.mu.Lock()
	defer v.crowd.mu.Unlock()
	v.crowd.counts = v.crowd.counts.Plus(v.book.Counts)
}

// send sends a datagram, if there is room in the window. A refusal is no
// matter: the balancer is down.
func (v *visitor) send() {
	if _, payload, ok := v.book.Next(time.Since(v.since)); ok {
		_, _ = v.Write(payload)
	}
}

// listen checks what comes until it is enough or late. A refusal is no reply:
// the balancer is down, and may come back.
func (v *visitor) listen(until time.Time, enough func() bool) {
	_ = v.SetReadDeadline(until) // fails on closed connections only
	buf := make([]byte, 1<<16)
	for !enough() {
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
func (v *visitor) take(payload []byte) {
	server, _, outcome := v.book.Reply(payload, time.Since(v.since))
	switch outcome {
	case traffic.InTime:
		v.from = append(v.from, string(server))
	case traffic.Late:
	default:
		v.crowd.mu.Lock()
		defer v.crowd.mu.Unlock()
		v.crowd.problems.add("client %d got %q: it is %v", v.book.Client, payload, outcome)
	}
}

func (c *crowd) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d clients sent %d datagrams; %d answered in time, %d late", c.clients, c.counts.Sent, c.counts.InTime, c.counts.Late)
}

// wrong is what was wrong with replies.
func (c *crowd) wrong() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problems.all()
}

// problems is what went wrong: the first few, and how many more.
type problems struct {
	first []string
	more  int
}

// mostProblems is how many are told one by one.
const mostProblems = 10

func (p *problems) add(format string, args ...any) {
	if len(p.first) == mostProblems {
		p.more++
		return
	}
	p.first = append(p.first, fmt.Sprintf(format, args...))
}

func (p *problems) all() []string {
	if p.more == 0 {
		return p.first
	}
	return append(slices.Clone(p.first), fmt.Sprintf("and %d more", p.more))
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
