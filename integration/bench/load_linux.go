package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"udplab/services/kit/mmsg"
)

// payloadSize is the length of every datagram, in bytes.
const payloadSize = 64

// batchSize is how many datagrams the load takes from the kernel, and hands to
// it, at a time.
const batchSize = 128

// bufferSize is what the load's sockets ask for, in bytes: nothing is to be
// lost here.
const bufferSize = 4 << 20

// slotBits of a datagram's number say which slot of its client it is from.
const slotBits = 12

// traffic is three echo servers and their clients, on one thread that never
// sleeps. So nothing between them needs the scheduler, a contestant does not
// pay for waking them, and round trips hold no wake-up but the contestant's
// own: as if clients and servers were other machines. It belongs to one
// goroutine.
type traffic struct {
	poller   *mmsg.Poller
	in       *mmsg.Inbox
	out      *mmsg.Outbox
	servers  []*mmsg.Socket
	clients  []client
	slots    []slot // of all clients
	patience time.Duration
	nap      time.Duration // how long to wait for something to do; 0: not at all
	start    time.Time

	started int // slots that have sent something
	once    int // slots that have ever been answered
	counts  counts
	trips   histogram
}

// client sends from a port of its own, and has the same number of datagrams
// under way all the time.
type client struct {
	socket *mmsg.Socket
	slots  []slot
}

// slot is one datagram under way.
type slot struct {
	to      netip.AddrPort
	payload []byte // number of the client, of the datagram, then filling
	number  uint64 // of the datagram that waits for its answer; 0: none does
	next    uint64
	sent    time.Duration // since the start
	was     bool          // answered at least once
}

