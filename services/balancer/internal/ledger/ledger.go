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

// CloseReason is why a session was closed.
type CloseReason uint8

const (
	Idle    CloseReason = iota // nothing went through it for a while
	Evicted                    // another client needed its room
	Stopped                    // the balancer stopped
	closeReasons
)

var closeReasonNames = [closeReasons]string{"idle", "evicted", "stopped"}

// String is the reason's name in the metrics.
func (r CloseReason) String() string { return closeReasonNames[r] }

// Outstanding is the turns of one session that no reply has answered yet. The
// session keeps it, only the ledger touches it. The zero value has none.
type Outstanding struct {
	known   bool          // its client is known not to be new
	servers []outstanding // in turn order
}

// outstanding is the turns at one server. Each knows the one before it.
type outstanding struct {
	newest uint64 // the number of the newest such turn; 0: none
	fresh  bool   // no reply has come since the newest was sent
}

// at returns what is outstanding at one of n servers.
func (o *Outstanding) at(backend membership.ID, n int) *outstanding {
	if o.servers == nil {
		o.servers = make([]outstanding, n)
	}
	return &o.servers[backend-1]
}

// Ledger is the record. Its methods may be called by several goroutines.
type Ledger struct {
	answerTimeout time.Duration

	mu          sync.Mutex // guards the rest
	ring        [Size]slot
	resumed     uint64    // the last turn of an earlier run; 0: none
	last        uint64    // the highest number that was recorded
	settled     uint64    // turns up to it have been looked at for silence
	missing     uint64    // turns that the ring went past before they were recorded
	missingAt   time.Time // when it last went past one
	clients     recentClients
	totals      Snapshot  // but for what Snapshot fills in
	servers     []Backend // in turn order
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
	return &Ledger{answerTimeout: answerTimeout, totals: Snapshot{Started: started}}
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

// server is what is known of the server of an ID.
func (l *Ledger) server(id membership.ID) *Backend { return &l.servers[id-1] }

// write puts a turn into the ring, checks that it is in order, and counts it.
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
	first := l.isNew(r)
	if first {
		l.totals.Clients++
		l.totals.Newest = Join{Client: r.Client, At: now, Turn: turn, Server: backend.Name}
		if turn > 1 {
			l.totals.Newest.After = l.servers[balancing.Before(r.Turn.Step, len(l.servers))].Name
		}
	}
	s := &l.ring[turn%Size]
	if !l.takesOver(now, s, turn) {
		if r.Disposition == Forwarded {
			b.Unresolved++
		}
		return
	}
	l.forget(now, s)
	*s = slot{step: r.Turn.Step, before: before, Turn: Turn{
		Number: turn, At: now, Client: r.Client, Backend: backend.ID, Server: backend.Name,
		Bytes: r.Bytes, Disposition: r.Disposition, Outcome: outcome, First: first,
	}}
	l.last = max(l.last, turn)
	l.checkOrder(turn - 1)
	l.checkOrder(turn)
}

// isNew says whether a turn is the first of a client. The client of a session is
// looked up once.
func (l *Ledger) isNew(r *Request) bool {
	if o := r.Outstanding; o != nil {
		if o.known {
			return false
		}
		o.known = true
	}
	return l.clients.observe(r.Client)
}

// takesOver says whether a turn takes over a slot. As a rule the one there is
// exactly one round of the ring older. If it is older than that, the turns in
// between are missing. If it is newer, this turn must be one that was missing,
// and the ring has no room for it any more. Anything else is a turn given twice.
func (l *Ledger) takesOver(now time.Time, s *slot, turn uint64) bool {
	switch {
	case turn <= l.resumed || turn == s.Number || turn < s.Number && l.missing == 0:
		l.totals.OrderViolations++
		return false
	case turn < s.Number:
		l.missing--
		return false
	}
	missed := (turn - l.resumed - 1) / Size // if the slot was never used
	if s.Number > 0 {
		missed = (turn-s.Number)/Size - 1
	}
	if missed > 0 {
		l.missing += missed
		l.missingAt = now
	}
	return true
}

// checkOrder counts a violation if the ring has a turn and the next, and they do
// not follow each other.
func (l *Ledger) checkOrder(turn uint64) {
	a, b := &l.ring[turn%Size], &l.ring[(turn+1)%Size]
	if turn > 0 && a.Number == turn && b.Number == turn+1 && !balancing.Follows(a.step, b.step, len(l.servers)) {
		l.totals.OrderViolations++
	}
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
// an ICMP error about.
func (l *Ledger) ReplyRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.RepliesRefused++
}

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
