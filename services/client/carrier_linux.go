package main

import (
	"net/netip"
	"runtime"
	"time"

	"udplab/services/kit/mmsg"
)

// bufferSize is what each socket asks for, in bytes: answers that come while
// the load is busy sending are not to be lost.
const bufferSize = 4 << 20

// spin is for how long the loop keeps its processor while it waits, see
// mmsg.Poller. It needs a second one for everything else.
const spin = 5 * time.Millisecond

// openBatched opens the carrier for Linux: one loop over all sockets, many
// datagrams per system call.
func openBatched(to netip.AddrPort, clients int) (carrier, error) {
	poller, err := mmsg.NewPoller(min(clients, batchSize))
	if err != nil {
		return nil, err
	}
	poller.SpinBeforeBlock = spin
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	b := &batched{poller: poller, in: mmsg.NewInbox(batchSize, mmsg.MaxDatagram), out: mmsg.NewOutbox(batchSize)}
	for client := range clients {
		if err := b.open(to, client); err != nil {
			b.close()
			return nil, err
		}
	}
	b.to = b.sockets[0].Peer()
	return b, nil
}

// batched carries datagrams over package mmsg.
type batched struct {
	poller  *mmsg.Poller
	sockets []*mmsg.Socket
	to      netip.AddrPort
	in      *mmsg.Inbox
	out     *mmsg.Outbox
}

func (b *batched) open(to netip.AddrPort, client int) error {
	socket, err := mmsg.Connect(to)
	if err != nil {
		return err
	}
	b.sockets = append(b.sockets, socket)
	socket.SetReceiveBuffer(bufferSize)
	socket.SetSendBuffer(bufferSize)
	return b.poller.Add(socket, uint64(client))
}

func (b *batched) send(client int, payloads [][]byte, refused func(error)) {
	b.out.Begin(b.sockets[client])
	for _, payload := range payloads {
		b.out.Add(payload, b.to, netip.Addr{})
	}
	if b.out.Send() == 0 {
		return
	}
	for i := range b.out.Len() {
		if err := b.out.Failed(i); err != nil {
			refused(err)
		}
	}
}

func (b *batched) receive(limit time.Duration, arrived func(arrival)) error {
	n, err := b.poller.Wait(limit)
	if err != nil {
		return err
	}
	for i := range n {
		event, ok := b.poller.Event(i)
		if !ok {
			continue
		}
		client := int(event.Token)
		if event.Errors {
			b.sockets[client].Errors(func(_ netip.AddrPort, err error) { arrived(arrival{client: client, err: err}) })
		}
		if err := b.take(client, arrived); err != nil {
			return err
		}
	}
	return nil
}

// take passes on one batch; what is left is reported again.
func (b *batched) take(client int, arrived func(arrival)) error {
	n, err := b.in.Receive(b.sockets[client], 0, batchSize)
	at := time.Now()
	for i := range n {
		arrived(arrival{at, client, string(b.in.Payload(i)), nil})
	}
	return err
}

func (b *batched) close() {
	for _, socket := range b.sockets {
		socket.Close()
	}
	b.poller.Close()
}
