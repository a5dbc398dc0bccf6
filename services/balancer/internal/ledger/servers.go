package ledger

import (
	"net/netip"
	"time"

	"udplab/services/balancer/internal/membership"
)

// What the ledger knows beside turns: the state of the servers, the number of
// sessions, and what happened.

// server is what is counted for one of them.
type server struct {
	membership.Backend                // as in the newest snapshot
	lastAddr           netip.AddrPort // where it is, or was last

	turns, forwarded, replies, repliesLost, answered uint64
	bytesTo, bytesFrom                               uint64
	silent, late, undelivered, unresolved            uint64
	rttLast                                          time.Duration
	rtt                                              Latencies
	lastSeen                                         time.Duration
	seen                                             bool
	wentUp                                           uint64
	wentDown                                         [membership.Causes]uint64
	moved                                            uint64
}

// waiting is how many turns may still be answered in time.
func (b *server) waiting() uint64 {
	return b.forwarded - b.answered - b.undelivered - b.silent - b.unresolved
}

// add adds another's counts to those of this one.
func (b *server) add(o *server) {
	b.turns += o.turns
	b.forwarded += o.forwarded
	b.replies += o.replies
	b.repliesLost += o.repliesLost
	b.answered += o.answered
	b.bytesTo += o.bytesTo
	b.bytesFrom += o.bytesFrom
	b.silent += o.silent
	b.late += o.late
	b.undelivered += o.undelivered
	b.unresolved += o.unresolved
	b.wentUp += o.wentUp
	b.moved += o.moved
	for i, n := range o.wentDown {
		b.wentDown[i] += n
	}
	b.rtt.merge(&o.rtt)
}

// server is the record of an ID: that of all removed ones together if it is not
// in the list any more.
func (l *Ledger) server(id membership.ID) *server {
	if b, ok := l.byID[id]; ok {
		return b
	}
	return &l.removed
}

// Addr is where a server is, or was last; not valid if it was nowhere yet.
func (l *Ledger) Addr(id membership.ID) netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server(id).lastAddr
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
	l.servers, l.byID = nil, map[membership.ID]*server{}
	happened := func(kind EventKind, b *server, reason string) {
		l.happened(Event{At: now, Turn: turn, Kind: kind, Backend: b.Name, Reason: reason, Addr: b.lastAddr})
	}
	for _, backend := range s.Backends {
		b := byID[backend.ID]
		isNew := b == nil
		if isNew {
			b = &server{Backend: backend}
		}
		wasUp, isUp := b.State == membership.Up, backend.State == membership.Up
		moved := backend.Addr.IsValid() && b.lastAddr.IsValid() && backend.Addr != b.lastAddr
		b.Backend = backend
		if backend.Addr.IsValid() {
			b.lastAddr = backend.Addr
		}
		l.servers, l.byID[backend.ID] = append(l.servers, b), b
		if isNew && byID != nil {
			happened(Added, b, "")
		}
		if moved {
			b.moved++
			happened(Moved, b, "")
		}
		switch {
		case wasUp && !isUp:
			b.wentDown[backend.Cause]++
			happened(WentDown, b, backend.Reason)
		case !wasUp && isUp:
			b.wentUp++
			happened(WentUp, b, "")
		}
	}
	for _, b := range before {
		if l.byID[b.ID] == nil {
			l.removed.add(b)
			happened(Removed, b, "")
		}
	}
}

func (l *Ledger) happened(e Event) {
	l.eventNumber++
	e.Number = l.eventNumber
	if len(l.events) == eventsKept {
		copy(l.events, l.events[1:])
		l.events = l.events[:eventsKept-1]
	}
	l.events = append(l.events, e)
}

// sessions is what is counted for all sessions together.
type sessions struct {
	open, opened uint64
	closed       [closeReasons]uint64
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
	l.sessions.open++
	l.sessions.opened++
}

// SessionClosed counts the end of a session.
func (l *Ledger) SessionClosed(why CloseReason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions.open--
	l.sessions.closed[why]++
}
