package datapath

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/session"
	"udplab/services/kit/udp"
)

// portable is the data path on package net, for every system: one goroutine
// reads the listener and forwards, and one for each client and server reads the
// replies of a connected socket. A connected socket hears nobody but its server,
// and hears when the server refuses. The price is a goroutine, a socket and 64
// KiB of buffer for each client and server.
type portable struct {
	Config
	listener *udp.Socket
	granted  int // bytes of receive buffer
	self     *session.SelfAddrs
	readers  sync.WaitGroup // one for every socket
	drops    atomic.Uint64  // at the listener, as far as anybody has asked

	mu   sync.Mutex // guards the core's sessions; its batch belongs to receive
	core *session.Core[upstreams]
}

// upstreams is one client's sockets.
type upstreams struct {
	mu      sync.Mutex // guards the rest; the ledger hears of a turn before its reply
	peer    udp.Peer
	servers []upstream // those that the client had a turn at
}

// upstream is the sockets to one server. Where it was before it moved, its last
// replies may still come from.
type upstream struct {
	backend     membership.ID
	now, before *socket // nil: none
}

// socket is connected to one address of a server.
type socket struct {
	backend membership.ID
	addr    netip.AddrPort
	conn    *udp.Socket
}

// openPortable opens the listener; nothing is read before Run.
func openPortable(ctx context.Context, cfg Config) (DataPath, error) {
	listener, err := udp.Listen(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	_ = listener.Conn().SetWriteBuffer(receiveBuffer) // a smaller one serves too
	p := &portable{Config: cfg, listener: listener, self: newSelfAddrs()}
	p.granted = udp.SetReceiveBuffer(listener.Conn(), receiveBuffer)
	p.core = newCore(cfg, p.self, session.NewCapacity(cfg.MaxSessions), 1, p.closeSockets)
	p.self.Add(listener.Addr())
	return p, nil
}

func (p *portable) Addr() netip.AddrPort { return p.listener.Addr() }

func (p *portable) ReceiveBuffer() (asked, granted int) {
	return receiveBuffer, p.granted
}

func (p *portable) KernelDrops() uint64 {
	if n := udp.Drops(p.listener.Conn()); n > p.drops.Load() { // 0 once the socket is closed
		p.drops.Store(n)
	}
	return p.drops.Load()
}

func (p *portable) Close() error { return p.listener.Close() }

func (p *portable) Run(ctx context.Context) error {
	stopReading := context.AfterFunc(ctx, func() { p.listener.Conn().SetReadDeadline(time.Now()) })
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
	p.dropUnread()
	p.locked(p.core.CloseAll)
	p.readers.Wait()
	p.KernelDrops()
	return errors.Join(err, p.listener.Close())
}

func (p *portable) locked(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
}

// receive forwards what clients send until the context ends.
func (p *portable) receive(ctx context.Context) error {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, peer, err := p.listener.Read(buf)
		var errno syscall.Errno
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // the context has ended
			p.dropUnread()
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

// dropUnread counts what clients have sent and nobody is going to take: no more
// than the receive buffer can hold, or a flood would go on. After a deadline that
// has passed nothing is read, though it may be there, and a busy machine may let
// one pass. There is a second.
func (p *portable) dropUnread() {
	buf := make([]byte, udp.MaxDatagram) // Windows takes a cut datagram for an error
	n := 0
	for range 2 {
		p.listener.Conn().SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for n < mostUnread {
			var errno syscall.Errno
			_, _, err := p.listener.Read(buf)
			if err != nil && !errors.As(err, &errno) {
				break
			}
			if n++; err == nil {
				p.Ledger.Dropped(ledger.Shutdown, 1)
			}
		}
	}
}

// forward gives one datagram, a batch of its own, its turn.
func (p *portable) forward(now time.Time, peer udp.Peer, payload []byte) {
	p.mu.Lock()
	p.core.Begin(now)
	s := p.core.Admit(peer.Addr, netip.Addr{}, len(payload))
	if s != nil {
		s.Upstream.mu.Lock()
		defer s.Upstream.mu.Unlock()
		s.Upstream.peer = peer
	}
	p.mu.Unlock()

	p.core.TakeTurns()
	for _, i := range p.core.Plan() {
		if why := p.send(s, p.core.Backend(i), payload); why != ledger.Forwarded {
			p.core.Dropped(i, why)
		}
	}
	p.core.Record()
}

// send hands one datagram to the kernel for a server and says what became of it.
func (p *portable) send(s *session.Session[upstreams], b *membership.Backend, payload []byte) ledger.Disposition {
	if !b.Addr.IsValid() { // under hold, a server that is down may have a turn and no address
		return ledger.SendFailed
	}
	to, err := p.socketTo(s, b)
	if err != nil {
		reportRefusal(p.Members, b.ID, b.Addr, err)
		if udp.IsRefusal(err) { // no route to it
			return ledger.SendFailed
		}
		return ledger.NoSocket
	}
	if err = to.conn.Write(payload, udp.Peer{}); err == nil {
		return ledger.Forwarded
	}
	// That is usually the news of an earlier datagram. This one has not been
	// sent yet, and its turn is this server's.
	reportRefusal(p.Members, b.ID, b.Addr, err)
	if err = to.conn.Write(payload, udp.Peer{}); err != nil {
		return ledger.SendFailed
	}
	return ledger.Forwarded
}

// socketTo returns the session's socket to where a server is.
func (p *portable) socketTo(s *session.Session[upstreams], b *membership.Backend) (*socket, error) {
	i := slices.IndexFunc(s.Upstream.servers, func(u upstream) bool { return u.backend == b.ID })
	if i < 0 {
		i = len(s.Upstream.servers)
		s.Upstream.servers = append(s.Upstream.servers, upstream{backend: b.ID})
	}
	u := &s.Upstream.servers[i]
	if u.now != nil && u.now.addr == b.Addr {
		return u.now, nil
	}
	if u.before != nil && u.before.addr == b.Addr { // it is back
		u.now, u.before = u.before, u.now
		return u.now, nil
	}
	conn, err := udp.Dial(b.Addr)
	if err != nil {
		return nil, err
	}
	if u.now != nil {
		p.closeSocket(u.before)
		u.before = u.now
	}
	opened := &socket{backend: b.ID, addr: b.Addr, conn: conn}
	p.self.Add(conn.Addr())
	p.readers.Go(func() { p.carry(s, opened) })
	u.now = opened
	return opened, nil
}

// carry brings the replies of one socket to the client until the socket is
// closed.
func (p *portable) carry(s *session.Session[upstreams], from *socket) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, _, err := from.conn.Read(buf)
		var errno syscall.Errno
		switch {
		case errors.As(err, &errno):
			// The system's word about one datagram; the next may be good.
			reportRefusal(p.Members, from.backend, from.addr, err)
		case err != nil:
			return
		default:
			p.reply(time.Now(), s, from.addr, buf[:n])
		}
	}
}

