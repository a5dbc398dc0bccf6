package datapath

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/session"
	"udplab/services/kit/mmsg"
	"udplab/services/kit/udp"
)

// epoll is the data path on Linux: event loops of our own. A worker is one
// listener and the loop that owns it, its sessions and their sockets: no locks
// and no goroutine per client. Several workers listen on one address and the
// kernel keeps each client on one of them; they share only the scheduler, the
// ledger and the number of sessions.
type epoll struct {
	Config
	workers          []*worker
	self             *session.SelfAddrs
	granted          int           // receive buffer of each listener, in bytes
	interval         time.Duration // between two looks for idle sessions, at most
	evictionRequests atomic.Bool   // a worker wants an idle session of another's closed

	mu     sync.Mutex // guards the rest
	drops  uint64     // at the listeners, as far as anybody has asked
	closed bool
}

// batchSize is how many datagrams a worker takes from the kernel, and hands to
// it, at a time.
const batchSize = 128

func init() { openers[Epoll] = openEpoll }

// spin is for how long a worker that has nothing to do keeps its processor. One in
// use seldom lets go, and an idle balancer costs nothing.
const spin = 5 * time.Millisecond

// evictionInterval is how long a worker may take to see that another needs the
// place of one of its idle sessions.
const evictionInterval = 100 * time.Millisecond

// openEpoll opens the listeners; nothing is read before Run.
func openEpoll(ctx context.Context, cfg Config) (DataPath, error) {
	// Package net knows every form of an address, and says whether the port is in
	// use: sockets that share a port share it with anybody who does.
	alone, err := udp.Listen(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	addr := alone.Addr() // with the port that was free
	if err := alone.Close(); err != nil {
		return nil, err
	}
	e := &epoll{Config: cfg, self: newSelfAddrs(), interval: cfg.expiryInterval()}
	n := cmp.Or(cfg.Workers, runtime.GOMAXPROCS(0))
	if n > 1 {
		e.interval = min(e.interval, evictionInterval)
	}
	capacity := session.NewCapacity(cfg.MaxSessions)
	for range n {
		w, err := newWorker(e, addr, n > 1, capacity)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.workers = append(e.workers, w)
		e.granted = w.listener.SetReceiveBuffer(receiveBuffer)
		w.listener.SetSendBuffer(receiveBuffer)
	}
	e.self.Add(e.Addr())
	return e, nil
}

func (e *epoll) Addr() netip.AddrPort { return e.workers[0].listener.Addr() }

func (e *epoll) ReceiveBuffer() (asked, granted int) { return receiveBuffer, e.granted }

func (e *epoll) KernelDrops() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		if !e.closed {
			e.drops += w.listener.NewDrops()
		}
	}
	return e.drops
}

func (e *epoll) Close() (err error) {
	e.KernelDrops() // while the kernel can be asked
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, w := range e.workers {
		err = errors.Join(err, w.listener.Close(), w.poller.Close())
	}
	return err
}

