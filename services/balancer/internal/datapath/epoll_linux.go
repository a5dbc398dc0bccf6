package datapath

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

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
	granted          int         // receive buffer of each listener, in bytes
	evictionRequests atomic.Bool // a worker wants an idle session of another's closed
}

// batchSize is how many datagrams a worker takes from the kernel, and hands to
// it, at a time.
const batchSize = 128

func init() { openers[Epoll] = openEpoll }

// spin is for how long a worker that has nothing to do keeps its processor: so
// long that one in use seldom lets go, so short that an idle balancer costs
// nothing.
const spin = 5 * time.Millisecond

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
	n := cfg.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	e := &epoll{Config: cfg, self: newSelfAddrs()}
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
	sum := uint64(0)
	for _, w := range e.workers {
		sum += w.countDrops()
	}
	return sum
}

func (e *epoll) Close() (err error) {
	for _, w := range e.workers {
		err = errors.Join(err, w.close())
	}
	return err
}

// Run runs every worker; the first that fails stops the others.
func (e *epoll) Run(ctx context.Context) error {
	// Workers hold on to their processors; everything else needs one too.
	if n := len(e.workers) + 1; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := make([]error, len(e.workers))
	var wg sync.WaitGroup
	for i, w := range e.workers {
		wg.Go(func() {
			if failed[i] = w.run(ctx); failed[i] != nil {
				cancel(failed[i])
			}
		})
	}
	var waker sync.WaitGroup // of its own: it must be done before anything is closed
	waker.Go(func() {
		<-ctx.Done()
		for _, w := range e.workers {
			w.poller.Wake()
		}
	})
	wg.Wait()
	cancel(nil)
	waker.Wait()
	return errors.Join(append(failed, e.Close())...)
}

// worker is one listener and the loop that owns it.
type worker struct {
	*epoll
	listener *mmsg.Socket
	poller   *mmsg.Poller
	core     *session.Core[sockets]
	bySlot   []*session.Session[sockets] // from 1; a session's token is twice its slot, plus the family
	free     []int32                     // slots

	drops struct { // at the listener; whoever wants to know counts them
		sync.Mutex
		total  uint64
		closed bool
	}

	now time.Time // of the round at hand
	in  *mmsg.Inbox
	out *mmsg.Outbox

	// Replies, collected over all sessions of a round.
	filled  int // slots of in that they take
	replies []ledger.Reply

	onServerError, onClientError func(netip.AddrPort, error) // serverError and clientError, made once
}

// sockets is what a worker keeps of a session.
type sockets struct {
	slot     int32           // in bySlot; 0: none yet
	inflight int32           // forwarded less replied: so many replies may come at once
	families [2]*mmsg.Socket // for servers at IPv4 and at IPv6 addresses; nil before the first
}

// listenerToken is the token of the listener; sessions' are below.
const listenerToken = 1 << 62

func newWorker(e *epoll, addr netip.AddrPort, share bool, capacity session.Capacity) (w *worker, err error) {
	w = &worker{
		epoll: e, in: mmsg.NewInbox(batchSize, udp.MaxDatagram), out: mmsg.NewOutbox(batchSize),
		replies: make([]ledger.Reply, 0, batchSize), bySlot: make([]*session.Session[sockets], 1),
	}
	w.core = newCore(e.Config, e.self, capacity, batchSize, w.closeSockets)
	w.onServerError, w.onClientError = w.serverError, w.clientError
	if w.poller, err = mmsg.NewPoller(batchSize); err != nil {
		return nil, err
	}
	w.poller.SpinBeforeBlock = spin
	if w.listener, err = mmsg.Listen(addr, share); err != nil {
		return nil, errors.Join(err, w.poller.Close())
	}
	if err = w.poller.Add(w.listener, listenerToken); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *worker) close() error {
	w.countDrops()
	w.drops.Lock()
	defer w.drops.Unlock()
	w.drops.closed = true
	return errors.Join(w.listener.Close(), w.poller.Close())
}

