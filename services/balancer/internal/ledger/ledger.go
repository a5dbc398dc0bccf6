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
// server. Statistics of round-trip times are taken from the first reply after
// the client's last datagram to that server.
//
// Both are exact for a client that waits for each answer, however long. For one
// that sends on they are an estimate: a late reply to an older datagram is taken
// for the newest one's. So a turn's round-trip time is called exact only if
// nothing older of that client at that server may still be answered.
package ledger

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/membership"
)

// Size is how many turns the ring remembers.
const Size = 4096

// HeadSize is how many bytes of a reply the ring remembers.
const HeadSize = 64

// Disposition is what became of a datagram that the balancer received.
type Disposition uint8

const (
	Forwarded Disposition = iota // the kernel took it for the server

	// Dropped after it had taken its turn:
	DroppedDown // its server is down and keeps its turn
	NoSocket    // no socket could be had for its session
	SendFailed  // the kernel would not take it

	// Dropped without taking a turn:
	NoBackend    // no server is up
	SessionLimit // its client is new, and there is no room for another session
	ClientRate   // its client sends more than it may
	PortZero     // its source port is 0, where no reply can go
	Loop         // it came from a server's own address, or from the balancer's
	Shutdown     // the balancer is stopping
	Stranger     // it came to a session's socket from an address that is no server's

	Dispositions // how many there are
)

var dispositionNames = [Dispositions]string{"forwarded", "held", "no_socket", "send_failed",
	"no_backend", "session_limit", "client_rate", "port_zero", "loop", "shutdown", "stranger"}

// String is the disposition's name in logs and metrics.
func (d Disposition) String() string { return dispositionNames[d] }

// TakesTurn says whether a datagram of this disposition took a turn.
func (d Disposition) TakesTurn() bool { return d < NoBackend }

// Request is a datagram that a client sent, and what became of it.
type Request struct {
	Client      netip.AddrPort
	Bytes       int
	Disposition Disposition
	Turn        balancing.Turn // if the disposition takes one
	Outstanding *Outstanding   // of its session; nil if it has none
}

// Reply is a datagram that a server sent.
type Reply struct {
	Backend     membership.ID
	Bytes       int
	Head        []byte       // its first bytes, copied; HeadSize are kept
	Outstanding *Outstanding // of the session whose socket it came to
	Lost        bool         // the kernel would not take it for the client
}

// Outstanding is the turns of one session that no reply has answered yet. The
// session keeps it, only the ledger touches it. The zero value has none.
type Outstanding struct {
	known   bool // its client is known not to be new
	servers []outstanding
}

// outstanding is the turns at one server. Each knows the one before it.
type outstanding struct {
	newest  uint64 // the number of the newest such turn; 0: none
	backend membership.ID
	fresh   bool // no reply has come since the newest was sent
}

// at returns what is outstanding at a server, of at most n servers as a rule.
func (o *Outstanding) at(backend membership.ID, n int) *outstanding {
	i := slices.IndexFunc(o.servers, func(s outstanding) bool { return s.backend == backend })
	if i >= 0 {
		return &o.servers[i]
	}
	if i = slices.IndexFunc(o.servers, func(s outstanding) bool { return s.newest == 0 }); i < 0 {
		if o.servers == nil {
			o.servers = make([]outstanding, 0, n)
		}
		i = len(o.servers)
		o.servers = append(o.servers, outstanding{})
	}
	o.servers[i] = outstanding{backend: backend}
	return &o.servers[i]
}

// Ledger is the record. Its methods may be called by several goroutines.
type Ledger struct {
	answerTimeout time.Duration

	mu          sync.Mutex // guards the rest
	ring        [Size]slot
	resumed     uint64 // the last turn of an earlier run; 0: none
	last        uint64 // the highest number that was recorded
	settled     uint64 // turns up to it have been looked at for silence
	order       balancing.Order
	missing     map[uint64]time.Time // turns that the ring went past before they were recorded, and when
	clients     recentClients
	totals      Snapshot   // but for what Snapshot fills in
	servers     []*Backend // in turn order
	byID        map[membership.ID]*Backend
	events      []Event
	eventNumber uint64
}

// slot is a turn in the ring.
type slot struct {
	Turn   // its Number is 0 if the slot was never used; its Reply is in head
	step   balancing.Step
	before uint64 // the next older outstanding turn of its client at its server
	head   [HeadSize]byte
}

