package ledger

import (
	"net/netip"
	"time"
)

// What the ledger knows beside turns: the state of the backends, the number of
// sessions, and what happened.

// backend is what is counted for one of them.
type backend struct {
	turns, forwarded, replies, repliesLost, answered uint64
	bytesTo, bytesFrom                               uint64
	silent, late, undelivered, untold                uint64
	rttLast                                          time.Duration
	rtt                                              Latencies
	lastSeen                                         time.Duration
	seen                                             bool

	up       bool
	since    time.Time
	reason   string
	addr     netip.AddrPort
	wentUp   uint64
	wentDown [Causes]uint64
	moved    uint64
}

// sessions is what is counted for all sessions together.
type sessions struct {
	open, opened uint64
	closed       [closeReasons]uint64
}

// CloseReason is why a session ended.
type CloseReason uint8

const (
	Idle    CloseReason = iota // nothing went through it for a while
	Evicted                    // another client needed its place
	Stopped                    // the balancer stopped
	closeReasons
)

var closeReasonNames = [closeReasons]string{"idle", "evicted", "stopped"}

// String is the ending's name in logs and metrics.
func (e CloseReason) String() string { return closeReasonNames[e] }

// Cause is what sort of evidence took a backend down.
type Cause uint8

const (
	Refusal         Cause = iota // the system said that nobody is there
	ProbeFailed                  // it did not answer its probes
	NameNotFound                 // its name leads nowhere
	AddressConflict              // its name leads where it cannot be served, or has not been heard from yet
	Causes                       // how many there are
)

var causeNames = [Causes]string{"refused", "probes", "name", "address"}

// String is the cause's name in metrics.
func (c Cause) String() string { return causeNames[c] }

// Evidence is why a backend is down.
type Evidence struct {
	Cause  Cause
	Reason string // as people are told
}

// EventKind is what sort of thing happened.
type EventKind string

const (
	WentUp   EventKind = "up"
	WentDown EventKind = "down"
	Moved    EventKind = "moved"
)

// Event is something that happened to a backend.
type Event struct {
	Number  uint64 // counted from 0
	At      time.Time
	Kind    EventKind
	Backend string
	Reason  string         // why it went down
	Addr    netip.AddrPort // where it is now or was last; not valid if it was nowhere yet
}

// eventsKept is how many events the ledger remembers.
const eventsKept = 256

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

// BackendUp records that a backend is up (again), if it was not.
func (l *Ledger) BackendUp(now time.Time, i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.backends[i]
	if b.up {
		return
	}
	b.up, b.since, b.reason = true, now, ""
	b.wentUp++
	l.happened(Event{At: now, Kind: WentUp, Backend: l.names[i], Addr: b.addr})
}

// BackendDown records that a backend is down and why. That one is down for
// another reason than before is no event.
func (l *Ledger) BackendDown(now time.Time, i int, why Evidence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.backends[i]
	b.reason = why.Reason
	if !b.up {
		return
	}
	b.up, b.since = false, now
	b.wentDown[why.Cause]++
	l.happened(Event{At: now, Kind: WentDown, Backend: l.names[i], Reason: why.Reason, Addr: b.addr})
}

// BackendAt records a backend's address. The first one is no event.
func (l *Ledger) BackendAt(now time.Time, i int, addr netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.backends[i]
	moved := b.addr.IsValid() && b.addr != addr
	b.addr = addr
	if moved {
		b.moved++
		l.happened(Event{At: now, Kind: Moved, Backend: l.names[i], Addr: addr})
	}
}

// Addr is where a backend is, or was last; not valid if it was nowhere yet.
func (l *Ledger) Addr(i int) netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backends[i].addr
}

func (l *Ledger) happened(e Event) {
	e.Number = l.eventSeq
	l.eventSeq++
	if len(l.events) == eventsKept {
		copy(l.events, l.events[1:])
		l.events = l.events[:eventsKept-1]
	}
	l.events = append(l.events, e)
}
