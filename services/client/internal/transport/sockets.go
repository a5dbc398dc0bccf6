// Package transport takes the datagrams of a run to the target and brings what comes
// back.
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
	clients  []io.ReadWriteCloser
	arrivals chan arrival
	readers  sync.WaitGroup
}

// arrival is one datagram that came to a client, or the error of a read.
type arrival struct {
	client  int
	at      time.Time
	payload string
	err     error
}

// Open opens a socket for each of so many clients.
func Open(ctx context.Context, dial Dialer, target string, clients int) (*Sockets, error) {
	s := &Sockets{arrivals: make(chan arrival, 1024)}
	for client := range clients {
		socket, addr, err := dial(ctx, target)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.clients = append(s.clients, socket)
		s.readers.Go(func() { s.read(socket, client) })
		s.Addr, target = addr, addr.String() // a name may lead to another address next time
	}
	return s, nil
}

// read reads a client's datagrams, of any size, until the socket is closed or fails.
func (s *Sockets) read(socket io.Reader, client int) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, err := socket.Read(buf)
		s.arrivals <- arrival{client, time.Now(), string(buf[:n]), err}
		if err != nil && undelivered(err) == "" {
			return
		}
	}
}

// send hands a client's datagram to the system.
func (s *Sockets) send(client int, payload []byte) error {
	_, err := s.clients[client].Write(payload)
	if undelivered(err) != "" {
		// The error is about an earlier datagram, and this one was not sent
		// because of it (ip(7), SO_ERROR): this is not a second turn.
		_, err = s.clients[client].Write(payload)
	}
	return err
}

// Close closes the sockets and leaves nothing running.
func (s *Sockets) Close() {
	for _, socket := range s.clients {
		socket.Close()
	}
	go func() { s.readers.Wait(); close(s.arrivals) }()
	for range s.arrivals { // a reader may wait for room
	}
}
