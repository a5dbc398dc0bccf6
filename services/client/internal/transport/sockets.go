// Package transport takes the datagrams of a run to the target and brings what comes
// back.
package transport

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"udplab/services/kit/udp"
)

// Dialer opens a UDP socket that is connected to the target, HOST:PORT, and says
// which address that is.
type Dialer func(ctx context.Context, target string) (io.ReadWriteCloser, netip.AddrPort, error)

// receiveBuffer is what each socket asks for, in bytes: answers that come while a
// load is busy sending must not be lost.
const receiveBuffer = 4 << 20

// Dial is the Dialer of the real network.
func Dial(ctx context.Context, target string) (io.ReadWriteCloser, netip.AddrPort, error) {
	addrs, err := udp.Resolve(ctx, target)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addrs[0]))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	_ = udp.SetReceiveBuffer(conn, receiveBuffer) // a smaller one serves too
	return conn, udp.Unmap(conn.RemoteAddr().(*net.UDPAddr).AddrPort()), nil
}

// Sockets are the clients of a run. Each has a socket of its own, connected to the
// target: it hears nobody else, and hears a refusal.
type Sockets struct {
	Addr     netip.AddrPort // the target's
	clients  []*client
	unsent   []*client // those that have something to send
	arrivals chan arrivals
	readers  sync.WaitGroup
}

// client is a socket and what it is to send.
type client struct {
	batcher
	number int
	unsent []ipv4.Message
}

// arrivals are the datagrams that one read brought to a client, or its error.
type arrivals struct {
	client   int
	at       time.Time
	payloads []string
	err      error
}

// Open opens a socket for each of so many clients.
func Open(ctx context.Context, dial Dialer, target string, clients int) (*Sockets, error) {
	s := &Sockets{arrivals: make(chan arrivals, 1024)}
	for number := range clients {
		socket, addr, err := dial(ctx, target)
		if err != nil {
			s.Close()
			return nil, err
		}
		c := &client{batcher: inBatches(socket), number: number}
		s.clients = append(s.clients, c)
		s.readers.Go(func() { s.read(c, max(1, batchSize/clients)) })
		s.Addr, target = addr, addr.String() // a name may lead to another address next time
	}
	return s, nil
}

// read reads a client's datagrams, of any size and so many at a time, until the
// socket is closed or fails.
func (s *Sockets) read(c *client, atOnce int) {
	batch := make([]ipv4.Message, atOnce)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, udp.MaxDatagram)}
	}
	for {
		n, err := c.ReadBatch(batch, 0)
		a := arrivals{client: c.number, at: time.Now(), err: err}
		if err == nil {
			a.payloads = make([]string, n)
			for i, m := range batch[:n] {
				a.payloads[i] = string(m.Buffers[0][:m.N])
			}
		}
		s.arrivals <- a
		if err != nil && undelivered(err) == "" {
			return
		}
	}
}

// send keeps a copy of a client's datagram for the next flush. A client that has a
// full batch is not kept waiting for it.
func (s *Sockets) send(number int, payload []byte, failed func(error)) {
	c := s.clients[number]
	if len(c.unsent) == 0 {
		s.unsent = append(s.unsent, c)
	}
	c.unsent = append(c.unsent, ipv4.Message{Buffers: [][]byte{bytes.Clone(payload)}})
	if len(c.unsent) == batchSize {
		s.flush(failed)
	}
}

// flush hands everything to the system, and tells why it does not take a datagram.
func (s *Sockets) flush(failed func(error)) {
	for _, c := range s.unsent {
		for rest := c.unsent; len(rest) > 0; {
			n, err := c.WriteBatch(rest, 0)
			if undelivered(err) != "" {
				// The error is about an earlier datagram, and the first of these was
				// not sent because of it (ip(7), SO_ERROR): this is not a second turn.
				n, err = c.WriteBatch(rest, 0)
			}
			if err != nil {
				failed(err)
				n = 1
			}
			rest = rest[n:]
		}
		c.unsent = c.unsent[:0]
	}
	s.unsent = s.unsent[:0]
}

// Close closes the sockets and leaves nothing running.
func (s *Sockets) Close() {
	for _, c := range s.clients {
		c.Close()
	}
	go func() { s.readers.Wait(); close(s.arrivals) }()
	for range s.arrivals { // a reader may wait for room
	}
}
