// Package ledger is the record of what became of each datagram: a set of
// counters, and a ring with the recent past, turn by turn. Everything that
// people see of the balancer is read from it; the data path only appends.
//
// The package is pure: no sockets and no clock of its own. Workers append once
// per batch under one short lock, and readers copy under the same lock, so
// whatever a reader sees is one moment's truth: received is always forwarded
// plus dropped.
//
// # Which reply answers which turn
//
// A datagram carries no mark that its reply would repeat, so the ledger
// attributes: a reply answers the newest unanswered turn of that client at that
// backend. Statistics of round-trip times are taken from the first reply after
// the client's last datagram to that backend.
//
// Both are exact for a client that waits for each answer, however long. For one
// that sends on they are an estimate: a late reply to an older datagram is taken
// for the newest one's. So a turn's round-trip time is called exact only if
// nothing older of that client at that backend may still be answered.
package ledger

import (
	"net/netip"
	"sync"
	"time"
)

// Size is how many turns the ring remembers.
const Size = 4096

// HeadSize is how many bytes of a reply the ring remembers.
const HeadSize = 64

// Disposition is what became of a datagram that the balancer received.
type Disposition uint8

const (
	Forwarded Disposition = iota // the kernel took it for the backend

	// Dropped after it had taken its turn:
	DroppedDown // its backend is down and keeps its turn
	NoSocket    // no socket could be had for its session
	SendFailed  // the kernel would not take it

	// Dropped without taking a turn:
	NoBackend    // no backend is up
	SessionLimit // its client is new, and there is no room for another session
	ClientRate   // its client sends more than it may
	PortZero     // its source port is 0, so that nobody can be answered
	Loop         // it came from a backend's own address, or from the balancer's
	Shutdown     // the balancer is stopping
	Stranger     // it came to a session's socket from an address that is no backend's

	Dispositions // how many dispositions there are
)

var dispositionNames = [Dispositions]string{"forwarded", "held", "no_socket", "send_failed",
	"no_backend", "session_limit", "client_rate", "port_zero", "loop", "shutdown", "stranger"}

// String is the fate's name in logs and metrics.
func (f Disposition) String() string { return dispositionNames[f] }

// TakesTurn says whether a datagram of this fate took a turn.
func (f Disposition) TakesTurn() bool { return f < NoBackend }

// Outstanding strings together the turns of one session at one backend that no
// reply has answered yet. The session keeps it, only the ledger touches it.
// The zero value has none.
type Outstanding struct {
	newest uint64 // the number of the newest such turn, plus 1; 0: none
	fresh  bool   // no reply has come since the newest was sent
	known  bool   // its client is known not to be new
}

// Request is a datagram that was received, and what became of it.
type Request struct {
	Client      netip.AddrPort
	Bytes       int
	Disposition Disposition
	Turn        uint64       // its number; like the next three only if the fate takes a turn
	Backend     int          // whose turn it was
	Skipped     int          // how many backends the turn passed over because they are down
	Outstanding *Outstanding // of its session at that backend; needed if forwarded
}

// Reply is a datagram that a backend sent.
type Reply struct {
	Backend     int
	Bytes       int
	Head        []byte       // its first bytes, copied; HeadSize are kept
	Outstanding *Outstanding // of its session at that backend
	Lost        bool         // the kernel would not take it for the client
}

// Ledger is the record. Its methods may be called by several goroutines.
type Ledger struct {
	names         []string
	answerTimeout time.Duration
	started       time.Time

	mu           sync.Mutex
	ring         [Size]slot
	first        uint64 // the first turn this ledger was told of
	last         uint64 // one more than the highest number it was told of
	received     uint64
	refused      uint64 // replies
	dispositions [Dispositions]uint64
	violation    uint64
	overdue      map[uint64]time.Duration // turns that the ring went past before they were recorded, and when
	sessions     sessions
	clients      clientele
	newest       Run    // of all clients
	settled      uint64 // turns before it have been looked at for silence
	backends     []backend
	events       []Event
	eventSeq     uint64
}

// slot is a turn in the ring.
type slot struct {
	number  uint64 // plus 1; 0: never used
	at      time.Duration
	rtt     time.Duration // of the reply that answered; exact or not
	before  uint64        // the next older turn of its Outstanding, as Outstanding.newest
	client  netip.AddrPort
	backend int32
	passed  int32
	bytes   int32
	size    int32 // of the reply
	fate    Disposition
	replied bool
	lost    bool // the reply did not reach the client: the kernel would not take it
	exact   bool // rtt can be no other turn's
	silent  bool // counted as silent
	first   bool // of a new client
	head    [HeadSize]byte
}

