package datapath

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/mmsg"
	"udplab/services/kit/udp"
)

// epoll is the data path on Linux: event loops of our own. A worker is one
// listener and the loop that owns it, its sessions and their sockets: no locks
// and no goroutine per client. Several workers listen on one address and the
// kernel keeps each client on one of them; they share only the rotation, the
// ledger and the number of sessions.
type epoll struct {
	Config
	workers []*worker
	own     *own
	granted int         // receive buffer of each listener, in bytes
	crowded atomic.Bool // a worker wants an idle session of another's ended
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
func openEpoll(ctx context.Context, cfg Config) (Relay, error) {
	addr, err := listenAddress(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	n := cfg.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if n > 1 {
		// Sockets that share a port share it with anybody who does. A port that
		// somebody listens on is in use all the same.
		alone, err := mmsg.Listen(addr, false)
		if err != nil {
			return nil, err
		}
		addr = alone.Addr() // with the port that was free
		if err := alone.Close(); err != nil {
			return nil, err
		}
	}
	e := &epoll{Config: cfg, own: newOwn()}
	shared := newPlaces(cfg.MaxSessions)
	for range n {
		w, err := newWorker(e, addr, n > 1, shared)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.workers = append(e.workers, w)
		e.granted = w.listener.SetReceiveBuffer(receiveBuffer)
		w.listener.SetSendBuffer(receiveBuffer)
	}
	e.own.add(e.Addr())
	return e, nil
}

// listenAddress resolves "[host]:port". An empty host is every address of the
// machine: the IPv6 wildcard, which hears IPv4 too, where there is IPv6.
func listenAddress(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		every := netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(number))
		try, err := mmsg.Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), 0), false)
		if err != nil {
			return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(number)), nil
		}
		return every, try.Close()
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip, uint16(number)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(number)), nil
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
	listener   *mmsg.Socket
	poller     *mmsg.Poller
	sessions   *table[flow]
	byPlace    []*entry[flow] // a session's token is twice its place here, plus the family
	freePlaces []int

	drops struct { // at the listener; whoever wants to know counts them
		sync.Mutex
		total  uint64
		closed bool
	}

	// The round that is under way.
	now time.Time
	in  *mmsg.Inbox
	out *mmsg.Outbox

	// Replies, which are collected over all sessions of a round.
	filled  int // slots of in that they take
	replies []ledger.Reply

	// Arrivals, one for each slot of in.
	arrivals []ledger.Request
	turns    []balancing.Turn
	takers   []taker        // arrivals that take a turn
	touched  []*entry[flow] // sessions that have something to forward
	next     []int          // by arrival: the one to forward after it, or none
	lanes    []chain        // by backend: what goes there from the session at hand
	through  *mmsg.Socket   // that out is being filled for; nil: none
	sent     []passage      // by datagram in out

	toldOfBackend, toldOfClient func(netip.AddrPort, error) // unreachable and clientGone, made once
}

// passage is an arrival that is being sent, and where to: its backend may have
// another address by the time the kernel says that nobody is there.
type passage struct {
	arrival int
	to      netip.AddrPort
}

// taker is an arrival that takes a turn, and its session.
type taker struct {
	arrival int
	session *entry[flow]
}

// flow is what a worker keeps of a session.
type flow struct {
	place     int // in byPlace
	allowance allowance
	asked     netip.Addr      // where the client's last datagram was sent to, on a wildcard
	sockets   [2]*mmsg.Socket // for backends at IPv4 and at IPv6 addresses; nil before the first
	pending   []ledger.Outstanding
	waiting   int   // forwarded less replied: so many replies may come at once
	forwards  chain // of the batch at hand
}

// chain strings arrivals together in their order, by number.
type chain struct{ first, last int }

const none = -1

var empty = chain{none, none}

// push appends arrival i to a chain; next holds all chains' links.
func (c *chain) push(next []int, i int) {
	next[i] = none
	if c.first == none {
		c.first = i
	} else {
		next[c.last] = i
	}
	c.last = i
}

// listenerToken is the token of the listener; sessions' are below.
const listenerToken = 1 << 62

