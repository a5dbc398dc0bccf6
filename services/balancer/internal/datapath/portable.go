package datapath

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
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
	own    *own
	legs   sync.WaitGroup // one for every goroutine that reads replies
	drops  atomic.Uint64  // at the listener, as far as anybody has asked

	mu       sync.Mutex // guards the table
	sessions *table[session]
}

// session is one client's sockets, a leg to each backend it had a turn at.
type session struct {
	mu        sync.Mutex // guards the rest; the ledger hears of a turn before its reply
	peer      udp.Peer
	allowance allowance
	pending   []ledger.Outstanding // by backend
	legs      []*leg               // by backend; nil before the first turn there
	left      []*leg               // by backend: to where it was before it moved
}

// leg is a session's connected socket to one backend.
type leg struct {
	backend int
	addr    netip.AddrPort
	conn    *udp.Conn
}

// own is the leg's own address.
func (l *leg) own() netip.AddrPort {
	return udp.Unmap(l.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

// openPortable opens the listener; nothing is read before Run.
func openPortable(ctx context.Context, cfg Config) (Relay, error) {
	socket, err := udp.Listen(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	// A smaller buffer than asked for is no reason not to start.
	_ = udp.SetReceiveBuffer(socket.Conn(), receiveBuffer)
	_ = socket.Conn().SetWriteBuffer(receiveBuffer)
	p := &portable{Config: cfg, socket: socket, own: newOwn(), sessions: newTable[session](newPlaces(cfg.MaxSessions))}
	p.own.add(socket.Addr())
	return p, nil
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
	p.refuseTheRest()
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
		case errors.Is(err, os.ErrDeadlineExceeded): // the context has ended
			p.refuseTheRest()
			return nil
		case err == nil && ctx.Err() != nil:
			p.Ledger.Dropped(ledger.Shutdown, 1)
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

// refuseTheRest counts what clients have sent and nobody is going to take: no
// more than the receive buffer can hold, or a flood would go on.
func (p *portable) refuseTheRest() {
	buf := make([]byte, udp.MaxDatagram) // Windows takes a cut datagram for an error
	for range mostUnread {
		// What is there is read at once, and nothing is waited for; but after a
		// deadline that has passed already nothing is read at all.
		p.socket.Conn().SetReadDeadline(time.Now().Add(time.Millisecond))
		var errno syscall.Errno
		switch _, _, err := p.socket.Read(buf); {
		case err == nil:
			p.Ledger.Dropped(ledger.Shutdown, 1)
		case !errors.As(err, &errno):
			return
		}
	}
}

// forward gives one datagram its turn.
func (p *portable) forward(now time.Time, peer udp.Peer, payload []byte) {
	arrival := ledger.Request{Client: peer.Addr, Bytes: len(payload)}
	if peer.Addr.Port() == 0 {
		p.record(now, arrival, ledger.PortZero)
		return
	}
	if _, current, _ := p.Backends.Owner(peer.Addr); current || p.own.sends(peer.Addr) {
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
	if !s.allowance.take(now, p.ClientRate) {
		p.record(now, arrival, ledger.ClientRate)
		return
	}
	s.peer = peer
	var turn [1]balancing.Turn
	if p.Rotation.Take(turn[:]) == 0 {
		p.record(now, arrival, ledger.NoBackend)
		return
	}
	backend := turn[0].Backend
	arrival.Turn, arrival.Backend, arrival.Skipped = turn[0].Number, backend, turn[0].Skipped
	arrival.Outstanding = &s.pending[backend]
	if turn[0].DroppedDown {
		p.record(now, arrival, ledger.DroppedDown)
		return
	}
	p.record(now, arrival, p.send(e, backend, payload))
	if turn[0].Trial {
		p.Backends.Tried(backend)
	}
}

// record tells the ledger what became of a datagram.
func (p *portable) record(now time.Time, arrival ledger.Request, fate ledger.Disposition) {
	arrival.Disposition = fate
	p.Ledger.Received(now, []ledger.Request{arrival})
}

// admit returns the client's session locked, a new one if there is room, or
// nil.
func (p *portable) admit(now time.Time, client netip.AddrPort) *entry[session] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.sessions.find(client); e != nil {
		p.sessions.heard(e, now)
		e.session.mu.Lock()
		return e
	}
	e := p.sessions.admit(client, now, func(e *entry[session]) { p.end(e, ledger.Evicted) })
	if e == nil {
		return nil
	}
	e.session.pending = make([]ledger.Outstanding, p.Backends.Len())
	e.session.legs = make([]*leg, p.Backends.Len())
	e.session.left = make([]*leg, p.Backends.Len())
	p.Ledger.SessionOpened()
	e.session.mu.Lock()
	return e
}

// send hands one datagram to the kernel for a backend and says what became of
// it.
func (p *portable) send(e *entry[session], backend int, payload []byte) ledger.Disposition {
	addr := p.Backends.Addr(backend) // once: it may have another before the kernel says that nobody is there
	if !addr.IsValid() {             // its name has gone since it had the turn
		return ledger.SendFailed
	}
	l, err := p.leg(e, backend, addr)
	if err != nil {
		if udp.IsRefusal(err) { // no route to it
			p.Backends.Refused(backend, addr, err)
			return ledger.SendFailed
		}
		return ledger.NoSocket
	}
	if err = l.conn.Send(payload); err == nil {
		return ledger.Forwarded
	}
	// That is usually the news of an earlier datagram. This one has not been
	// sent yet, and its turn is this backend's.
	if udp.IsRefusal(err) {
		p.Backends.Refused(backend, l.addr, err)
	}
	if err = l.conn.Send(payload); err != nil {
		return ledger.SendFailed
	}
	return ledger.Forwarded
}

// leg returns the session's socket to where the backend is.
func (p *portable) leg(e *entry[session], backend int, addr netip.AddrPort) (*leg, error) {
	s := &e.session
	was, before := s.legs[backend], s.left[backend]
	if was != nil && was.addr == addr {
		return was, nil
	}
	if before != nil && before.addr == addr { // it is back
		s.legs[backend], s.left[backend] = before, was
		return before, nil
	}
	conn, err := udp.Dial(addr)
	if err != nil {
		return nil, err
	}
	l := &leg{backend, addr, conn}
	p.own.add(l.own())
	if was != nil { // its last replies from there may still come
		s.left[backend] = was
		if before != nil {
			p.close(before)
		}
	}
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
		Backend: l.backend, Bytes: len(payload), Head: payload, Outstanding: &s.pending[l.backend], Lost: err != nil,
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

// close closes a leg; its goroutine sees that and returns.
func (p *portable) close(l *leg) {
	p.own.remove(l.own())
	l.conn.Close()
}

// end closes a session and all its legs.
func (p *portable) end(e *entry[session], why ledger.CloseReason) {
	s := &e.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range slices.Concat(s.legs, s.left) {
		if l != nil {
			p.close(l)
		}
	}
	p.Ledger.SessionClosed(why)
	p.sessions.remove(e)
}