// New returns a ledger for backends of these names, all up, that was started
// at the given time. A forwarded turn counts as silent when no reply has come
// for answerTimeout.
func New(names []string, answerTimeout time.Duration, started time.Time) *Ledger {
	l := &Ledger{names: names, answerTimeout: answerTimeout, started: started, backends: make([]backend, len(names))}
	for i := range l.backends {
		l.backends[i] = backend{up: true, since: started}
	}
	return l
}

// Resume says that turns before the given number were another ledger's. It is
// to be called before the first append.
func (l *Ledger) Resume(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first, l.last, l.settled = number, number, number
}

// Received appends the datagrams of one batch, in the order of their turns.
func (l *Ledger) Received(now time.Time, batch []Request) {
	at := now.Sub(l.started)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received += uint64(len(batch))
	for i := range batch {
		a := &batch[i]
		l.dispositions[a.Disposition]++
		if a.Disposition.TakesTurn() {
			l.write(at, a)
		}
	}
}

// write puts a turn into the ring, checks that it is in its place, and counts
// it.
func (l *Ledger) write(at time.Duration, a *Request) {
	b := &l.backends[a.Backend]
	b.turns++
	before := uint64(0)
	if a.Disposition == Forwarded {
		b.forwarded++
		b.bytesTo += uint64(a.Bytes)
		before = a.Outstanding.newest
		a.Outstanding.newest, a.Outstanding.fresh = a.Turn+1, true
	}
	s := &l.ring[a.Turn%Size]
	first := l.isNew(a)
	if first {
		l.newest = Run{Client: a.Client, At: l.started.Add(at), Turn: a.Turn, Backend: a.Backend, After: -1}
		if a.Turn > 0 {
			n := len(l.backends)
			l.newest.After = ((a.Backend-1-a.Skipped)%n + n) % n
		}
	}
	if !l.follows(at, s, a.Turn) {
		if a.Disposition == Forwarded {
			b.untold++
		}
		return
	}
	l.forget(at, s)
	*s = slot{number: a.Turn + 1, at: at, client: a.Client, backend: int32(a.Backend), before: before,
		passed: int32(a.Skipped), bytes: int32(a.Bytes), fate: a.Disposition, first: first}
	l.last = max(l.last, a.Turn+1)
	if before := &l.ring[(a.Turn-1)%Size]; a.Turn > 0 && before.number == a.Turn && !l.adjacent(before, s) {
		l.violation++
	}
	if after := &l.ring[(a.Turn+1)%Size]; after.number == a.Turn+2 && !l.adjacent(s, after) {
		l.violation++
	}
}

// isNew says whether a turn is the first of a client. The turns of a session
// at one backend need not be looked up but once.
func (l *Ledger) isNew(a *Request) bool {
	if a.Outstanding != nil {
		if a.Outstanding.known {
			return false
		}
		a.Outstanding.known = true
	}
	return l.clients.meet(a.Client)
}

// overdueAfter is how long a turn may be recorded after a whole ring of later
// ones. Workers append in no order between them, and one that the system does
// not run for a while is late with what it has taken.
const overdueAfter = 10 * time.Second

// maxOverdue is how far the turns may get ahead of one that is overdue.
const maxOverdue = 10_000 * Size

// follows says whether a turn takes over this slot. As a rule the one there is
// exactly one round of the ring older. If it is older than that, the turns in
// between are overdue; if it is newer, this turn is one of those, and the ring
// has no place for it any more. Anything else is a turn given twice: a
// violation.
func (l *Ledger) follows(at time.Duration, s *slot, number uint64) bool {
	before := s.number // plus 1
	if before == 0 {   // never used: as if a ring before the first turn that is due here
		before = l.first + (number-l.first)%Size + 1 - Size
	}
	if before == number+1-Size && number >= l.first {
		return true
	}
	switch _, late := l.overdue[number]; {
	case number < l.first:
		l.violation++
		return false
	case late:
		delete(l.overdue, number)
		return false
	case int64(before-(number+1)) >= 0: // it has been recorded already
		l.violation++
		return false
	case number-before > maxOverdue: // no worker is ever so late
		l.violation++
		return true
	}
	if l.overdue == nil {
		l.overdue = map[uint64]time.Duration{}
	}
	for missing := before + Size; missing != number+1; missing += Size {
		l.overdue[missing-1] = at
	}
	return true
}