func newWorker(e *epoll, addr netip.AddrPort, share bool, shared *places) (w *worker, err error) {
	w = &worker{
		epoll: e, sessions: newTable[flow](shared),
		in: mmsg.NewInbox(batchSize, mmsg.MaxDatagram), out: mmsg.NewOutbox(batchSize),
		replies: make([]ledger.Reply, 0, batchSize), arrivals: make([]ledger.Request, batchSize),
		turns: make([]balancing.Turn, batchSize), takers: make([]taker, 0, batchSize),
		touched: make([]*entry[flow], 0, batchSize), next: make([]int, batchSize),
		lanes: make([]chain, e.Backends.Len()), sent: make([]passage, batchSize),
	}
	w.toldOfBackend, w.toldOfClient = w.unreachable, w.clientGone
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
// who has been idle is forgotten, until the context ends.
func (w *worker) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer w.endAll()
	defer w.refuseTheRest()
	w.now = time.Now()
	stop := time.Time{} // when draining ends; zero: not draining
	for {
		n, err := w.poller.Wait(w.patience(stop))
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
			w.refuseTheRest()
		}
		switch {
		case !stop.IsZero():
			if w.Ledger.Waiting(w.now) == 0 || !w.now.Before(stop) {
				return nil
			}
		case heard:
			if err := w.receiveArrivals(); err != nil {
				return err
			}
		}
		w.expire()
	}
}

// refuseTheRest counts what clients have sent and nobody is going to take: no
// more than the receive buffer can hold, or a flood would go on.
func (w *worker) refuseTheRest() {
	for total := 0; total < mostUnread; {
		n, err := w.in.Receive(w.listener, 0, w.in.Len())
		if n == 0 || err != nil {
			return
		}
		w.Ledger.Dropped(ledger.Shutdown, n)
		total += n
	}
}

// patience is how long there is nothing to do unless something comes.
func (w *worker) patience(stop time.Time) time.Duration {
	if !stop.IsZero() {
		return 5 * time.Millisecond
	}
	if longest := w.sessions.longestIdle(); longest != nil {
		wait := max(w.SessionIdle-w.now.Sub(longest.used), 0)
		if w.crowded.Load() {
			_, until := w.sessions.givesWay(w.now)
			wait = min(wait, until)
		}
		return wait + time.Millisecond
	}
	return -1
}

// receiveReplies takes the replies of every session that has some, of n
// events, and sends them. It says whether clients have been heard too.
func (w *worker) receiveReplies(n int) (heard bool) {
	w.beginReplies()
	for i := range n {
		event, ok := w.poller.Event(i)
		switch {
		case !ok: // woken: the loop looks why
		case event.Token == listenerToken:
			heard = true
			if event.Errors {
				w.listener.Errors(w.toldOfClient)
			}
		default:
			e := w.byPlace[event.Token/2]
			socket := e.session.sockets[event.Token%2]
			if event.Errors {
				socket.Errors(w.toldOfBackend)
			}
			w.receiveFrom(e, socket)
		}
	}
	w.sendReplies()
	return heard
}

// clientGone is told of every ICMP error about a reply.
func (w *worker) clientGone(_ netip.AddrPort, err error) {
	if udp.IsRefusal(err) {
		w.Ledger.ReplyRefused()
	}
}

// unreachable is told of every ICMP error about a forwarded datagram.
func (w *worker) unreachable(to netip.AddrPort, err error) {
	if backend, _, known := w.Backends.Owner(to); known && udp.IsRefusal(err) {
		w.Backends.Refused(backend, to, err)
	}
}

// receiveFrom takes a session's replies, as many as may have come.
func (w *worker) receiveFrom(e *entry[flow], socket *mmsg.Socket) {
	if w.filled == w.in.Len() {
		w.sendReplies()
	}
	first := w.filled
	n, err := w.in.Receive(socket, first, min(max(e.session.waiting, 1), w.in.Len()-first))
	if err != nil || n == 0 {
		return
	}
	w.filled += n
	for i := first; i < first+n; i++ {
		from := w.in.From(i)
		backend, _, known := w.Backends.Owner(from)
		if !known {
			w.Ledger.Dropped(ledger.Stranger, 1)
			continue
		}
		w.sessions.renew(e, w.now)
		w.Backends.Answered(backend, from)
		payload := w.in.Payload(i)
		w.out.Add(payload, e.client, e.session.asked)
		w.replies = append(w.replies, ledger.Reply{
			Backend: backend, Bytes: len(payload), Head: payload, Outstanding: &e.session.pending[backend],
		})
		e.session.waiting = max(e.session.waiting-1, 0)
	}
}

