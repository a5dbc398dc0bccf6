// Package session decides what becomes of a datagram. A session is one client and
// what its datagrams leave from, so that a reply that comes back there is known to
// be that client's: a NAT mapping.
//
// A data path moves the bytes and asks the Core at four points:
//
//	Begin, Admit      each datagram of a batch: dropped, or in need of a turn
//	TakeTurns, Plan   the turns of the whole batch at once; what is to be sent, and in which order
//	Dropped, Record   what the kernel did not take; the batch goes to the ledger
//	Accept            a reply: whose it is, or that it is a stranger's
//
// The package is pure: no sockets, no clock, no goroutines. Time comes in as an
// argument.
package session

import (
	"net/netip"
	"slices"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
)

// Members is what the core asks about the servers and what it tells about them.
// Its methods may be called by several goroutines.
type Members interface {
	// Owner returns the server whose address this is, or nil; current is false
	// for an address that it has left a short while ago.
	Owner(addr netip.AddrPort) (b *membership.Backend, current bool)
	// Answered tells that a reply came from addr.
	Answered(id membership.ID, addr netip.AddrPort)
	// Tried tells that a trial has been sent.
	Tried(id membership.ID)
}

// Config is what a Core is made of. Several cores may share everything but Close.
type Config[U any] struct {
	Idle      time.Duration // a session without a datagram for so long is closed
	Rate      int           // datagrams a second from each client; 0: as many as it likes
	Capacity  Capacity
	SelfAddrs *SelfAddrs
	Scheduler *balancing.Scheduler
	Members   Members
	Ledger    *ledger.Ledger
	// Close releases what the data path keeps of a session that is closed.
	Close func(*Session[U])
}

// Capacity is the room for sessions: a place in the channel for each that is open.
type Capacity chan struct{}

// NewCapacity returns room for n sessions. Several cores may share it.
func NewCapacity(n int) Capacity { return make(Capacity, n) }

// take takes one session's room if there is some.
func (c Capacity) take() bool {
	select {
	case c <- struct{}{}:
		return true
	default:
		return false
	}
}

// Core is the sessions of one worker and the decisions about its datagrams. It
// belongs to one goroutine, but for what its methods say.
type Core[U any] struct {
	Config[U]
	table[U]

	// The batch at hand.
	now      time.Time
	full     bool // a client found no room
	requests []ledger.Request
	sessions []*Session[U] // by request; nil: it has none
	admitted []int         // requests that take a turn
	turns    []balancing.Turn
	forward  []int    // requests that have been given a turn and are to be sent
	ranked   int      // sessions among them
	keys     []uint64 // of forward, in the order in which they are to be sent
}

// New returns a core for batches of at most batch datagrams, 65,535 or fewer.
func New[U any](cfg Config[U], batch int) *Core[U] {
	return &Core[U]{
		Config: cfg, table: table[U]{byClient: map[netip.AddrPort]*Session[U]{}},
		turns: make([]balancing.Turn, batch),
	}
}

// Begin begins a batch of requests that were received at this time.
func (c *Core[U]) Begin(now time.Time) {
	c.now, c.full = now, false
	c.requests, c.sessions = c.requests[:0], c.sessions[:0]
	c.admitted, c.forward, c.ranked = c.admitted[:0], c.forward[:0], 0
}

// Admit takes in the next datagram of the batch, of so many bytes from a client to
// local. It returns the client's session, a new one if need be, or nil if the
// datagram is dropped.
func (c *Core[U]) Admit(client netip.AddrPort, local netip.Addr, bytes int) *Session[U] {
	s, disposition := c.admit(client)
	request := ledger.Request{Client: client, Bytes: bytes, Disposition: disposition}
	if s != nil {
		s.LocalAddr = local
		request.Outstanding = &s.outstanding
		c.admitted = append(c.admitted, len(c.requests))
	}
	c.requests = append(c.requests, request)
	c.sessions = append(c.sessions, s)
	return s
}

// admit is the admission of one datagram. Every way out but the last has the
// reason why it is dropped.
func (c *Core[U]) admit(client netip.AddrPort) (*Session[U], ledger.Disposition) {
	if client.Port() == 0 {
		return nil, ledger.PortZero
	}
	if _, current := c.Members.Owner(client); current || c.SelfAddrs.Contains(c.now, client) {
		return nil, ledger.Loop
	}
	s := c.byClient[client]
	if s != nil {
		c.heard(s, c.now)
	} else if c.Capacity.take() || c.Evict(c.now) && c.Capacity.take() { // in the place of an idle one if need be
		s = c.add(client, c.now)
		if c.Rate > 0 {
			s.allowance = new(allowance)
		}
		c.Ledger.SessionOpened()
	} else {
		c.full = true
		return nil, ledger.SessionLimit
	}
	if s.allowance != nil && !s.allowance.take(c.now, c.Rate) {
		return nil, ledger.ClientRate
	}
	return s, ledger.Forwarded
}

