// Package ping decides what becomes of each ping of a run, and what the answers
// say about the order of the servers. It has neither socket nor clock: times and
// datagrams come in as arguments.
//
// It never sends a ping twice: a second one would take another turn of the
// balancer's rotation.
package ping

import (
	"slices"
	"time"
)

// Plan is what a run sends.
type Plan struct {
	Count    int64         // 0: until it is told to stop
	Interval time.Duration // from one ping to the next
	Timeout  time.Duration
	Size     int     // bytes to pad each ping to
	Cycle    Cycle   // the order in which servers must answer; nil: any
	Question *string // sent as it is instead of a ping, once
}

// Run is one run of pings. The next ping is due one interval after the one
// before, but never while that one waits: with two at once, the order of the
// answers would be a matter of the network.
type Run struct {
	Plan
	Counts // Unfinished is 1 while the latest ping waits for its answer

	show       func(event any)
	requests   []request // by sequence number less one
	turns      []string  // by turn less one: who had it, or "" if nobody said
	roundTrips RoundTrips
	byServer   map[string]int64
	ambiguous  bool       // two servers answered one ping: its turn says nothing
	possible   []rotation // of the expected cycle, those that agree with the answers
	outOfTurn  *OutOfTurn // ends the run
}

// request is one ping.
type request struct {
	sentAt   time.Time
	turn     int // its place among the turns of this run; 0: it took none
	answered bool
}

// NewRun prepares a run that tells show what happens.
func NewRun(plan Plan, show func(event any)) *Run {
	if plan.Question != nil {
		plan.Count = 1
	}
	return &Run{Plan: plan, show: show, byServer: map[string]int64{}, possible: plan.Cycle.rotations()}
}

// Next is when Expire or Send has something to do although nothing arrives. over
// says that they never will.
func (r *Run) Next(now time.Time) (at time.Time, over bool) {
	switch {
	case r.outOfTurn != nil:
		return now, true
	case r.Sent == 0:
		return now, false
	case r.waiting():
		return r.deadline(), false
	case r.Sent == r.Count:
		return now, true
	}
	return r.latest().sentAt.Add(r.Interval), false
}

// Expire ends the wait of a ping whose time is up.
func (r *Run) Expire(now time.Time) {
	if r.waiting() && !now.Before(r.deadline()) {
		r.timeOut("", now)
	}
}

// Send sends the next ping if it is due.
func (r *Run) Send(now time.Time, send func(client int, payload []byte)) {
	if at, over := r.Next(now); over || r.waiting() || now.Before(at) {
		return
	}
	r.Sent++
	r.Unfinished = 1
	r.turns = append(r.turns, "")
	r.requests = append(r.requests, request{sentAt: now, turn: len(r.turns)})
	send(0, []byte(r.text(r.Sent)))
}

// Undelivered takes in what the system says of a ping that did not get to the
// balancer. Such a ping took no turn.
func (r *Run) Undelivered(why string, at time.Time) {
	if r.waiting() {
		r.timeOut(why, at)
	}
}

// Receive takes in a datagram that arrived at this time. The time decides, not
// when it is seen.
func (r *Run) Receive(_ int, payload string, at time.Time) {
	if r.outOfTurn != nil {
		return
	}
	if r.waiting() && at.After(r.deadline()) {
		r.timeOut("", at)
	}
	seq, server, message, ok := r.match(payload)
	if !ok {
		r.Unmatched++
		r.tell(Unmatched{payload}, at)
		return
	}
	p := &r.requests[seq-1]
	rtt := at.Sub(p.sentAt)
	switch {
	case p.answered:
		r.Duplicates++
		r.ambiguous = r.ambiguous || p.turn > 0 && r.turns[p.turn-1] != server
		r.tell(Duplicate{seq, server, rtt, message}, at)
	case r.waiting() && seq == r.Sent:
		r.Unfinished = 0
		r.Received++
		r.roundTrips = append(r.roundTrips, rtt)
		r.byServer[server]++
		r.tell(Replied{seq, server, rtt, payload, message}, at)
	default:
		r.Late++
		r.tell(Late{seq, server, rtt}, at)
	}
	if p.turn > 0 {
		if !p.answered {
			r.turns[p.turn-1] = server
		}
		r.checkOrder(seq, p.turn, server)
	}
	p.answered = true
}