// reply hands one reply to the kernel for the client.
func (p *portable) reply(now time.Time, s *session.Session[upstreams], from netip.AddrPort, payload []byte) {
	p.mu.Lock()
	reply, ok := p.core.Accept(now, s, from, payload)
	p.mu.Unlock()
	if !ok {
		return
	}
	s.Upstream.mu.Lock()
	defer s.Upstream.mu.Unlock()
	reply.Lost = p.listener.Write(payload, s.Upstream.peer) != nil
	p.Ledger.Replied(now, []ledger.Reply{reply})
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

// expire closes idle sessions until the context ends.
func (p *portable) expire(ctx context.Context) {
	look := time.NewTicker(max(p.SessionIdle/8, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			p.locked(func() { p.core.Expire(now) })
		}
	}
}

// closeSockets closes the sockets of a session that is closed.
func (p *portable) closeSockets(s *session.Session[upstreams]) {
	s.Upstream.mu.Lock()
	defer s.Upstream.mu.Unlock()
	for _, u := range s.Upstream.servers {
		p.closeSocket(u.now)
		p.closeSocket(u.before)
	}
}

// closeSocket closes a socket, if there is one; its goroutine sees that and
// returns.
func (p *portable) closeSocket(s *socket) {
	if s != nil {
		p.self.Remove(s.conn.Addr())
		s.conn.Close()
	}
}