// countDrops asks the kernel how many datagrams it has dropped at the listener.
func (w *worker) countDrops() uint64 {
	w.drops.Lock()
	defer w.drops.Unlock()
	if !w.drops.closed {
		w.drops.total += w.listener.NewDrops()
	}
	return w.drops.total
}

// run is the loop: what has come is forwarded, what came back is replied, and
// idle sessions are closed, until the context ends.
func (w *worker) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer w.core.CloseAll()
	defer w.dropUnread()
	w.now = time.Now()
	stop := time.Time{} // when draining ends; zero: not draining
	for {
		n, err := w.poller.Wait(w.pollTimeout(stop))
		if err != nil {
			return err
		}
		w.now = time.Now()
		heard := w.receiveReplies(n)
		if ctx.Err() != nil && stop.IsZero() {
			stop = w.now.Add(w.Drain)
			if err := w.poller.Remove(w.listener); err != nil {
				return err
			}
			w.dropUnread()
		}
		switch {
		case !stop.IsZero():
			if w.Ledger.Waiting(w.now) == 0 || !w.now.Before(stop) {
				return nil
			}
		case heard:
			if err := w.receiveRequests(); err != nil {
				return err
			}
		}
		w.core.Expire(w.now)
		if until, ok := w.core.UntilEviction(w.now); ok && until == 0 && w.evictionRequests.Swap(false) {
			w.core.Evict(w.now)
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

// pollTimeout is how long there is nothing to do unless something comes;
// negative: for ever.
func (w *worker) pollTimeout(stop time.Time) time.Duration {
	if !stop.IsZero() {
		return 5 * time.Millisecond
	}
	wait, ok := w.core.UntilExpiry(w.now)
	if !ok {
		return -1
	}
	if w.evictionRequests.Load() {
		if until, ok := w.core.UntilEviction(w.now); ok {
			wait = min(wait, until)
		}
	}
	return wait + time.Millisecond
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
	if w.core.Full() {
		w.requestEviction()
	}
	return nil
}

// forward sends the requests at the front of a plan that leave from one socket,
// and returns how many these are.
func (w *worker) forward(plan []int) (n int) {
	s, first := w.core.Session(plan[0]), w.core.Backend(plan[0]).Addr
	if !first.IsValid() { // under hold, a server that is down may have a turn and no address
		w.core.Dropped(plan[0], ledger.SendFailed)
		return 1
	}
	socket, err := w.socketTo(s, first)
	if err != nil {
		w.core.Dropped(plan[0], ledger.NoSocket)
		return 1
	}
	w.out.Begin(socket)
	w.out.OnError = w.onServerError
	for n < len(plan) && w.core.Session(plan[n]) == s {
		to := w.core.Backend(plan[n]).Addr
		if !to.IsValid() || s.Upstream.families[familyOf(to)] != socket {
			break
		}
		w.out.Add(w.in.Payload(plan[n]), to, netip.Addr{})
		n++
	}
	failed := w.out.Send()
	s.Upstream.inflight += int32(n - failed)
	for k := 0; failed > 0 && k < n; k++ {
		if err := w.out.Failed(k); err != nil {
			b := w.core.Backend(plan[k])
			w.core.Dropped(plan[k], ledger.SendFailed)
			reportRefusal(w.Members, b.ID, b.Addr, err)
		}
	}
	return n
}

// familyOf is the index of an address's family in sockets.families.
func familyOf(addr netip.AddrPort) int {
	if addr.Addr().Is6() {
		return 1
	}
	return 0
}

// socketTo returns the session's socket for a server's address, opened when it is
// first needed.
func (w *worker) socketTo(s *session.Session[sockets], addr netip.AddrPort) (*mmsg.Socket, error) {
	family := familyOf(addr)
	if socket := s.Upstream.families[family]; socket != nil {
		return socket, nil
	}
	if s.Upstream.slot == 0 {
		w.assignSlot(s)
	}
	socket, err := mmsg.Dial(family == 1)
	if err != nil {
		return nil, err
	}
	if err := w.poller.Add(socket, uint64(2*int(s.Upstream.slot)+family)); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	w.self.Add(socket.Addr())
	s.Upstream.families[family] = socket
	return socket, nil
}

// assignSlot gives a session the number under which its sockets are polled.
func (w *worker) assignSlot(s *session.Session[sockets]) {
	if n := len(w.free); n > 0 {
		s.Upstream.slot, w.free = w.free[n-1], w.free[:n-1]
		w.bySlot[s.Upstream.slot] = s
		return
	}
	s.Upstream.slot = int32(len(w.bySlot))
	w.bySlot = append(w.bySlot, s)
}

// receiveReplies takes the replies of every session that has some, of n events,
// and sends them. It says whether clients have been heard too.
func (w *worker) receiveReplies(n int) (heard bool) {
	w.beginReplies()
	for i := range n {
		event, ok := w.poller.Event(i)
		switch {
		case !ok: // woken: the loop looks why
		case event.Token == listenerToken:
			heard = true
			if event.Errors {
				w.listener.Errors(w.onClientError)
			}
		default:
			s := w.bySlot[event.Token/2]
			socket := s.Upstream.families[event.Token%2]
			if event.Errors {
				socket.Errors(w.onServerError)
			}
			w.receiveFrom(s, socket)
		}
	}
	w.sendReplies()
	return heard
}

// clientError is told of every ICMP error about a reply.
func (w *worker) clientError(_ netip.AddrPort, err error) {
	if udp.IsRefusal(err) {
		w.Ledger.ReplyRefused()
	}
}

// serverError is told of every ICMP error about a forwarded datagram.
func (w *worker) serverError(to netip.AddrPort, err error) {
	if b, _ := w.Members.Owner(to); b != nil {
		reportRefusal(w.Members, b.ID, to, err)
	}
}

// receiveFrom takes a session's replies, as many as may have come.
func (w *worker) receiveFrom(s *session.Session[sockets], socket *mmsg.Socket) {
	if w.filled == w.in.Len() {
		w.sendReplies()
	}
	first := w.filled
	n, err := w.in.Receive(socket, first, min(max(int(s.Upstream.inflight), 1), w.in.Len()-first))
	if err != nil || n == 0 {
		return
	}
	w.filled += n
	for i := first; i < first+n; i++ {
		payload := w.in.Payload(i)
		if reply, ok := w.core.Accept(w.now, s, w.in.From(i), payload); ok {
			w.out.Add(payload, s.Client, s.LocalAddr)
			w.replies = append(w.replies, reply)
			s.Upstream.inflight = max(s.Upstream.inflight-1, 0)
		}
	}
}

// sendReplies sends the replies that have been collected, and empties the slots.
func (w *worker) sendReplies() {
	if len(w.replies) > 0 {
		if w.out.Send() > 0 {
			for i := range w.replies {
				w.replies[i].Lost = w.out.Failed(i) != nil
			}
		}
		w.Ledger.Replied(w.now, w.replies)
	}
	w.beginReplies()
}

// beginReplies empties the slots and the outbox, for replies.
func (w *worker) beginReplies() {
	w.out.Begin(w.listener)
	w.out.OnError = w.onClientError
	w.filled, w.replies = 0, w.replies[:0]
}

// requestEviction asks the other workers for the place of an idle session.
func (w *worker) requestEviction() {
	if len(w.workers) > 1 && !w.evictionRequests.Swap(true) {
		for _, other := range w.workers {
			other.poller.Wake()
		}
	}
}

// closeSockets closes the sockets of a session that is closed.
func (w *worker) closeSockets(s *session.Session[sockets]) {
	if s.Upstream.slot == 0 {
		return
	}
	for _, socket := range s.Upstream.families {
		if socket != nil {
			w.self.Remove(socket.Addr())
			_ = socket.Close() // nothing of it is needed any more
		}
	}
	w.bySlot[s.Upstream.slot] = nil
	w.free = append(w.free, s.Upstream.slot)
}
