package datapath

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/session"
	"udplab/services/kit/udp"
)

// portable is the data path on package net, for every system. One goroutine reads
// the listener and forwards. One for each client and server's address reads the
// replies of a connected socket, which hears nobody but its server, and hears when
// the server refuses. The price is a goroutine, a socket and 64 KiB of buffer for
// each of them.
type portable struct {
	Config
	listener *udp.Socket
	granted  int // bytes of receive buffer
	self     *session.SelfAddrs
	readers  sync.WaitGroup // one for every socket
	drops    atomic.Uint64  // at the listener, as far as anybody has asked

	mu   sync.Mutex // held for one datagram at a time, from its admission to its record
	core *session.Core[upstream]
}

// upstream is one client, and its sockets by the address that each is connected
// to: those of servers that it had a turn at.
type upstream struct {
	peer  udp.Peer
	conns map[netip.AddrPort]*udp.Socket
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

func (p *portable) ReceiveBuffer() (asked, granted int) { return receiveBuffer, p.granted }

func (p *portable) KernelDrops() uint64 {
	if n := udp.Drops(p.listener.Conn()); n > p.drops.Load() { // 0 once the socket is closed
		p.drops.Store(n)
	}
	return p.drops.Load()
}

func (p *portable) Close() error {
	p.KernelDrops() // while the kernel can be asked
	return p.listener.Close()
}

func (p *portable) Run(ctx context.Context) error {
	stopReading := context.AfterFunc(ctx, func() { p.listener.Conn().SetReadDeadline(time.Now()) })
	defer stopReading()
	err := p.receive(ctx)
	if err == nil {
		p.drain()
		p.dropUnread()
	}
	p.mu.Lock()
	p.core.CloseAll()
	p.mu.Unlock()
	p.readers.Wait()
	return errors.Join(err, p.Close())
}

// receive forwards what clients send and closes idle sessions, until the context
// ends.
func (p *portable) receive(ctx context.Context) error {
	buf := make([]byte, udp.MaxDatagram)
	for {
		p.listener.Conn().SetReadDeadline(time.Now().Add(p.expiryInterval()))
		if ctx.Err() != nil { // or it ends later, and the deadline with it
			return nil
		}
		n, peer, err := p.listener.Read(buf)
		now := time.Now()
		p.mu.Lock()
		p.core.Expire(now)
		if err == nil {
			p.forward(now, peer, buf[:n])
		}
		p.mu.Unlock()
		if !isPassing(err) {
			return err
		}
	}
}

// isPassing says whether the next call may be good: after what the system says
// about one datagram, such as that somebody refused it, and after a deadline.
func isPassing(err error) bool {
	var errno syscall.Errno
	return err == nil || errors.As(err, &errno) || errors.Is(err, os.ErrDeadlineExceeded)
}

// forward gives one datagram, a batch of its own, its turn.
func (p *portable) forward(now time.Time, peer udp.Peer, payload []byte) {
	p.core.Begin(now)
	s := p.core.Admit(peer.Addr, netip.Addr{}, len(payload))
	if s != nil {
		s.Upstream.peer = peer
	}
	p.core.TakeTurns()
	for _, i := range p.core.Plan() {
		if why := p.send(s, p.core.Backend(i).Addr, payload); why != ledger.Forwarded {
			p.core.Dropped(i, why)
		}
	}
	p.core.Record()
}

// send hands one datagram to the kernel for a server and says what became of it.
func (p *portable) send(s *session.Session[upstream], to netip.AddrPort, payload []byte) ledger.Disposition {
	conn, err := p.socketTo(s, to)
	if err != nil {
		p.refused(to, err)
		if udp.IsRefusal(err) { // no route to it
			return ledger.SendFailed
		}
		return ledger.NoSocket
	}
	if err = conn.Write(payload, udp.Peer{}); err != nil {
		// That is usually the news of an earlier datagram. This one has not been
		// sent yet, and its turn is this server's.
		p.refused(to, err)
		err = conn.Write(payload, udp.Peer{})
	}
	if err != nil {
		return ledger.SendFailed
	}
	return ledger.Forwarded
}

// socketTo returns the session's socket to where a server is. When it opens one,
// it closes those to where no server is any more.
func (p *portable) socketTo(s *session.Session[upstream], to netip.AddrPort) (*udp.Socket, error) {
	if conn := s.Upstream.conns[to]; conn != nil {
		return conn, nil
	}
	conn, err := udp.Dial(to)
	if err != nil {
		return nil, err
	}
	if s.Upstream.conns == nil {
		s.Upstream.conns = map[netip.AddrPort]*udp.Socket{}
	}
	for addr, old := range s.Upstream.conns {
		if owner, _ := p.Members.Owner(addr); owner == nil {
			p.closeSocket(old)
			delete(s.Upstream.conns, addr)
		}
	}
	s.Upstream.conns[to] = conn
	p.self.Add(conn.Addr())
	p.readers.Go(func() { p.carry(s, to, conn) })
	return conn, nil
}

// carry brings the replies of one socket to the client until the socket is
// closed.
func (p *portable) carry(s *session.Session[upstream], from netip.AddrPort, conn *udp.Socket) {
	buf := make([]byte, udp.MaxDatagram)
	for {
		n, _, err := conn.Read(buf)
		switch {
		case err == nil:
			p.reply(time.Now(), s, from, buf[:n])
		case isPassing(err):
			p.refused(from, err)
		default:
			return
		}
	}
}

// reply hands one reply to the kernel for the client.
func (p *portable) reply(now time.Time, s *session.Session[upstream], from netip.AddrPort, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reply, ok := p.core.Accept(now, s, from, payload); ok {
		reply.Lost = p.listener.Write(payload, s.Upstream.peer) != nil
		p.Ledger.Replied(now, []ledger.Reply{reply})
	}
}

// drain waits until no turn is waiting for its reply, or for as long as Drain
// allows.
func (p *portable) drain() {
	for end := time.Now().Add(p.Drain); p.Ledger.Waiting(time.Now()) > 0 && time.Now().Before(end); {
		time.Sleep(drainInterval)
	}
}

// dropUnread counts what clients have sent and nobody is going to take: no more
// than the receive buffer can hold, or a flood would go on. After a deadline that
// has passed nothing is read, though it may be there, and a busy machine may let
// one pass. Two in a row mean that there is nothing.
func (p *portable) dropUnread() {
	buf := make([]byte, udp.MaxDatagram) // Windows takes a cut datagram for an error
	for read, silent := 0, 0; read < mostUnread && silent < 2; {
		p.listener.Conn().SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _, err := p.listener.Read(buf)
		switch {
		case err == nil:
			p.Ledger.Dropped(ledger.Shutdown, 1)
			read, silent = read+1, 0
		case errors.Is(err, os.ErrDeadlineExceeded):
			silent++
		case isPassing(err):
			read++
		default:
			return
		}
	}
}

// closeSockets closes the sockets of a session that is closed.
func (p *portable) closeSockets(s *session.Session[upstream]) {
	for _, conn := range s.Upstream.conns {
		p.closeSocket(conn)
	}
}

// closeSocket closes a socket; its goroutine sees that and returns.
func (p *portable) closeSocket(conn *udp.Socket) {
	p.self.Remove(conn.Addr())
	conn.Close()
}
