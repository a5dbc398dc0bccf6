package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/rotation"
	"udplab/services/kit/udp"
)

// portable is the data path on package net, for every system: one goroutine
// reads the listener and forwards, and one for each client and backend reads
// the replies of a connected socket. A connected socket hears nobody but its
// backend, and hears when the backend refuses. The price is a goroutine, a
// socket and 64 KiB of buffer for each client and backend.
type portable struct {
	Config
	socket *udp.Socket
	legs   sync.WaitGroup // one for every goroutine that reads replies
	drops  atomic.Uint64  // at the listener, as far as anybody has asked

	mu       sync.Mutex // guards the table
	sessions *table[session]
}

// session is one client's sockets, a leg to each backend it had a turn at.
type session struct {
	mu      sync.Mutex // guards the rest; the ledger hears of a turn before its reply
	peer    udp.Peer
	pending []ledger.Pending // by backend
	legs    []*leg           // by backend; nil before the first turn there
	left    []*leg           // to addresses that a backend moved away from
}

// leg is a session's connected socket to one backend.
type leg struct {
	backend int
	addr    netip.AddrPort
	conn    *net.UDPConn
}

// openPortable opens the listener; nothing is read before Run.
func openPortable(ctx context.Context, cfg Config) (Relay, error) {
	socket, err := udp.Listen(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	// A smaller buffer than asked for is no reason not to start.
	_ = udp.SetReceiveBuffer(socket.Conn(), receiveBuffer)
	return &portable{Config: cfg, socket: socket, sessions: newTable[session](newPlaces(cfg.MaxSessions))}, nil
}

func (p *portable) Addr() netip.AddrPort { return p.socket.Addr() }

func (p *portable) ReceiveBuffer() (asked, granted int) {
	return receiveBuffer, udp.ReceiveBuffer(p.socket.Conn())
}

func (p *portable) KernelDrops() uint64 {
	if n := udp.Drops(p.socket.Conn()); n > p.drops.Load() { // 0 once the socket is closed
		p.drops.Store(n)
	}
	return p.drops.Load()
}

func (p *portable) Close() error { return p.socket.Close() }

func (p *portable) Run(ctx context.Context) error {
	stopReading := context.AfterFunc(ctx, func() { p.socket.Conn().SetReadDeadline(time.Now()) })
	defer stopReading()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var expiry sync.WaitGroup
	expiry.Go(func() { p.expire(background) })

	err := p.receive(ctx)
	if err == nil {
		p.drain()
	}
	stop()
	expiry.Wait()
	p.endAll()
	p.legs.Wait()
	p.KernelDrops()
	return errors.Join(err, p.socket.Close())
}

// receive forwards what clients send until the context ends.
func (p *portable) receive(ctx context.Context) error {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, peer, err := p.socket.Read(buf)
		var errno syscall.Errno
		switch {
		case ctx.Err() != nil:
			if err == nil {
				p.Ledger.Dropped(ledger.Shutdown, 1)
			}
			return nil
		case errors.As(err, &errno):
			// What the system says about one datagram, such as a client that
			// refused a reply (Windows), is no reason to stop.
		case err != nil:
			return err
		default:
			p.forward(time.Now(), peer, buf[:n])
		}
	}
}

// forward gives one datagram its turn.
func (p *portable) forward(now time.Time, peer udp.Peer, payload []byte) {
	arrival := ledger.Arrival{Client: peer.Addr, Bytes: len(payload)}
	if _, current, _ := p.Backends.Owner(peer.Addr); current {
		p.record(now, arrival, ledger.Loop)
		return
	}
	e := p.admit(now, peer.Addr)
	if e == nil {
		p.record(now, arrival, ledger.SessionLimit)
		return
	}
	s := &e.session
	defer s.mu.Unlock()
	s.peer = peer
	var turn [1]rotation.Turn
	if p.Rotation.Take(turn[:]) == 0 {
		p.record(now, arrival, ledger.NoBackend)
		return
	}
	backend := turn[0].Backend
	arrival.Turn, arrival.Backend, arrival.Passed = turn[0].Number, backend, turn[0].Passed
	arrival.Pending = &s.pending[backend]
	if turn[0].Held {
		p.record(now, arrival, ledger.Held)
		return
	}
	p.record(now, arrival, p.send(e, backend, payload))
	if turn[0].Trial {
		p.Backends.Tried(backend)
	}
}

// record tells the ledger what became of a datagram.
func (p *portable) record(now time.Time, arrival ledger.Arrival, fate ledger.Fate) {
	arrival.Fate = fate
	p.Ledger.Received(now, []ledger.Arrival{arrival})
}

