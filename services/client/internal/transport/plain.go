package transport

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"udplab/services/kit/udp"
)

// Dialer opens a connected UDP socket to the target and says which address that
// is.
type Dialer func(ctx context.Context, target string) (io.ReadWriteCloser, netip.AddrPort, error)

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
	return conn, udp.Unmap(conn.RemoteAddr().(*net.UDPAddr).AddrPort()), nil
}

// Plain opens the transport that runs wherever Go does: one datagram per system
// call, and a goroutine for each client that reads.
func Plain(dial Dialer) Opener {
	return func(ctx context.Context, target string, clients int) (Transport, netip.AddrPort, error) {
		p := &plain{
			reads: make(chan Arrival, 1024),
			wake:  make(chan struct{}, 1),
			timer: time.NewTimer(time.Hour),
		}
		var addr netip.AddrPort
		for client := range clients {
			socket, to, err := dial(ctx, target)
			if err != nil {
				p.Close()
				return nil, netip.AddrPort{}, err
			}
			p.sockets = append(p.sockets, socket)
			p.readers.Go(func() { p.read(socket, client) })
			addr, target = to, to.String() // a name may lead to another address next time
		}
		return p, addr, nil
	}
}

type plain struct {
	sockets []io.ReadWriteCloser
	reads   chan Arrival
	wake    chan struct{}
	readers sync.WaitGroup
	timer   *time.Timer
}

// read reads a client's datagrams, of any size, and stamps them, until the
// transport is closed or the socket fails.
func (p *plain) read(socket io.Reader, client int) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, err := socket.Read(buf)
		a := Arrival{Client: client, At: time.Now(), Payload: string(buf[:n]), Undelivered: Undelivered(err)}
		if a.Undelivered == "" {
			a.Failed = err
		}
		p.reads <- a
		if a.Failed != nil {
			return
		}
	}
}

func (p *plain) Send(client int, payloads [][]byte, refused func(error)) {
	for _, payload := range payloads {
		_, err := p.sockets[client].Write(payload)
		if Undelivered(err) != "" {
			// The error is about an earlier datagram, and this one was not sent
			// because of it (ip(7), SO_ERROR): this is not a second turn.
			_, err = p.sockets[client].Write(payload)
		}
		if err != nil {
			refused(err)
		}
	}
}

func (p *plain) Receive(limit time.Duration, arrived func(Arrival)) {
	p.timer.Reset(limit)
	select {
	case a := <-p.reads:
		arrived(a)
	case <-p.wake:
	case <-p.timer.C:
	}
	// No more than there is now: a flood must not hold up the caller.
	for range len(p.reads) {
		arrived(<-p.reads)
	}
}

func (p *plain) Wake() {
	select {
	case p.wake <- struct{}{}:
	default: // Receive is going to return anyway
	}
}

func (p *plain) Close() {
	for _, socket := range p.sockets {
		socket.Close()
	}
	go func() { p.readers.Wait(); close(p.reads) }()
	for range p.reads { // a reader may wait for room
	}
}