// checkOrder compares the server that had a turn with the expected cycle.
func (r *Run) checkOrder(seq int64, turn int, server string) {
	expected := agreed(r.possible, turn)
	r.possible = fitting(r.possible, turn, server)
	if r.Cycle != nil && len(r.possible) == 0 {
		r.outOfTurn = &OutOfTurn{seq, server, expected, r.Cycle}
	}
}

// match finds the ping that a payload answers.
func (r *Run) match(payload string) (seq int64, server, message string, ok bool) {
	seq, ok = 1, true // there is no number in a question
	if r.Question == nil {
		seq, ok = Sequence(payload)
	}
	if !ok || seq < 1 || seq > r.Sent {
		return 0, "", "", false
	}
	server, message, ok = ParseReply(payload, r.text(seq))
	return seq, server, message, ok
}

// text is what is sent as the ping of this number.
func (r *Run) text(seq int64) string {
	if r.Question != nil {
		return *r.Question
	}
	return string(AppendRequest(nil, seq, r.requests[seq-1].sentAt, r.Size))
}

// timeOut ends the wait of the latest ping. A ping that was lost silently counts
// as a turn, one that was not delivered does not.
func (r *Run) timeOut(why string, now time.Time) {
	r.Unfinished = 0
	if p := r.latest(); why != "" {
		r.turns = r.turns[:p.turn-1]
		p.turn = 0
	}
	r.tell(TimedOut{r.Sent, why}, now)
}

// tell shows an event, and how far the run is with it.
func (r *Run) tell(event any, now time.Time) {
	r.show(event)
	r.show(r.Progress(now))
}

func (r *Run) waiting() bool       { return r.Unfinished > 0 }
func (r *Run) latest() *request    { return &r.requests[len(r.requests)-1] }
func (r *Run) deadline() time.Time { return r.latest().sentAt.Add(r.Timeout) }

// Results is what a run found out so far. The turns and the map are the run's own and
// go on as it does.
type Results struct {
	Counts
	Elapsed    time.Duration // since the first ping
	RoundTrips RoundTrips    // of the answers in time
	ByServer   map[string]int64
	Order      Order
	OutOfTurn  *OutOfTurn // what broke the expected cycle, if anything did
}

// Verdict is nil if there was an answer and every limit was kept.
func (r Results) Verdict(maxLoss float64) error {
	if r.OutOfTurn != nil {
		return r.OutOfTurn
	}
	return r.Counts.Verdict(maxLoss)
}

// Results is the state at this time.
func (r *Run) Results(now time.Time) Results {
	found := Results{
		Counts: r.Counts, Elapsed: r.elapsed(now), OutOfTurn: r.outOfTurn, ByServer: r.byServer,
		RoundTrips: slices.Sorted(slices.Values(r.roundTrips)), Order: OrderOf(r.turns, r.Cycle),
	}
	if r.ambiguous {
		found.Order.rotations, found.Order.reason = nil, twoAnswers
	}
	return found
}

// Status is the event for somebody who asks how far the run is.
func (r *Run) Status(now time.Time) any { return Status{r.Results(now)} }

// Progress is the event for somebody who watches.
func (r *Run) Progress(now time.Time) any { return Progress{r.Plan, r.Counts, r.elapsed(now)} }

func (r *Run) elapsed(now time.Time) time.Duration {
	if r.Sent == 0 {
		return 0
	}
	return now.Sub(r.requests[0].sentAt)
}
