package ledger

import (
	"net/netip"
	"slices"
	"time"

	"udplab/services/balancer/internal/membership"
)

// Counters is what is counted for one server.
type Counters struct {
	Turns       uint64 // it had, forwarded or not
	Forwarded   uint64
	Replies     uint64 // that went out to clients
	Lost        uint64 // replies that the kernel would not take for the client
	Answered    uint64 // turns that a reply came to, which went out to the client
	Late        uint64 // of those, after the answer timeout
	Undelivered uint64 // turns that a reply came to, which the kernel would not take
	Silent      uint64 // turns that no reply has come to within the answer timeout
	Unresolved  uint64 // turns that the ring forgot before their outcome was known
	BytesTo     uint64 // of payload, client to server
	BytesFrom   uint64 // of payload, server to client
	WentUp      uint64
	WentDown    [membership.Causes]uint64 // by membership.Cause
	Moved       uint64                    // to another address
	RTT         Latencies                 // of all first replies: see "Which reply answers which turn"
}

// add adds another's counts to these.
func (c *Counters) add(o *Counters) {
	c.Turns += o.Turns
	c.Forwarded += o.Forwarded
	c.Replies += o.Replies
	c.Lost += o.Lost
	c.Answered += o.Answered
	c.Late += o.Late
	c.Undelivered += o.Undelivered
	c.Silent += o.Silent
	c.Unresolved += o.Unresolved
	c.BytesTo += o.BytesTo
	c.BytesFrom += o.BytesFrom
	c.WentUp += o.WentUp
	for i, n := range o.WentDown {
		c.WentDown[i] += n
	}
	c.Moved += o.Moved
	c.RTT.merge(&o.RTT)
}

// WentDownTotal is the sum over all causes.
func (c *Counters) WentDownTotal() (sum uint64) {
	for _, n := range c.WentDown {
		sum += n
	}
	return sum
}

// Waiting is how many turns may still be answered in time.
func (c *Counters) Waiting() uint64 {
	return c.Forwarded - c.Answered - c.Undelivered - c.Silent - c.Unresolved
}

// Backend is what is known of one server.
type Backend struct {
	membership.Backend // Addr is where it is or was last; not valid if it was nowhere yet
	Counters
	RTTLast  time.Duration // of the last first reply; 0: none yet
	LastSeen time.Time     // when its last reply came; zero: never
}

// server is the record of an ID: that of all removed ones together if it is not
// in the list any more.
func (l *Ledger) server(id membership.ID) *Backend {
	if b, ok := l.byID[id]; ok {
		return b
	}
	return &l.totals.Removed
}

// Addr is where a server is, or was last; not valid if it was nowhere yet.
func (l *Ledger) Addr(id membership.ID) netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server(id).Addr
}

// EventKind is what sort of thing happened.
type EventKind string

const (
	WentUp   EventKind = "up"
	WentDown EventKind = "down"
	Moved    EventKind = "moved"
	Added    EventKind = "added"
	Removed  EventKind = "removed"
)

// Event is something that happened to a server.
type Event struct {
	Number  uint64 // counted from 1
	At      time.Time
	Turn    uint64 // the first turn that it holds for
	Kind    EventKind
	Backend string         // the server's name
	Reason  string         // why it went down
	Addr    netip.AddrPort // where it is now or was last; not valid if it was nowhere yet
}

// eventsKept is how many events the ledger remembers.
const eventsKept = 256

// Apply records a snapshot of the servers, which holds from a turn on, and what
// has happened since the one before. It is to be called before that turn is
// recorded. The servers of the first snapshot are no event.
func (l *Ledger) Apply(now time.Time, s *membership.Snapshot, turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order.Forget(l.oldest())
	l.order.Apply(s, turn)
	before, byID := l.servers, l.byID
	l.servers, l.byID = nil, map[membership.ID]*Backend{}
	happened := func(kind EventKind, b *Backend, reason string) {
		l.eventNumber++
		l.events = append(l.events, Event{Number: l.eventNumber, At: now, Turn: turn, Kind: kind, Backend: b.Name, Reason: reason, Addr: b.Addr})
		l.events = slices.Delete(l.events, 0, max(0, len(l.events)-eventsKept))
	}
	for _, backend := range s.Backends {
		b := byID[backend.ID]
		isNew := b == nil
		if isNew {
			b = &Backend{Backend: backend}
		}
		was := b.Backend
		if b.Backend = backend; !backend.Addr.IsValid() {
			b.Addr = was.Addr
		}
		l.servers, l.byID[backend.ID] = append(l.servers, b), b
		if isNew && byID != nil {
			happened(Added, b, "")
		}
		if was.Addr.IsValid() && b.Addr != was.Addr {
			b.Moved++
			happened(Moved, b, "")
		}
		switch {
		case was.Up() && !b.Up():
			b.WentDown[backend.Cause]++
			happened(WentDown, b, backend.Reason)
		case !was.Up() && b.Up():
			b.WentUp++
			happened(WentUp, b, "")
		}
	}
	for _, b := range before {
		if l.byID[b.ID] == nil {
			l.totals.Removed.add(&b.Counters)
			happened(Removed, b, "")
		}
	}
}

// CloseReason is why a session was closed.
type CloseReason uint8

const (
	Idle    CloseReason = iota // nothing went through it for a while
	Evicted                    // another client needed its place
	Stopped                    // the balancer stopped
	closeReasons
)

var closeReasonNames = [closeReasons]string{"idle", "evicted", "stopped"}

// String is the reason's name in the metrics.
func (r CloseReason) String() string { return closeReasonNames[r] }

// SessionOpened counts a new session.
func (l *Ledger) SessionOpened() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Sessions++
	l.totals.SessionsOpened++
}

// SessionClosed counts the end of a session.
func (l *Ledger) SessionClosed(why CloseReason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Sessions--
	l.totals.SessionsClosed[why]++
}
