package main

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"time"
)

// batchSize is how many datagrams a carrier is given, and takes from the
// kernel, at a time.
const batchSize = 64

// carrier takes the datagrams of a load to the target and brings what comes
// back. Each client of the load is a socket of its own, numbered from 0. It
// belongs to one goroutine.
type carrier interface {
	// send hands datagrams of one client to the system, and calls refused with
	// what it says of those that it does not take. They are batchSize at most,
	// and are not kept.
	send(client int, payloads [][]byte, refused func(error))
	// receive waits until something has come, at most for so long, and calls
	// arrived for everything that has. An arrival with an error is news of a
	// datagram that did not get there. After an error the carrier is of no use.
	receive(limit time.Duration, arrived func(arrival)) error
	// close closes the sockets. Nothing is left running.
	close()
}

// batchOpener opens a carrier of many datagrams per system call, or nil where
// there is none.
type batchOpener func(to netip.AddrPort, clients int) (carrier, error)

// plain is the carrier that runs wherever Go does: one datagram per system
// call, and a goroutine for each client that reads.
type plain struct {
	sockets  []io.ReadWriteCloser
	arrivals chan arrival
	done     chan struct{}
	readers  sync.WaitGroup
	timer    *time.Timer
}

// openPlain opens the sockets to the target and says which address that is.
func openPlain(ctx context.Context, dial dialer, target address, clients int) (*plain, netip.AddrPort, error) {
	p := &plain{
		arrivals: make(chan arrival, 1024),
		done:     make(chan struct{}),
		timer:    time.NewTimer(time.Hour),
	}
	var addr netip.AddrPort
	for client := range clients {
		socket, to, err := dial(ctx, target)
		if err != nil {
			p.close()
			return nil, netip.AddrPort{}, err
		}
		p.sockets = append(p.sockets, socket)
		p.readers.Go(func() { receive(socket, client, p.arrivals, p.done) })
		addr, target = to, address(to.String()) // a name may lead to another address next time
	}
	return p, addr, nil
}

func (p *plain) send(client int, payloads [][]byte, refused func(error)) {
	for _, payload := range payloads {
		if err := write(p.sockets[client], payload); err != nil {
			refused(err)
		}
	}
}

func (p *plain) receive(limit time.Duration, arrived func(arrival)) error {
	p.timer.Reset(limit)
	select {
	case a := <-p.arrivals:
		for n := len(p.arrivals); ; n-- {
			if a.err != nil && undelivered(a.err) == "" {
				return a.err
			}
			arrived(a)
			if n == 0 {
				return nil
			}
			a = <-p.arrivals
		}
	case <-p.timer.C:
		return nil
	}
}

func (p *plain) close() {
	close(p.done)
	p.timer.Stop()
	for _, socket := range p.sockets {
		socket.Close()
	}
	p.readers.Wait()
}

// write sends one datagram.
func write(socket io.Writer, payload []byte) error {
	_, err := socket.Write(payload)
	if undelivered(err) != "" {
		// The error is about an earlier datagram, and this one was not sent
		// for its sake (ip(7), SO_ERROR): so this is not a second turn.
		_, err = socket.Write(payload)
	}
	return err
}
