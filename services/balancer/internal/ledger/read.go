package ledger

import (
	"net/netip"
	"time"

	"udplab/services/balancer/internal/membership"
)

// Outcome is how a turn ended, as far as it has.
type Outcome string

const (
	Waiting     Outcome = "waiting"     // forwarded, no reply yet
	Answered    Outcome = "answered"    // a reply came back
	Undelivered Outcome = "undelivered" // a reply came back, and the kernel would not take it for the client
	Silent      Outcome = "silent"      // forwarded, and no reply within the answer timeout
	Dropped     Outcome = "dropped"     // it took its turn and was not forwarded
)

// Turn is one turn as readers see it.
type Turn struct {
	Number      uint64 // counted from 1 since the first start
	At          time.Time
	Client      netip.AddrPort
	Backend     membership.ID
	Server      string // the backend's name
	Place       int    // where it stood in the list, from 1
	Bytes       int    // of the client's datagram
	Disposition Disposition
	Outcome     Outcome
	RTT         time.Duration // until the reply; 0 if none came
	Exact       bool          // RTT is certain: see "Which reply answers which turn"
	First       bool          // the first turn of a client address not seen before, or long ago
	Reply       []byte        // the reply's first bytes, HeadSize at most
	Size        int           // of the whole reply, in bytes
}

// Since copies the turns after the given number, at most limit of them, and
// says how many the ring had forgotten before the first of them. A turn that a
// worker has taken but not yet appended ends the list: it comes next time.
func (l *Ledger) Since(now time.Time, after uint64, limit int) (turns []Turn, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := max(after+1, l.oldest())
	for number := first; number <= l.last && len(turns) < limit; number++ {
		s := &l.ring[number%Size]
		if s.number != number {
			break
		}
		turns = append(turns, l.read(now, s))
	}
	return turns, first - after - 1
}

// Turn copies one turn; ok is false if the ring has forgotten it or was never
// told of it.
func (l *Ledger) Turn(now time.Time, number uint64) (t Turn, ok bool) {
	if turns := l.Turns(now, []uint64{number}); len(turns) > 0 {
		return turns[0], true
	}
	return Turn{}, false
}

// Turns copies these turns as they are now, leaving out those that the ring
// has forgotten.
func (l *Ledger) Turns(now time.Time, numbers []uint64) (turns []Turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, number := range numbers {
		if s := &l.ring[number%Size]; number > 0 && s.number == number {
			turns = append(turns, l.read(now, s))
		}
	}
	return turns
}

func (l *Ledger) read(now time.Time, s *slot) Turn {
	t := Turn{
		Number: s.number, At: l.started.Add(s.at), Client: s.client,
		Backend: s.backend.ID, Server: s.backend.Name, Place: s.step.Place + 1,
		Bytes: int(s.bytes), Disposition: s.disposition, First: s.first,
	}
	switch {
	case s.disposition != Forwarded:
		t.Outcome = Dropped
	case s.replied:
		t.Outcome, t.RTT, t.Exact, t.Size = Answered, s.rtt, s.exact, int(s.size)
		if s.lost {
			t.Outcome = Undelivered
		}
		t.Reply = append(t.Reply, s.head[:min(len(s.head), int(s.size))]...)
	case now.Sub(t.At) >= l.answerTimeout:
		t.Outcome = Silent
	default:
		t.Outcome = Waiting
	}
	return t
}

// Started is when the balancer was started, as New was told.
func (l *Ledger) Started() time.Time { return l.started }

// Last is the number of the newest turn recorded, also by an earlier run; 0 for
// none.
func (l *Ledger) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Events copies what happened after the event of the given number, and says how
// many events were forgotten before the first of them.
func (l *Ledger) Events(after uint64) (events []Event, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	forgotten := l.eventNumber - uint64(len(l.events))
	after = min(after, l.eventNumber)
	if after < forgotten {
		missed, after = forgotten-after, forgotten
	}
	return append(events, l.events[after-forgotten:]...), missed
}