// Run runs every worker; the first that fails stops the others.
func (e *epoll) Run(ctx context.Context) error {
	// Workers hold on to their processors; everything else needs one too.
	if n := len(e.workers) + 1; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range e.workers {
		group.Go(func() error { return w.run(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, w := range e.workers {
			w.poller.Wake()
		}
		return nil
	})
	err := group.Wait()
	for _, w := range e.workers { // only now: one may drain for longer than another
		w.dropUnread()
	}
	return errors.Join(err, e.Close())
}

// worker is one listener and the loop that owns it.
type worker struct {
	*epoll
	listener *mmsg.Socket
	poller   *mmsg.Poller
	core     *session.Core[sockets]
	bySocket []*session.Session[sockets] // by the socket's descriptor, which is also the poller's token

	now               time.Time // of the round at hand
	in                *mmsg.Inbox
	requests, replies *mmsg.Outbox

	// Replies, collected over all sessions of a round.
	filled   int // slots of in that they take
	accepted []ledger.Reply
}

// sockets is what a worker keeps of a session.
type sockets struct {
	inflight int             // forwarded less replied: so many replies may come at once
	families [2]*mmsg.Socket // for servers at IPv4 and at IPv6 addresses; nil before the first
}

// familyOf is the index of an address's family in sockets.families.
func familyOf(addr netip.AddrPort) int {
	if addr.Addr().Is6() {
		return 1
	}
	return 0
}

func newWorker(e *epoll, addr netip.AddrPort, share bool, capacity session.Capacity) (*worker, error) {
	poller, err := mmsg.NewPoller(batchSize)
	if err != nil {
		return nil, err
	}
	poller.SpinBeforeBlock = spin
	listener, err := mmsg.Listen(addr, share)
	if err != nil {
		return nil, errors.Join(err, poller.Close())
	}
	if err = poller.Add(listener, uint64(listener.FD())); err != nil {
		return nil, errors.Join(err, listener.Close(), poller.Close())
	}
	w := &worker{
		epoll: e, listener: listener, poller: poller,
		in: mmsg.NewInbox(batchSize, udp.MaxDatagram), requests: mmsg.NewOutbox(batchSize), replies: mmsg.NewOutbox(batchSize),
		accepted: make([]ledger.Reply, 0, batchSize),
	}
	w.core = newCore(e.Config, e.self, capacity, batchSize, w.closeSockets)
	w.requests.OnError, w.replies.OnError = w.refused, w.replyRefused
	w.replies.Begin(listener)
	return w, nil
}

// run is the loop: what has come is forwarded, what came back is replied, and
// idle sessions are closed, until the context ends.
func (w *worker) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer w.core.CloseAll()
	wait := w.interval
	stop := time.Time{} // when draining ends; zero: not draining
	for {
		n, err := w.poller.Wait(wait)
		if err != nil {
			return err
		}
		w.now = time.Now()
		heard := w.receiveReplies(n)
		switch {
		case ctx.Err() == nil && heard:
			err = w.receiveRequests()
		case ctx.Err() == nil:
		case stop.IsZero():
			stop, wait = w.now.Add(w.Drain), drainInterval
			err = w.poller.Remove(w.listener)
		case w.Ledger.Waiting(w.now) == 0 || !w.now.Before(stop):
			return nil
		}
		if err != nil {
			return err
		}
		w.core.Expire(w.now)
		if w.evictionRequests.Load() && w.core.Evict(w.now) {
			w.evictionRequests.Store(false)
		}
	}
}

// dropUnread counts what clients have sent and nobody is going to take: no more
// than the receive buffer can hold, or a flood would go on.
func (w *worker) dropUnread() {
	for total := 0; total < mostUnread; {
		n, err := w.in.Receive(w.listener, 0, w.in.Len())
		if n == 0 || err != nil {
			return
		}
		w.Ledger.Dropped(ledger.Shutdown, n)
		total += n
	}
}

// receiveRequests takes a batch from the listener, gives each datagram its turn
// and forwards it.
func (w *worker) receiveRequests() error {
	n, err := w.in.Receive(w.listener, 0, w.in.Len())
	if err != nil {
		return err
	}
	w.core.Begin(w.now)
	for i := range n {
		w.core.Admit(w.in.From(i), w.in.To(i), len(w.in.Payload(i)))
	}
	w.core.TakeTurns()
	for plan := w.core.Plan(); len(plan) > 0; {
		plan = plan[w.forward(plan):]
	}
	w.core.Record()
	if w.core.Full() && len(w.workers) > 1 {
		w.evictionRequests.Store(true)
	}
	return nil
}

// forward sends the requests at the front of a plan that leave from one socket,
// and returns how many these are.
func (w *worker) forward(plan []int) (n int) {
	s := w.core.Session(plan[0])
	socket, err := w.socketTo(s, w.core.Backend(plan[0]).Addr)
	if err != nil {
		w.core.Dropped(plan[0], ledger.NoSocket)
		return 1
	}
	w.requests.Begin(socket)
	for n < len(plan) && w.core.Session(plan[n]) == s {
		to := w.core.Backend(plan[n]).Addr
		if s.Upstream.families[familyOf(to)] != socket {
			break
		}
		w.requests.Add(w.in.Payload(plan[n]), to, netip.Addr{})
		n++
	}
	failed := w.requests.Send()
	s.Upstream.inflight += n - failed
	for k := 0; failed > 0 && k < n; k++ {
		if err := w.requests.Failed(k); err != nil {
			w.core.Dropped(plan[k], ledger.SendFailed)
			w.refused(w.core.Backend(plan[k]).Addr, err)
		}
	}
	return n
}

// socketTo returns the session's socket for a server's address, opened when it is
// first needed.
func (w *worker) socketTo(s *session.Session[sockets], to netip.AddrPort) (*mmsg.Socket, error) {
	family := familyOf(to)
	if socket := s.Upstream.families[family]; socket != nil {
		return socket, nil
	}
	socket, err := mmsg.Dial(family == 1)
	if err != nil {
		return nil, err
	}
	if err := w.poller.Add(socket, uint64(socket.FD())); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	w.self.Add(socket.Addr())
	if missing := socket.FD() + 1 - len(w.bySocket); missing > 0 {
		w.bySocket = append(w.bySocket, make([]*session.Session[sockets], missing)...)
	}
	w.bySocket[socket.FD()] = s
	s.Upstream.families[family] = socket
	return socket, nil
}

// closeSockets closes the sockets of a session that is closed.
func (w *worker) closeSockets(s *session.Session[sockets]) {
	for _, socket := range s.Upstream.families {
		if socket != nil {
			w.self.Remove(socket.Addr())
			w.bySocket[socket.FD()] = nil
			_ = socket.Close() // nothing of it is needed any more
		}
	}
}

// receiveReplies takes the replies of every session that has some, of n events,
// and sends them. It says whether clients have been heard too.
func (w *worker) receiveReplies(n int) (heard bool) {
	for i := range n {
		event, ok := w.poller.Event(i)
		switch {
		case !ok: // woken: the loop looks why
		case event.Token == uint64(w.listener.FD()):
			heard = true
			if event.Errors {
				w.listener.Errors(w.replies.OnError)
			}
		default:
			s := w.bySocket[event.Token]
			socket := s.Upstream.families[0]
			if socket == nil || uint64(socket.FD()) != event.Token {
				socket = s.Upstream.families[1]
			}
			if event.Errors {
				socket.Errors(w.requests.OnError)
			}
			w.receiveFrom(s, socket)
		}
	}
	w.sendReplies()
	return heard
}

// receiveFrom takes a session's replies, as many as may have come.
func (w *worker) receiveFrom(s *session.Session[sockets], socket *mmsg.Socket) {
	if w.filled == w.in.Len() {
		w.sendReplies()
	}
	first := w.filled
	n, err := w.in.Receive(socket, first, min(max(s.Upstream.inflight, 1), w.in.Len()-first))
	if err != nil {
		return
	}
	w.filled += n
	for i := first; i < w.filled; i++ {
		payload := w.in.Payload(i)
		if reply, ok := w.core.Accept(w.now, s, w.in.From(i), payload); ok {
			w.replies.Add(payload, s.Client, s.LocalAddr)
			w.accepted = append(w.accepted, reply)
			s.Upstream.inflight = max(s.Upstream.inflight-1, 0)
		}
	}
}

// sendReplies sends the replies that have been collected, and empties the slots.
func (w *worker) sendReplies() {
	if len(w.accepted) > 0 {
		w.replies.Send()
		for i := range w.accepted {
			w.accepted[i].Lost = w.replies.Failed(i) != nil
		}
		w.Ledger.Replied(w.now, w.accepted)
		w.replies.Begin(w.listener)
	}
	w.filled, w.accepted = 0, w.accepted[:0]
}

// replyRefused is told of every ICMP error about a reply.
func (w *worker) replyRefused(_ netip.AddrPort, err error) {
	if udp.IsRefusal(err) {
		w.Ledger.ReplyRefused()
	}
}
