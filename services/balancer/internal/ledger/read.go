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
		if s.Number != number {
			break
		}
		turns = append(turns, l.read(now, s))
	}
	return turns, first - after - 1
}

// Turn copies one turn; ok is false if the ring has forgotten it or was never
// told of it.
func (l *Ledger) Turn(now time.Time, number uint64) (t Turn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.ring[number%Size]
	if number == 0 || s.Number != number {
		return Turn{}, false
	}
	return l.read(now, s), true
}

func (l *Ledger) read(now time.Time, s *slot) Turn {
	t := s.Turn
	if t.Outcome == Waiting && now.Sub(t.At) >= l.answerTimeout {
		t.Outcome = Silent
	}
	t.Reply = append(t.Reply, s.head[:min(HeadSize, t.Size)]...)
	return t
}

// Started is when the balancer was started, as New was told.
func (l *Ledger) Started() time.Time { return l.totals.Started }

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
	Dropped         [Dispositions]uint64 // by Disposition; that of Forwarded is 0
	Turns           uint64               // taken since the first start, over restarts
	OrderViolations uint64               // turns out of order; never anything but 0
	Sessions        uint64               // open now
	SessionsOpened  uint64
	SessionsClosed  [closeReasons]uint64 // by CloseReason
	Clients         uint64               // addresses seen for the first time, or not for long
	Newest          Join                 // the last of them
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

// Snapshot copies the counters.
func (l *Ledger) Snapshot(now time.Time) Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(now)
	s := l.totals
	s.At, s.Turns, s.OrderViolations = now, l.last, l.violations(now)
	for _, b := range l.servers {
		s.Backends = append(s.Backends, *b)
	}
	return s
}