// New returns a ledger that was started at the given time and knows no server
// before Apply. A forwarded turn counts as silent when no reply has come for
// answerTimeout.
func New(answerTimeout time.Duration, started time.Time) *Ledger {
	return &Ledger{answerTimeout: answerTimeout, order: balancing.NewOrder(), totals: Snapshot{Started: started}}
}

// Resume says that turns up to the given number were another ledger's. It is to
// be called before the first append.
func (l *Ledger) Resume(turns uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed, l.last, l.settled = turns, turns, turns
}

// Received appends the datagrams of one batch, in the order of their turns.
func (l *Ledger) Received(now time.Time, batch []Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		l.count(r.Disposition, 1)
		if r.Disposition.TakesTurn() {
			l.write(now, r)
		}
	}
}

// count counts n datagrams of one disposition.
func (l *Ledger) count(d Disposition, n uint64) {
	l.totals.Received += n
	if d == Forwarded {
		l.totals.Forwarded += n
	} else {
		l.totals.Dropped[d] += n
	}
}

// write puts a turn into the ring, checks that it is in its place, and counts
// it.
func (l *Ledger) write(now time.Time, r *Request) {
	turn, backend := r.Turn.Number, r.Turn.Backend
	b := l.server(backend.ID)
	b.Turns++
	outcome, before := Dropped, uint64(0)
	if r.Disposition == Forwarded {
		b.Forwarded++
		b.BytesTo += uint64(r.Bytes)
		o := r.Outstanding.at(backend.ID, len(l.servers))
		outcome, before = Waiting, o.newest
		o.newest, o.fresh = turn, true
	}
	s := &l.ring[turn%Size]
	first := l.isNew(r)
	if first {
		l.totals.Clients++
		l.totals.Newest = Join{Client: r.Client, At: now, Turn: turn, Server: backend.Name, After: l.before(&r.Turn)}
	}
	if !l.isNext(now, s, turn) {
		if r.Disposition == Forwarded {
			b.Unresolved++
		}
		return
	}
	l.forget(now, s)
	*s = slot{step: r.Turn.Step, before: before, Turn: Turn{
		Number: turn, At: now, Client: r.Client, Backend: backend.ID, Server: backend.Name, Place: r.Turn.Step.Place + 1,
		Bytes: r.Bytes, Disposition: r.Disposition, Outcome: outcome, First: first,
	}}
	l.last = max(l.last, turn)
	if before := &l.ring[(turn-1)%Size]; before.Number == turn-1 && !l.order.Follows(before.step, s.step) {
		l.totals.OrderViolations++
	}
	if after := &l.ring[(turn+1)%Size]; after.Number == turn+1 && !l.order.Follows(s.step, after.step) {
		l.totals.OrderViolations++
	}
}

// before names the server that had the turn before this one; empty if there was
// none, or nobody can tell any more.
func (l *Ledger) before(t *balancing.Turn) string {
	if t.Number <= 1 {
		return ""
	}
	if s := &l.ring[(t.Number-1)%Size]; s.Number == t.Number-1 {
		return s.Server
	}
	if b := l.order.Before(t.Step); b != nil {
		return b.Name
	}
	return ""
}

// isNew says whether a turn is the first of a client. A session's client need not
// be looked up but once.
func (l *Ledger) isNew(r *Request) bool {
	if o := r.Outstanding; o != nil {
		if o.known {
			return false
		}
		o.known = true
	}
	return l.clients.observe(r.Client)
}

// missingAfter is how long a turn may be recorded after a whole ring of later
// ones. Workers append in no order between them, and one that the system does
// not run for a while is late with what it has taken.
const missingAfter = 10 * time.Second

// isNext says whether a turn takes over this slot. As a rule the one there is
// exactly one round of the ring older. If it is older than that, the turns in
// between are missing; if it is newer, this turn is one of those, and the ring
// has no place for it any more. Anything else is a turn given twice: a
// violation.
func (l *Ledger) isNext(now time.Time, s *slot, turn uint64) bool {
	there := s.Number
	if there == 0 && turn > l.resumed { // never used: as if a ring before the first turn that is due here
		there = turn - (turn-l.resumed-1)/Size*Size - Size
	}
	_, late := l.missing[turn]
	switch {
	case turn <= l.resumed:
		l.totals.OrderViolations++
		return false
	case there == turn-Size:
		return true
	case late:
		delete(l.missing, turn)
		return false
	case int64(there-turn) >= 0: // it has been recorded already
		l.totals.OrderViolations++
		return false
	}
	if l.missing == nil {
		l.missing = map[uint64]time.Time{}
	}
	for number := there + Size; number != turn; number += Size {
		l.missing[number] = now
	}
	return true
}

