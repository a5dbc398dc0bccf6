package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"udplab/services/kit/mmsg"
)

const (
	// batchSize is how many datagrams a system call takes or hands over.
	batchSize = 128
	// largestReply is in bytes; a longer one is cut, and so is unmatched.
	largestReply = 2048
	// housekeeping is how often the loop looks for lost datagrams.
	housekeeping = 20 * time.Millisecond
)

// Loop carries the datagrams of many clients, and of echo servers if there are
// any, on one thread. It belongs to one goroutine.
type Loop struct {
	// Nap is how long the loop waits when there is nothing to do. At 0 it polls
	// without sleeping, so that nobody's round trip includes waking it.
	Nap time.Duration
	// Trip is told how long every round trip took, unless it is nil.
	Trip func(time.Duration)

	poller  *mmsg.Poller
	in      *mmsg.Inbox
	out     *mmsg.Outbox
	servers []*mmsg.Socket
	clients []client
	started int // clients that have begun to send
	start   time.Time
	taken   []uint64 // numbers of the datagrams in out
}

// client is a book with its socket and the addresses it sends to in turn.
type client struct {
	*Book
	socket *mmsg.Socket
	to     []netip.AddrPort
}

// NewLoop returns a loop without clients and servers.
func NewLoop() (*Loop, error) {
	poller, err := mmsg.NewPoller(2 * batchSize)
	if err != nil {
		return nil, err
	}
	return &Loop{poller: poller, in: mmsg.NewInbox(batchSize, largestReply), out: mmsg.NewOutbox(batchSize), start: time.Now()}, nil
}

// Close closes every socket.
func (l *Loop) Close() error {
	errs := []error{l.poller.Close()}
	for _, s := range l.servers {
		errs = append(errs, s.Close())
	}
	for _, c := range l.clients {
		errs = append(errs, c.socket.Close())
	}
	return errors.Join(errs...)
}

// Tokens tell the poller's events apart: clients from 0, servers from here on.
const firstServer = 1 << 32

// AddEcho opens an echo server on loopback and returns its address.
func (l *Loop) AddEcho() (netip.AddrPort, error) {
	s, err := mmsg.Listen(netip.MustParseAddrPort("127.0.0.1:0"), false)
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.SetReceiveBuffer(bufferSize)
	s.SetSendBuffer(bufferSize)
	l.servers = append(l.servers, s)
	return s.Addr(), l.poller.Add(s, firstServer+uint64(len(l.servers)-1))
}

// Connect adds a client for each book, with a socket of its own. Its datagrams
// go to these addresses in turn.
func (l *Loop) Connect(books []*Book, to ...netip.AddrPort) error {
	for _, b := range books {
		s, err := mmsg.Dial(to[0].Addr().Is6())
		if err != nil {
			return fmt.Errorf("client %d: %w", b.Client, err)
		}
		s.SetReceiveBuffer(bufferSize)
		l.clients = append(l.clients, client{b, s, to})
		if err := l.poller.Add(s, uint64(len(l.clients)-1)); err != nil {
			return err
		}
	}
	return nil
}

// Now is the time since the loop was made, as the books know it.
func (l *Loop) Now() time.Duration { return time.Since(l.start) }

// Run carries datagrams until done says so, which is asked after every round,
// or ctx ends, which is an error.
func (l *Loop) Run(ctx context.Context, done func(now time.Duration) bool) error {
	looked := time.Duration(0)
	for {
		n, err := l.poller.Wait(l.Nap)
		if err != nil {
			return err
		}
		for i := range n {
			event, ok := l.poller.Event(i)
			switch {
			case !ok:
				continue
			case event.Token >= firstServer:
				err = l.echo(l.servers[event.Token-firstServer])
			default:
				err = l.receive(l.clients[event.Token], event.Errors)
			}
			if err != nil {
				return err
			}
		}
		now := l.Now()
		l.startSome(now)
		if now-looked > housekeeping {
			looked = now
			for _, c := range l.clients[:l.started] {
				c.Expire(now)
				l.fill(c, now)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if done(now) {
			return nil
		}
	}
}

// echo sends back what has come to a server.
func (l *Loop) echo(s *mmsg.Socket) error {
	n, err := l.in.Receive(s, 0, batchSize)
	if err != nil {
		return err
	}
	l.out.Begin(s)
	for i := range n {
		l.out.Add(l.in.Payload(i), l.in.From(i), netip.Addr{})
	}
	l.out.Send() // what the kernel refuses is lost to a client in time
	return nil
}

// receive records what has come to a client, and sends as much again.
func (l *Loop) receive(c client, errors bool) error {
	if errors {
		c.socket.Errors(func(netip.AddrPort, error) {}) // the datagram counts as lost in time
	}
	n, err := l.in.Receive(c.socket, 0, min(batchSize, 2*c.Window))
	if err != nil {
		return err
	}
	now := l.Now()
	for i := range n {
		if _, trip, outcome := c.Reply(l.in.Payload(i), now); outcome == InTime && l.Trip != nil {
			l.Trip(trip)
		}
	}
	l.fill(c, now)
	return nil
}

// startSome lets a few more clients begin, not all at once: a burst that the
// kernel drops is no load.
func (l *Loop) startSome(now time.Duration) {
	for room := batchSize / 2; room > 0 && l.started < len(l.clients); l.started++ {
		l.fill(l.clients[l.started], now)
		room -= l.clients[l.started].Window
	}
}

// fill sends until the client's window is full or the kernel takes no more.
func (l *Loop) fill(c client, now time.Duration) {
	for {
		l.out.Begin(c.socket)
		l.taken = l.taken[:0]
		for !l.out.Full() {
			number, payload, ok := c.Next(now)
			if !ok {
				break
			}
			l.out.Add(payload, c.to[(uint64(c.Client)+number)%uint64(len(c.to))], netip.Addr{})
			l.taken = append(l.taken, number)
		}
		if len(l.taken) == 0 {
			return
		}
		if l.out.Send() == 0 {
			continue
		}
		for i, number := range l.taken {
			if l.out.Failed(i) != nil {
				c.Unsent(number)
			}
		}
		return // the next round may find room
	}
}