// sendReplies sends the replies that have been collected, and empties the
// slots.
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
	w.out.OnError = w.toldOfClient
	w.filled, w.replies = 0, w.replies[:0]
}

// receiveArrivals takes a batch from the listener, gives each datagram its
// turn and forwards it.
func (w *worker) receiveArrivals() error {
	n, err := w.in.Receive(w.listener, 0, w.in.Len())
	if err != nil {
		return err
	}
	w.touched, w.takers = w.touched[:0], w.takers[:0]
	for i := range n {
		w.arrivals[i] = ledger.Request{Client: w.in.From(i), Bytes: len(w.in.Payload(i))}
		w.admit(i)
	}
	w.takeTurns()
	for _, e := range w.touched {
		w.forward(e)
	}
	w.Ledger.Received(w.now, w.arrivals[:n])
	for _, turn := range w.turns[:len(w.takers)] {
		if turn.Trial {
			w.Backends.Tried(turn.Backend)
		}
	}
	return nil
}

// admit finds or makes the session of arrival i, unless the arrival is to be
// dropped without taking a turn.
func (w *worker) admit(i int) {
	a := &w.arrivals[i]
	if a.Client.Port() == 0 {
		a.Disposition = ledger.PortZero
		return
	}
	if _, current, _ := w.Backends.Owner(a.Client); current || w.own.sends(a.Client) {
		a.Disposition = ledger.Loop
		return
	}
	e := w.sessions.find(a.Client)
	if e != nil {
		w.sessions.heard(e, w.now)
	} else if e = w.open(a.Client); e == nil {
		a.Disposition = ledger.SessionLimit
		return
	}
	if !e.session.allowance.take(w.now, w.ClientRate) {
		a.Disposition = ledger.ClientRate
		return
	}
	e.session.asked = w.in.To(i)
	w.takers = append(w.takers, taker{i, e})
}

// open makes a session for a new client, or returns nil if there is no place.
func (w *worker) open(client netip.AddrPort) *entry[flow] {
	e := w.sessions.admit(client, w.now, w.evict)
	if e == nil {
		w.crowd()
		return nil
	}
	if n := len(w.freePlaces); n > 0 {
		e.session.place, w.freePlaces = w.freePlaces[n-1], w.freePlaces[:n-1]
		w.byPlace[e.session.place] = e
	} else {
		e.session.place = len(w.byPlace)
		w.byPlace = append(w.byPlace, e)
	}
	e.session.pending = make([]ledger.Outstanding, w.Backends.Len())
	e.session.forwards = empty
	w.Ledger.SessionOpened()
	return e
}

// takeTurns takes the turns of the whole batch at once and strings together
// what each session has to forward.
func (w *worker) takeTurns() {
	taken := w.Rotation.Take(w.turns[:len(w.takers)])
	for j, t := range w.takers {
		a := &w.arrivals[t.arrival]
		if j >= taken {
			a.Disposition = ledger.NoBackend
			continue
		}
		turn := &w.turns[j]
		a.Turn, a.Backend, a.Skipped = turn.Number, turn.Backend, turn.Skipped
		if turn.DroppedDown {
			a.Disposition = ledger.DroppedDown
			continue
		}
		s := &t.session.session
		a.Outstanding = &s.pending[turn.Backend]
		if s.forwards.first == none {
			w.touched = append(w.touched, t.session)
		}
		s.forwards.push(w.next, t.arrival)
	}
	w.takers = w.takers[:taken]
}

// forward sends what a session has of this batch. Datagrams to one backend
// stay in order; which backend's leave first is of no consequence.
func (w *worker) forward(e *entry[flow]) {
	all := e.session.forwards
	e.session.forwards = empty
	if all.first == all.last { // the usual case: a client that waits
		w.stage(e, w.arrivals[all.first].Backend, all)
		w.flush(e)
		return
	}
	for i := range w.lanes {
		w.lanes[i] = empty
	}
	for i := all.first; i != none; {
		after := w.next[i]
		w.lanes[w.arrivals[i].Backend].push(w.next, i)
		i = after
	}
	for backend, lane := range w.lanes {
		if lane != empty {
			w.stage(e, backend, lane)
		}
	}
	w.flush(e)
}

