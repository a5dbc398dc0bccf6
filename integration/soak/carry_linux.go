package main

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"udplab/services/kit/mmsg"
)

// batchSize is how many datagrams are taken from the kernel at a time.
const batchSize = 128

// bufferSize is what the clients' sockets ask for, in bytes: nothing is to be
// lost here that need not be.
const bufferSize = 1 << 20

// carry lets every client send what its book has and enters what comes back,
// until all are done or ctx ends, when what is under way is still waited for.
// It returns how many answers the kernel dropped at the clients' sockets.
func carry(ctx context.Context, books []*book, target string) (drops uint64, err error) {
	to, err := netip.ParseAddrPort(target)
	if err != nil {
		return 0, err
	}
	c := carrier{to: to, in: mmsg.NewInbox(batchSize, 2*maxSize), out: mmsg.NewOutbox(mostUnderWay), start: time.Now()}
	if c.poller, err = mmsg.NewPoller(batchSize); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.poller.Close()) }()
	for i, b := range books {
		socket, err := mmsg.Dial(to.Addr().Is6())
		if err != nil {
			return 0, err
		}
		defer socket.Close()
		socket.SetReceiveBuffer(bufferSize)
		if err := c.poller.Add(socket, uint64(i)); err != nil {
			return 0, err
		}
		c.clients = append(c.clients, client{b, socket})
	}
	err = c.run(ctx)
	for _, client := range c.clients {
		drops += client.socket.NewDrops()
	}
	return drops, err
}

// carrier is one loop for all clients.
type carrier struct {
	to      netip.AddrPort
	clients []client
	poller  *mmsg.Poller
	in      *mmsg.Inbox
	out     *mmsg.Outbox
	slots   [mostUnderWay]int // of the datagrams in out
	start   time.Time
}

// client is a book and the socket that it goes with.
type client struct {
	*book
	socket *mmsg.Socket
}

func (c *carrier) run(ctx context.Context) error {
	end := ending{}
	looked := -time.Hour
	for {
		now := time.Since(c.start)
		if now-looked > 20*time.Millisecond {
			looked = now
			for _, client := range c.clients {
				if ctx.Err() != nil {
					client.stop()
				}
				client.giveUp(now)
				c.fill(client, now)
			}
			if end.reached(c.clients, now) {
				return nil
			}
		}
		n, err := c.poller.Wait(5 * time.Millisecond)
		if err != nil {
			return err
		}
		for i := range n {
			event, _ := c.poller.Event(i) // nobody calls Wake
			if err := c.hear(c.clients[event.Token], event.Errors); err != nil {
				return err
			}
		}
	}
}

// hear enters what has come to a client, and sends as much again.
func (c *carrier) hear(client client, refused bool) error {
	if refused {
		client.socket.Errors(func(netip.AddrPort, error) {}) // what it is about will be missed
	}
	n, err := c.in.Receive(client.socket, 0, batchSize)
	if err != nil {
		return err
	}
	for i := range n {
		client.answer(c.in.Payload(i))
	}
	c.fill(client, time.Since(c.start))
	return nil
}

// fill sends until the client's window is full.
func (c *carrier) fill(client client, now time.Duration) {
	c.out.Begin(client.socket)
	for {
		slot, payload, ok := client.next(now)
		if !ok {
			break
		}
		c.slots[c.out.Len()] = slot
		c.out.Add(payload, c.to, netip.Addr{})
	}
	if c.out.Send() == 0 {
		return
	}
	for i := range c.out.Len() {
		if c.out.Failed(i) != nil {
			client.unsent(c.slots[i])
		}
	}
}

// ending is when the carrying may end: all are done, and what was given up has
// had its time to come after all.
type ending struct{ last time.Duration }

func (e *ending) reached(clients []client, now time.Duration) bool {
	missing := false
	for _, c := range clients {
		if !c.done() {
			e.last = now
			return false
		}
		missing = missing || len(c.missing) > 0
	}
	return !missing || now-e.last > patience
}