// violations is how many turns were out of place, by now.
func (l *Ledger) violations(at time.Duration) uint64 {
	for number, since := range l.overdue {
		if at-since > overdueAfter {
			l.violation++
			delete(l.overdue, number)
		}
	}
	return l.violation
}

// adjacent says whether turn b is the one after turn a: the next backend in
// the circle, but for those that b passed over.
func (l *Ledger) adjacent(a, b *slot) bool {
	n := int32(len(l.backends))
	return b.backend == (a.backend+1+b.passed)%n && b.passed < n
}

// Replied appends the replies of one batch.
func (l *Ledger) Replied(now time.Time, batch []Reply) {
	at := now.Sub(l.started)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		b := &l.backends[r.Backend]
		if r.Lost {
			b.repliesLost++
		} else {
			b.replies++
			b.bytesFrom += uint64(r.Bytes)
		}
		b.lastSeen = at
		b.seen = true
		l.answer(at, r)
	}
}

// answer marks the turn that a reply answers, if the ring still has it. Also one
// that the client never gets says how long the backend took.
func (l *Ledger) answer(at time.Duration, r *Reply) {
	number := r.Outstanding.newest
	if number == 0 {
		return // a second answer to the same datagram, or one that nobody asked for
	}
	s := &l.ring[(number-1)%Size]
	if s.number != number { // so long ago that the ring has forgotten it
		r.Outstanding.newest, r.Outstanding.fresh = 0, false
		return
	}
	fresh := r.Outstanding.fresh
	s.replied, s.lost, s.exact = true, r.Lost, fresh && !l.mayBeAnswered(at, s.before)
	s.rtt = at - s.at
	s.size = int32(r.Bytes)
	copy(s.head[:], r.Head)
	r.Outstanding.newest, r.Outstanding.fresh = s.before, false

	b := &l.backends[r.Backend]
	if s.silent {
		b.silent--
	}
	switch {
	case s.lost:
		b.undelivered++
	case s.rtt >= l.answerTimeout:
		b.late++
		fallthrough
	default:
		b.answered++
	}
	if fresh {
		b.rttLast = s.rtt
		b.rtt.add(s.rtt)
	}
}

// doubtFor is how long a turn may still be answered: as long as a session lives
// without a datagram by default. Whoever loses answers on purpose would leave
// nothing exact for ever otherwise.
const doubtFor = time.Minute

// mayBeAnswered says whether a turn that has not been answered may still be;
// number as Outstanding.newest.
func (l *Ledger) mayBeAnswered(at time.Duration, number uint64) bool {
	if number == 0 {
		return false
	}
	s := &l.ring[(number-1)%Size]
	return s.number == number && at-s.at < doubtFor
}

// forget counts a turn that is about to lose its place in the ring, if nobody
// has counted it yet: it is silent, or it had not waited for long enough to
// tell.
func (l *Ledger) forget(at time.Duration, s *slot) {
	if s.number == 0 || s.fate != Forwarded || s.replied || s.silent {
		return
	}
	b := &l.backends[s.backend]
	if at-s.at >= l.answerTimeout {
		b.silent++
	} else {
		b.untold++
	}
}

// settle counts the turns that have fallen silent. It looks at each turn once,
// so it costs little however often it is called.
func (l *Ledger) settle(at time.Duration) {
	if l.last-l.first > Size {
		l.settled = max(l.settled, l.last-Size)
	}
	for ; l.settled < l.last; l.settled++ {
		s := &l.ring[l.settled%Size]
		if s.number != l.settled+1 || at-s.at < l.answerTimeout {
			return
		}
		if s.fate == Forwarded && !s.replied {
			s.silent = true
			l.backends[s.backend].silent++
		}
	}
}

// Dropped counts datagrams that took no turn and that no client is to be named
// for.
func (l *Ledger) Dropped(fate Disposition, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received += uint64(n)
	l.dispositions[fate] += uint64(n)
}

// ReplyRefused counts a reply that went out and that the client's machine sent
// an ICMP error about: nobody was there any more.
func (l *Ledger) ReplyRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
}

// Waiting is how many forwarded turns have neither been answered nor waited
// longer than the answer timeout.
func (l *Ledger) Waiting(now time.Time) int {
	since := now.Sub(l.started) - l.answerTimeout
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for number := l.last; number > l.first && number+Size > l.last; number-- {
		s := &l.ring[(number-1)%Size]
		if s.number != number {
			continue
		}
		if s.at <= since {
			break
		}
		if s.fate == Forwarded && !s.replied {
			n++
		}
	}
	return n
}