// stage puts arrivals of one session that go to one backend into the outbox.
func (w *worker) stage(e *entry[flow], backend int, lane chain) {
	addr := w.Backends.Addr(backend)
	if !addr.IsValid() { // its name has gone since it had the turn
		w.drop(lane, ledger.SendFailed)
		return
	}
	socket, err := w.socketTo(e, addr)
	if err != nil {
		w.drop(lane, ledger.NoSocket)
		return
	}
	if w.through != socket {
		w.flush(e)
		w.through = socket
		w.out.Begin(socket)
		w.out.OnError = w.toldOfBackend
	}
	for i := lane.first; i != none; i = w.next[i] {
		w.sent[w.out.Len()] = passage{i, addr}
		w.out.Add(w.in.Payload(i), addr, netip.Addr{})
	}
}

// drop gives all arrivals of a chain one fate.
func (w *worker) drop(lane chain, fate ledger.Disposition) {
	for i := lane.first; i != none; i = w.next[i] {
		w.arrivals[i].Disposition = fate
	}
}

// flush sends what is in the outbox for a session and notes what the kernel
// did not take.
func (w *worker) flush(e *entry[flow]) {
	if w.through == nil {
		return
	}
	failed := w.out.Send()
	w.through = nil
	e.session.waiting += w.out.Len() - failed
	for k := 0; failed > 0 && k < w.out.Len(); k++ {
		err := w.out.Failed(k)
		if err == nil {
			continue
		}
		a := &w.arrivals[w.sent[k].arrival]
		a.Disposition = ledger.SendFailed
		if udp.IsRefusal(err) {
			w.Backends.Refused(a.Backend, w.sent[k].to, err)
		}
	}
}

// socketTo returns the session's socket for a backend's address, opened when
// it is first needed.
func (w *worker) socketTo(e *entry[flow], addr netip.AddrPort) (*mmsg.Socket, error) {
	family := 0
	if addr.Addr().Is6() {
		family = 1
	}
	if s := e.session.sockets[family]; s != nil {
		return s, nil
	}
	s, err := mmsg.Dial(family == 1)
	if err != nil {
		return nil, err
	}
	if err := w.poller.Add(s, uint64(2*e.session.place+family)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	w.own.add(s.Addr())
	e.session.sockets[family] = s
	return s, nil
}

// crowd asks the other workers for the place of an idle session.
func (w *worker) crowd() {
	if len(w.workers) > 1 && !w.crowded.Swap(true) {
		for _, other := range w.workers {
			other.poller.Wake()
		}
	}
}

// expire ends the sessions that have been idle for long enough.
func (w *worker) expire() {
	for e := w.sessions.longestIdle(); e != nil && w.now.Sub(e.used) >= w.SessionIdle; e = w.sessions.longestIdle() {
		w.end(e, ledger.Idle)
	}
	if w.crowded.Load() {
		if e, wait := w.sessions.givesWay(w.now); e != nil && wait == 0 && w.crowded.Swap(false) {
			w.evict(e)
		}
	}
}

// endAll ends every session, at the stop.
func (w *worker) endAll() {
	for e := w.sessions.longestIdle(); e != nil; e = w.sessions.longestIdle() {
		w.end(e, ledger.Stopped)
	}
}

func (w *worker) evict(e *entry[flow]) { w.end(e, ledger.Evicted) }

// end closes a session's sockets and forgets it.
func (w *worker) end(e *entry[flow], why ledger.CloseReason) {
	for _, socket := range e.session.sockets {
		if socket != nil {
			w.own.remove(socket.Addr())
			_ = socket.Close() // nothing of it is needed any more
		}
	}
	w.byPlace[e.session.place] = nil
	w.freePlaces = append(w.freePlaces, e.session.place)
	w.Ledger.SessionClosed(why)
	w.sessions.remove(e) // the last thing: another worker may take the place at once
}