// admit returns the client's session locked, a new one if there is room, or
// nil.
func (p *portable) admit(now time.Time, client netip.AddrPort) *entry[session] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.sessions.find(client); e != nil {
		p.sessions.renew(e, now)
		e.session.mu.Lock()
		return e
	}
	e := p.sessions.admit(client, now, func(e *entry[session]) { p.end(e, ledger.Evicted) })
	if e == nil {
		return nil
	}
	e.session.pending = make([]ledger.Pending, p.Backends.Len())
	e.session.legs = make([]*leg, p.Backends.Len())
	p.Ledger.SessionOpened()
	e.session.mu.Lock()
	return e
}

// send hands one datagram to the kernel for a backend and says what became of
// it.
func (p *portable) send(e *entry[session], backend int, payload []byte) ledger.Fate {
	if !p.Backends.Addr(backend).IsValid() { // its name has gone since it had the turn
		return ledger.SendFailed
	}
	l, err := p.leg(e, backend)
	if err != nil {
		if udp.IsRefusal(err) { // no route to it
			p.Backends.Refused(backend, p.Backends.Addr(backend), err)
			return ledger.SendFailed
		}
		return ledger.NoSocket
	}
	_, err = l.conn.Write(payload)
	if udp.IsRefusal(err) {
		// That is the news of an earlier datagram. This one has not been sent
		// yet, and its turn is this backend's.
		p.Backends.Refused(backend, l.addr, err)
		_, err = l.conn.Write(payload)
	}
	if err != nil {
		return ledger.SendFailed
	}
	return ledger.Forwarded
}

// leg returns the session's socket to where the backend is now.
func (p *portable) leg(e *entry[session], backend int) (*leg, error) {
	s, addr := &e.session, p.Backends.Addr(backend)
	if l := s.legs[backend]; l != nil {
		if l.addr == addr {
			return l, nil
		}
		s.left = append(s.left, l) // its last replies may still come
		s.legs[backend] = nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteBuffer(udp.SendBuffer) // what is granted will have to do
	l := &leg{backend, addr, conn}
	s.legs[backend] = l
	p.legs.Go(func() { p.carry(e, l) })
	return l, nil
}

// carry brings the replies of one leg to the client until the leg is closed.
func (p *portable) carry(e *entry[session], l *leg) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, err := l.conn.Read(buf)
		var errno syscall.Errno
		switch {
		case udp.IsRefusal(err):
			p.Backends.Refused(l.backend, l.addr, err)
		case errors.As(err, &errno):
			// the system's word about one datagram; the next may be good
		case err != nil:
			return
		default:
			p.reply(time.Now(), e, l, buf[:n])
		}
	}
}

// reply hands one reply to the kernel for the client.
func (p *portable) reply(now time.Time, e *entry[session], l *leg, payload []byte) {
	p.Backends.Answered(l.backend, l.addr)
	p.mu.Lock()
	p.sessions.renew(e, now)
	p.mu.Unlock()

	s := &e.session
	s.mu.Lock()
	defer s.mu.Unlock()
	err := p.socket.Write(payload, s.peer)
	p.Ledger.Replied(now, []ledger.Reply{{
		Backend: l.backend, Bytes: len(payload), Head: payload, Pending: &s.pending[l.backend], Lost: err != nil,
	}})
}

// drain waits until no turn is waiting for its reply, or for as long as Drain
// allows.
func (p *portable) drain() {
	deadline := time.NewTimer(p.Drain)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for p.Ledger.Waiting(time.Now()) > 0 {
		select {
		case <-deadline.C:
			return
		case <-look.C:
		}
	}
}

// expire ends idle sessions until the context ends.
func (p *portable) expire(ctx context.Context) {
	look := time.NewTicker(max(p.SessionIdle/8, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			p.mu.Lock()
			for e := p.sessions.longestIdle(); e != nil && now.Sub(e.used) >= p.SessionIdle; e = p.sessions.longestIdle() {
				p.end(e, ledger.Idle)
			}
			p.mu.Unlock()
		}
	}
}

// endAll ends every session, at the stop.
func (p *portable) endAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.sessions.longestIdle(); e != nil; e = p.sessions.longestIdle() {
		p.end(e, ledger.Stopped)
	}
}

// end closes a session; its legs' goroutines see that and return.
func (p *portable) end(e *entry[session], why ledger.Ending) {
	p.sessions.remove(e)
	s := &e.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range slices.Concat(s.legs, s.left) {
		if l != nil {
			l.conn.Close()
		}
	}
	p.Ledger.SessionClosed(why)
}