// Full says whether a client of the batch has found no room for a session. Another
// core that shares the capacity may have one to evict.
func (c *Core[U]) Full() bool { return c.full }

// TakeTurns takes the turns of all admitted datagrams, in the order received.
func (c *Core[U]) TakeTurns() {
	taken := c.Scheduler.Take(c.turns[:len(c.admitted)])
	for _, i := range c.admitted[taken:] {
		c.requests[i].Disposition = ledger.NoBackend
	}
	for j, i := range c.admitted[:taken] {
		r := &c.requests[i]
		r.Turn = c.turns[j]
		switch {
		case r.Turn.DroppedDown:
			r.Disposition = ledger.DroppedDown
		case !r.Turn.Backend.Addr.IsValid(): // nobody knows where it is yet
			r.Disposition = ledger.SendFailed
		default:
			if s := c.sessions[i]; s.rank == 0 {
				c.ranked++
				s.rank = c.ranked
			}
			c.forward = append(c.forward, i)
		}
	}
}

// Plan returns the requests that are to be sent, those of one session together
// and, within a session, those to one server together, in the order received.
// That is how they take the fewest system calls; which server's leave first is of
// no consequence.
func (c *Core[U]) Plan() []int {
	if c.ranked == len(c.forward) { // a datagram from each: it is in order
		return c.forward
	}
	c.keys = c.keys[:0] // session, server, request, each in bits of its own: one number sorts fastest
	for _, i := range c.forward {
		c.keys = append(c.keys, uint64(c.sessions[i].rank)<<48|uint64(c.requests[i].Turn.Step.Place)<<16|uint64(i))
	}
	slices.Sort(c.keys)
	for k, key := range c.keys {
		c.forward[k] = int(key & 0xffff)
	}
	return c.forward
}

// Session is the session of request i of the batch; nil if it was dropped at once.
func (c *Core[U]) Session(i int) *Session[U] { return c.sessions[i] }

// Backend is the server whose turn request i has.
func (c *Core[U]) Backend(i int) *membership.Backend { return c.requests[i].Turn.Backend }

// Dropped says that request i had its turn and could not be sent.
func (c *Core[U]) Dropped(i int, why ledger.Disposition) { c.requests[i].Disposition = why }

// Record hands the batch to the ledger.
func (c *Core[U]) Record() {
	c.Ledger.Received(c.now, c.requests)
	for _, i := range c.forward {
		c.sessions[i].rank = 0
		if turn := &c.requests[i].Turn; turn.Trial {
			c.Members.Tried(turn.Backend.ID)
		}
	}
}

// Accept takes in a datagram that came from an address to a session's socket. It
// returns what to tell the ledger after sending it on; Lost is the data path's to
// set. ok is false for a stranger's, which is dropped and counted.
func (c *Core[U]) Accept(now time.Time, s *Session[U], from netip.AddrPort, payload []byte) (reply ledger.Reply, ok bool) {
	b, _ := c.Members.Owner(from)
	if b == nil {
		c.Ledger.Dropped(ledger.Stranger, 1)
		return ledger.Reply{}, false
	}
	c.renew(s, now)
	if !b.Up() {
		c.Members.Answered(b.ID, from)
	}
	return ledger.Reply{Backend: b.ID, Bytes: len(payload), Head: payload, Outstanding: &s.outstanding}, true
}

// Expire closes the sessions that have been idle for long enough.
func (c *Core[U]) Expire(now time.Time) {
	for s := c.longestIdle(); s != nil && now.Sub(s.used) >= c.Idle; s = c.longestIdle() {
		c.close(s, ledger.Idle)
	}
}

// Evict closes the session that gives way to a new client, if one does.
func (c *Core[U]) Evict(now time.Time) bool {
	s := c.evictable(now)
	if s != nil {
		c.close(s, ledger.Evicted)
	}
	return s != nil
}

// CloseAll closes every session, at the stop.
func (c *Core[U]) CloseAll() {
	for s := c.longestIdle(); s != nil; s = c.longestIdle() {
		c.close(s, ledger.Stopped)
	}
}

func (c *Core[U]) close(s *Session[U], why ledger.CloseReason) {
	c.Close(s)
	c.Ledger.SessionClosed(why)
	c.remove(s)
	<-c.Capacity // the last thing: another core may take the place at once
}