// newTraffic opens three echo servers and returns their traffic without
// clients. If it shares its core with others, it sleeps when it has nothing to
// do.
func newTraffic(shared bool) (t *traffic, err error) {
	t = &traffic{in: mmsg.NewInbox(batchSize, 2048), out: mmsg.NewOutbox(batchSize), start: time.Now()}
	if shared {
		t.nap = 5 * time.Millisecond
	}
	if t.poller, err = mmsg.NewPoller(2 * batchSize); err != nil {
		return nil, err
	}
	for i := range 3 {
		s, err := mmsg.Listen(netip.MustParseAddrPort("127.0.0.1:0"), false)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		s.SetReceiveBuffer(bufferSize)
		s.SetSendBuffer(bufferSize)
		t.servers = append(t.servers, s)
		if err := t.poller.Add(s, uint64(i)); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// connect makes the clients of a case, which send to these addresses in turn:
// a balancer's, or every server's.
func (t *traffic) connect(c loadCase, to []netip.AddrPort) error {
	total := c.Clients * c.Outstanding
	t.patience = max(200*time.Millisecond, time.Duration(total)*100*time.Microsecond)
	t.clients, t.slots = make([]client, c.Clients), make([]slot, total)
	payloads := make([]byte, total*payloadSize)
	for i := range t.clients {
		s, err := mmsg.Dial(false)
		if err != nil {
			return fmt.Errorf("client %d: %w", i+1, err)
		}
		s.SetReceiveBuffer(bufferSize)
		t.clients[i] = client{s, t.slots[i*c.Outstanding : (i+1)*c.Outstanding]}
		if err := t.poller.Add(s, uint64(len(t.servers)+i)); err != nil {
			return err
		}
		for j := range t.clients[i].slots {
			n := i*c.Outstanding + j
			payload := payloads[n*payloadSize : (n+1)*payloadSize]
			binary.BigEndian.PutUint32(payload, uint32(i))
			copy(payload[12:], "a datagram of a measurement, filled up to 64 bytes..")
			t.clients[i].slots[j] = slot{to: to[n%len(to)], payload: payload, next: uint64(1<<slotBits + j)}
		}
	}
	return nil
}

// Close closes every socket.
func (t *traffic) Close() error {
	errs := []error{t.poller.Close()}
	for _, s := range t.servers {
		errs = append(errs, s.Close())
	}
	for _, c := range t.clients {
		if c.socket != nil {
			errs = append(errs, c.socket.Close())
		}
	}
	return errors.Join(errs...)
}

// run carries traffic until done says so; it is asked after every round of the
// loop and told what time it is.
func (t *traffic) run(ctx context.Context, done func(now time.Duration) bool) error {
	looked := time.Duration(0)
	for {
		n, err := t.poller.Wait(t.nap)
		if err != nil {
			return err
		}
		for i := range n {
			event, ok := t.poller.Event(i)
			if !ok {
				continue
			}
			if event.Token < uint64(len(t.servers)) {
				err = t.echo(t.servers[event.Token])
			} else {
				err = t.hear(&t.clients[event.Token-uint64(len(t.servers))], event.Errors)
			}
			if err != nil {
				return err
			}
		}
		now := time.Since(t.start)
		t.startSome(now)
		if now-looked > 20*time.Millisecond {
			looked = now
			t.repeatLost(now)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if done(now) {
			return nil
		}
	}
}

// echo answers what has come to a server.
func (t *traffic) echo(s *mmsg.Socket) error {
	n, err := t.in.Receive(s, 0, batchSize)
	if err != nil {
		return err
	}
	t.out.Begin(s)
	for i := range n {
		t.out.Add(t.in.Payload(i), t.in.From(i), netip.Addr{})
	}
	t.counts.SendFailed += uint64(t.out.Send())
	return nil
}

// hear takes the answers that have come to a client, and sends the next
// datagram for each.
func (t *traffic) hear(c *client, errors bool) error {
	if errors {
		c.socket.Errors(func(netip.AddrPort, error) {}) // what it is about counts as lost in time
	}
	n, err := t.in.Receive(c.socket, 0, min(batchSize, 2*len(c.slots)))
	if err != nil {
		return err
	}
	now := time.Since(t.start)
	t.out.Begin(c.socket)
	for i := range n {
		if s := t.match(c, t.in.Payload(i)); s != nil {
			t.counts.Answered++
			t.trips.add(now - s.sent)
			if !s.was {
				s.was = true
				t.once++
			}
			t.issue(s, now)
		}
	}
	t.counts.SendFailed += uint64(t.out.Send())
	return nil
}

// match finds the slot that an answer is for; nil if it is for none.
func (t *traffic) match(c *client, payload []byte) *slot {
	if len(payload) != payloadSize || binary.BigEndian.Uint32(payload) != binary.BigEndian.Uint32(c.slots[0].payload) {
		t.counts.Misrouted++
		return nil
	}
	number := binary.BigEndian.Uint64(payload[4:])
	slot := number & (1<<slotBits - 1)
	if slot >= uint64(len(c.slots)) || c.slots[slot].number != number {
		t.counts.Late++
		return nil
	}
	return &c.slots[slot]
}

// issue puts a slot's next datagram into the outbox, which is for the slot's
// client.
func (t *traffic) issue(s *slot, now time.Duration) {
	s.number, s.sent = s.next, now
	s.next += 1 << slotBits
	binary.BigEndian.PutUint64(s.payload[4:], s.number)
	t.out.Add(s.payload, s.to, netip.Addr{})
}

// startSome lets a few more slots send their first datagram, not all at once:
// it is not the burst that is to be measured.
func (t *traffic) startSome(now time.Duration) {
	if t.started == len(t.slots) {
		return
	}
	each := len(t.clients[0].slots)
	for range min(batchSize/2, len(t.slots)-t.started) {
		c := &t.clients[t.started/each]
		t.out.Begin(c.socket)
		t.issue(&c.slots[t.started%each], now)
		t.counts.SendFailed += uint64(t.out.Send())
		t.started++
	}
}

// repeatLost sends a new datagram for each that has waited for too long.
func (t *traffic) repeatLost(now time.Duration) {
	for i := range t.clients {
		c := &t.clients[i]
		for j := range c.slots {
			if s := &c.slots[j]; s.number != 0 && now-s.sent > t.patience {
				t.counts.Lost++
				t.out.Begin(c.socket)
				t.issue(s, now)
				t.counts.SendFailed += uint64(t.out.Send())
			}
		}
	}
}

// settled says whether every slot has been answered at least once.
func (t *traffic) settled() bool { return t.once == len(t.slots) }

// addrs is where the servers listen.
func (t *traffic) addrs() (list []netip.AddrPort) {
	for _, s := range t.servers {
		list = append(list, s.Addr())
	}
	return list
}