// violations is how many turns were out of place, by now.
func (l *Ledger) violations(now time.Time) uint64 {
	for turn, since := range l.missing {
		if now.Sub(since) > missingAfter {
			l.totals.OrderViolations++
			delete(l.missing, turn)
		}
	}
	return l.totals.OrderViolations
}

// Replied appends the replies of one batch.
func (l *Ledger) Replied(now time.Time, batch []Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		b := l.server(r.Backend)
		if r.Lost {
			b.Lost++
		} else {
			l.totals.Replied++
			b.Replies++
			b.BytesFrom += uint64(r.Bytes)
		}
		b.LastSeen = now
		l.answer(now, b, r)
	}
}

// answer marks the turn that a reply answers, if the ring still has it. Also one
// that the client never gets says how long the server took.
func (l *Ledger) answer(now time.Time, b *Backend, r *Reply) {
	o := r.Outstanding.at(r.Backend, len(l.servers))
	if o.newest == 0 {
		return // a second answer to the same datagram, or an answer to none
	}
	s, fresh := &l.ring[o.newest%Size], o.fresh
	if s.Number != o.newest { // so long ago that the ring has forgotten it
		o.newest, o.fresh = 0, false
		return
	}
	o.newest, o.fresh = s.before, false
	if s.Outcome == Silent {
		b.Silent--
	}
	s.Outcome, s.RTT, s.Size = Answered, now.Sub(s.At), r.Bytes
	s.Exact = fresh && !l.mayBeAnswered(now, s.before)
	copy(s.head[:], r.Head)
	if r.Lost {
		s.Outcome = Undelivered
		b.Undelivered++
	} else {
		b.Answered++
		if s.RTT >= l.answerTimeout {
			b.Late++
		}
	}
	if fresh {
		b.RTTLast = s.RTT
		b.RTT.add(s.RTT)
	}
}

// doubtFor is how long a turn may still be answered: as long as a session lives
// without a datagram by default. A server that loses answers on purpose would
// leave nothing exact for ever otherwise.
const doubtFor = time.Minute

// mayBeAnswered says whether a turn that has not been answered may still be.
func (l *Ledger) mayBeAnswered(now time.Time, turn uint64) bool {
	s := &l.ring[turn%Size]
	return turn > 0 && s.Number == turn && now.Sub(s.At) < doubtFor
}

// forget counts a turn that is about to be overwritten in the ring, unless it has
// been counted: it is silent, or it had not waited for long enough to tell.
func (l *Ledger) forget(now time.Time, s *slot) {
	switch {
	case s.Outcome != Waiting:
	case now.Sub(s.At) >= l.answerTimeout:
		l.server(s.Backend).Silent++
	default:
		l.server(s.Backend).Unresolved++
	}
}

// settle counts the turns that have fallen silent. It looks at each turn once,
// so it costs little however often it is called.
func (l *Ledger) settle(now time.Time) {
	for l.settled = max(l.settled, l.oldest()-1); l.settled < l.last; l.settled++ {
		s := &l.ring[(l.settled+1)%Size]
		if s.Number != l.settled+1 || now.Sub(s.At) < l.answerTimeout {
			return
		}
		if s.Outcome == Waiting {
			s.Outcome = Silent
			l.server(s.Backend).Silent++
		}
	}
}

// oldest is the first turn that the ring may still have.
func (l *Ledger) oldest() uint64 { return l.last - min(l.last-l.resumed, Size) + 1 }

// Dropped counts datagrams that took no turn and that no client is to be named
// for.
func (l *Ledger) Dropped(d Disposition, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(d, uint64(n))
}

// ReplyRefused counts a reply that went out and that the client's machine sent
// an ICMP error about: nobody was there any more.
func (l *Ledger) ReplyRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.RepliesRefused++
}

// Waiting is how many forwarded turns have neither been answered nor waited
// longer than the answer timeout.
func (l *Ledger) Waiting(now time.Time) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(now)
	n := l.totals.Removed.Waiting()
	for _, b := range l.servers {
		n += b.Waiting()
	}
	return n
}