// Snapshot is every counter at one moment.
type Snapshot struct {
	At, Started     time.Time
	Received        uint64
	Forwarded       uint64
	Replied         uint64               // replies that went out to clients
	RepliesRefused  uint64               // of those, by ICMP, where the system says so
	Dropped         [Dispositions]uint64 // by disposition; that of Forwarded is 0
	Turns           uint64               // taken since the first start, over restarts
	OrderViolations uint64               // turns out of place; never anything but 0
	Sessions        uint64               // open now
	SessionsOpened  uint64
	SessionsClosed  [closeReasons]uint64 // by CloseReason
	Clients         uint64               // addresses seen for the first time, or not for long
	Newest          Run                  // the last of them
	Backends        []Backend            // in turn order
	Removed         Backend              // the sum of those that are not in the list any more
}

// DroppedTotal is the sum over all reasons: Received is always Forwarded plus
// this.
func (s Snapshot) DroppedTotal() (sum uint64) {
	for _, n := range s.Dropped {
		sum += n
	}
	return sum
}

// Backend is what is known of one server.
type Backend struct {
	ID          membership.ID
	Name        string
	Configured  string         // "host:port", as configured
	Addr        netip.AddrPort // where it is, or was last; not valid if it was nowhere yet
	State       membership.State
	Since       time.Time // when it went up or down
	Reason      string    // why it is down
	Turns       uint64    // it had, forwarded or not
	Forwarded   uint64
	Replies     uint64 // that went out to clients
	Lost        uint64 // replies that the kernel would not take for the client
	Answered    uint64 // turns that a reply came to, which went out to the client
	Late        uint64 // of those, after the answer timeout
	Undelivered uint64 // turns that a reply came to, which the kernel would not take
	Silent      uint64 // turns that no reply has come to within the answer timeout
	Waiting     uint64 // turns that may still be answered in time
	Unresolved  uint64 // turns that the ring forgot before their outcome was known
	BytesTo     uint64 // of payload, client to server
	BytesFrom   uint64 // of payload, server to client
	WentUp      uint64
	WentDown    [membership.Causes]uint64 // by membership.Cause
	Moved       uint64                    // to another address
	RTTLast     time.Duration             // of the last first reply; 0: none yet
	RTT         Latencies                 // of all first replies: see "Which reply answers which turn"
	LastSeen    time.Time                 // when its last reply came; zero: never
}

// Up says whether it has its turns.
func (b *Backend) Up() bool { return b.State == membership.Up }

// WentDownTotal is the sum over all causes.
func (b *Backend) WentDownTotal() (sum uint64) {
	for _, n := range b.WentDown {
		sum += n
	}
	return sum
}

// Snapshot copies the counters.
func (l *Ledger) Snapshot(now time.Time) Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(now.Sub(l.started))
	s := Snapshot{
		At: now, Started: l.started, Received: l.received, Forwarded: l.dispositions[Forwarded], RepliesRefused: l.refused,
		Dropped: l.dispositions, Turns: l.last, OrderViolations: l.violations(now.Sub(l.started)),
		Sessions: l.sessions.open, SessionsOpened: l.sessions.opened, SessionsClosed: l.sessions.closed,
		Clients: l.clients.count, Newest: l.newest, Removed: l.copy(&l.removed),
	}
	s.Dropped[Forwarded] = 0
	s.Replied = s.Removed.Replies
	for _, b := range l.servers {
		s.Replied += b.replies
		s.Backends = append(s.Backends, l.copy(b))
	}
	return s
}

// copy is a server's record as readers see it.
func (l *Ledger) copy(b *server) Backend {
	out := Backend{
		ID: b.ID, Name: b.Name, Configured: b.Configured, Addr: b.lastAddr, State: b.State, Since: b.Since, Reason: b.Reason,
		Turns: b.turns, Forwarded: b.forwarded, Replies: b.replies, Lost: b.repliesLost, Answered: b.answered,
		Late: b.late, Silent: b.silent, Undelivered: b.undelivered, Unresolved: b.unresolved, Waiting: b.waiting(),
		BytesTo: b.bytesTo, BytesFrom: b.bytesFrom, WentUp: b.wentUp, WentDown: b.wentDown, Moved: b.moved,
		RTTLast: b.rttLast, RTT: b.rtt,
	}
	if b.seen {
		out.LastSeen = l.started.Add(b.lastSeen)
	}
	return out
}
