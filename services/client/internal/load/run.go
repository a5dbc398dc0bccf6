// Package load decides when the datagrams of a load leave, and what becomes of
// each. It has neither socket nor clock: times and datagrams come in as arguments.
//
// It claims no order: of many datagrams in flight answers overtake each other, so
// the server that answered first need not have had the first turn.
package load

import (
	"time"

	"udplab/services/client/internal/ping"
)

// Run is one load. Answers are told apart by their sequence number: one that is
// late or comes twice is never taken for another's. A datagram without an answer
// makes room in the window after the timeout.
type Run struct {
	Plan
	ping.Counts // Unfinished is how many datagrams are in flight
	began       time.Time

	recent []datagram // the latest ones; number n is at (n-1) modulo memory
	memory int64      // of so many
	oldest int64      // no datagram before this number is in flight
	looked time.Duration
	closed bool // nothing more is sent

	latency    *Latency
	byServer   map[string]int64
	errors     map[string]int64 // what the system said, by reason
	lastAnswer time.Duration

	perSecond  float64 // answers, as measured last
	measuredAt time.Duration
	measured   int64 // answers by then

	request []byte // saves allocations
}

// datagram is one datagram on its way there and back. Times are since the load
// began.
type datagram struct {
	sentAt time.Duration
	state  state
}

type state uint8

const (
	inFlight state = iota
	answered       // perhaps late
	lost           // no longer waited for
)

// remembered is how many datagrams can be told apart, the latest ones. What
// answers an earlier one is unmatched.
const remembered = 1 << 20

// mostServers is how many names are counted one by one. A server that puts
// something else behind each answer does not say its name.
const mostServers = 100

// NewRun prepares a load that begins now.
func NewRun(plan Plan, now time.Time) *Run {
	return &Run{
		Plan: plan, began: now, memory: remembered, oldest: 1,
		latency: newLatency(), byServer: map[string]int64{}, errors: map[string]int64{},
	}
}

// at is the datagram of a number that is remembered.
func (r *Run) at(seq int64) *datagram { return &r.recent[(seq-1)%r.memory] }

// Next is when Expire or Send has something to do although nothing arrives. over
// says that they never will.
func (r *Run) Next(clock time.Time) (at time.Time, over bool) {
	now := clock.Sub(r.began)
	wait := time.Hour
	if r.Unfinished > 0 {
		wait = min(wait, r.Timeout-(now-r.at(r.oldest).sentAt)) + 1
	}
	if r.allSent() {
		return clock.Add(wait), r.Unfinished == 0
	}
	if r.Duration > 0 {
		wait = min(wait, r.Duration-now)
	}
	if r.Rate > 0 && r.Unfinished < int64(r.Window) {
		wait = min(wait, r.due(r.Sent+1)-now)
	}
	return clock.Add(wait), false
}

// allSent says whether there is nothing more to send.
func (r *Run) allSent() bool { return r.closed || r.Count > 0 && r.Sent == r.Count }

// Expire gives up on what has waited for too long.
func (r *Run) Expire(clock time.Time) {
	now := clock.Sub(r.began)
	for ; r.oldest <= r.Sent; r.oldest++ {
		d := r.at(r.oldest)
		if d.state != inFlight {
			continue
		}
		if now-d.sentAt <= r.Timeout {
			return
		}
		r.lose(d)
	}
}

func (r *Run) lose(d *datagram) {
	d.state = lost
	r.Unfinished--
}

// Send sends what is due and has room in the window.
func (r *Run) Send(clock time.Time, send func(client int, payload []byte)) {
	now := clock.Sub(r.began)
	at := r.began.Add(now) // not clock: Receive must find the same text although the clock is set
	for range r.room(now) {
		seq := r.add(now)
		r.request = ping.AppendRequest(r.request[:0], seq, at, r.Size)
		send(r.client(seq), r.request)
	}
}

// room is how many datagrams are to be sent at this time. When the duration is
// over it gives room once more, to what was due in it.
func (r *Run) room(now time.Duration) int64 {
	if r.closed {
		return 0
	}
	r.looked = now
	r.closed = r.Duration > 0 && now >= r.Duration
	if r.closed && r.Rate == 0 {
		return 0
	}
	return min(int64(r.Window)-r.Unfinished, r.dueBy(now)-r.Sent)
}

// add puts the next datagram in flight and returns its number.
func (r *Run) add(now time.Duration) (seq int64) {
	r.Sent++
	r.Unfinished++
	if int64(len(r.recent)) < r.memory {
		r.recent = append(r.recent, datagram{sentAt: now})
		return r.Sent
	}
	d := r.at(r.Sent)
	if r.oldest == r.Sent-r.memory { // it must make place, though it may still wait
		if d.state == inFlight {
			r.lose(d)
		}
		r.oldest++
	}
	*d = datagram{sentAt: now}
	return r.Sent
}

// Undelivered counts what the system says of a datagram that did not get there.
// The datagram keeps its place in the window until the timeout, so that a network
// that is gone is not asked a million times a second.
func (r *Run) Undelivered(why string, _ time.Time) { r.errors[why]++ }

// Receive counts a datagram that came to a client at this time.
func (r *Run) Receive(client int, payload string, at time.Time) {
	seq, ok := ping.Sequence(payload)
	if !ok || seq < 1 || seq > r.Sent || seq <= r.Sent-r.memory || client != r.client(seq) {
		r.Unmatched++
		return
	}
	d := r.at(seq)
	r.request = ping.AppendRequest(r.request[:0], seq, r.began.Add(d.sentAt), r.Size)
	server, _, ok := ping.ParseReply(payload, string(r.request))
	if !ok {
		r.Unmatched++
		return
	}
	now := at.Sub(r.began)
	if d.state == inFlight && now-d.sentAt > r.Timeout {
		r.lose(d) // Expire has not looked since
	}
	switch d.state {
	case answered:
		r.Duplicates++
	case lost:
		r.Late++
	case inFlight:
		r.answer(seq, d, server, now)
	}
	d.state = answered
}

// answer counts an answer in time. If there is a rate, its latency counts from when
// the datagram was due: one that had to wait for room in the window has kept its
// user waiting since then. Counted from when it left, a server that stalls would
// delay the measuring too and hide most of its delay ("coordinated omission").
func (r *Run) answer(seq int64, d *datagram, server string, now time.Duration) {
	since := d.sentAt
	if r.Rate > 0 {
		since = r.due(seq)
	}
	r.latency.Add(now - since)
	r.Unfinished--
	r.Received++
	r.lastAnswer = max(r.lastAnswer, now)
	if _, known := r.byServer[server]; !known && len(r.byServer) >= mostServers {
		server = ping.Unnamed
	}
	r.byServer[server]++
}
