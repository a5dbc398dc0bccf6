package transport

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"udplab/services/kit/mmsg"
	"udplab/services/kit/udp"
)

// batchSize is how many datagrams a system call takes at most.
const batchSize = 64

// bufferSize is what each socket asks for, in bytes: answers that come while a
// load is busy sending must not be lost.
const bufferSize = 4 << 20

// spin is for how long the loop keeps its processor while it waits, see mmsg.Poller.
const spin = 5 * time.Millisecond

// Batched opens the transport for many datagrams: one loop over all sockets, and
// many datagrams per system call.
func Batched(ctx context.Context, target string, clients int) (Transport, netip.AddrPort, error) {
	addrs, err := udp.Resolve(ctx, target)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	poller, err := mmsg.NewPoller(min(clients, batchSize))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	poller.SpinBeforeBlock = spin
	if runtime.GOMAXPROCS(0) < 2 { // the rest of the program needs one too
		runtime.GOMAXPROCS(2)
	}
	b := &batched{poller: poller, in: mmsg.NewInbox(batchSize, mmsg.MaxDatagram), out: mmsg.NewOutbox(batchSize)}
	for client := range clients {
		if err := b.connect(addrs[0], client); err != nil {
			b.Close()
			return nil, netip.AddrPort{}, err
		}
	}
	b.to = b.sockets[0].Peer()
	return b, addrs[0], nil
}

type batched struct {
	poller  *mmsg.Poller
	sockets []*mmsg.Socket
	to      netip.AddrPort
	in      *mmsg.Inbox
	out     *mmsg.Outbox
}

func (b *batched) connect(to netip.AddrPort, client int) error {
	socket, err := mmsg.Connect(to)
	if err != nil {
		return err
	}
	b.sockets = append(b.sockets, socket)
	socket.SetReceiveBuffer(bufferSize)
	socket.SetSendBuffer(bufferSize)
	return b.poller.Add(socket, uint64(client))
}

func (b *batched) Send(client int, payloads [][]byte, refused func(error)) {
	for batch := range slices.Chunk(payloads, batchSize) {
		b.out.Begin(b.sockets[client])
		for _, payload := range batch {
			b.out.Add(payload, b.to, netip.Addr{})
		}
		b.out.Send()
		for i := range batch {
			if err := b.out.Failed(i); err != nil {
				refused(err)
			}
		}
	}
}

func (b *batched) Receive(limit time.Duration, arrived func(Arrival)) {
	n, err := b.poller.Wait(max(limit, 0))
	if err != nil {
		arrived(Arrival{Failed: err})
	}
	for i := range n {
		event, ok := b.poller.Event(i)
		if !ok {
			continue // a wake-up
		}
		client := int(event.Token)
		if event.Errors {
			b.sockets[client].Errors(func(_ netip.AddrPort, err error) {
				arrived(Arrival{Client: client, At: time.Now(), Undelivered: Reason(err)})
			})
		}
		// One batch; what is left is reported again.
		n, err := b.in.Receive(b.sockets[client], 0, batchSize)
		at := time.Now()
		for i := range n {
			arrived(Arrival{Client: client, At: at, Payload: string(b.in.Payload(i))})
		}
		if err != nil {
			arrived(Arrival{Failed: err})
		}
	}
}

func (b *batched) Wake() { b.poller.Wake() }

func (b *batched) Close() {
	for _, socket := range b.sockets {
		socket.Close()
	}
	b.poller.Close()
}
