package main

import "time"

// tally knows what became of each ping of one run, and what a datagram that
// arrives means. It has neither socket nor clock. At most one ping waits for
// its answer at any time, the latest.
type tally struct {
	wording wording
	size    int
	timeout time.Duration

	pings      []ping          // by sequence number less one
	turns      []string        // by turn: who had it, or "" if nobody said
	rtts       []time.Duration // of the answers in time, in order of arrival
	byServer   map[string]int  // answers in time
	late       int
	duplicates int
	strays     int
	doubtful   bool // two servers answered one ping: its turn says nothing
}

// ping is one request.
type ping struct {
	text     string // without padding
	sentAt   time.Time
	turn     int // its place among the turns of this run, or noTurn
	waiting  bool
	answered bool // perhaps late
}

// noTurn is the turn of a ping that never got to the balancer.
const noTurn = -1

func newTally(w wording, size int, timeout time.Duration) *tally {
	if !w.padded {
		size = 0
	}
	return &tally{wording: w, size: size, timeout: timeout, byServer: map[string]int{}}
}

// send adds the next ping, which now waits for its answer, and returns its
// sequence number and what to send.
func (t *tally) send(at time.Time) (seq int, payload string) {
	seq = len(t.pings) + 1
	text := t.wording.text(seq, at)
	t.pings = append(t.pings, ping{text: text, sentAt: at, turn: len(t.turns), waiting: true})
	t.turns = append(t.turns, "")
	return seq, pad(text, t.size)
}

// waiting says whether the latest ping waits for its answer.
func (t *tally) waiting() bool {
	return len(t.pings) > 0 && t.pings[len(t.pings)-1].waiting
}

// deadline is until when the latest ping waits.
func (t *tally) deadline() time.Time {
	return t.pings[len(t.pings)-1].sentAt.Add(t.timeout)
}

// giveUp ends the wait of the latest ping. With a reason it never got to the
// balancer and took no turn; without one it was silently lost on some way, and
// counts as a turn.
func (t *tally) giveUp(why string) timedOut {
	p := &t.pings[len(t.pings)-1]
	p.waiting = false
	if why != "" {
		t.turns = t.turns[:p.turn]
		p.turn = noTurn
	}
	return timedOut{seq: len(t.pings), why: why}
}

// receive says what a datagram means that arrived at this time.
func (t *tally) receive(payload string, at time.Time) event {
	seq, ok := t.wording.sequence(payload)
	if !ok || seq < 1 || seq > len(t.pings) {
		t.strays++
		return strayed{payload}
	}
	p := &t.pings[seq-1]
	server, message, ok := understand(payload, pad(p.text, t.size))
	if !ok {
		t.strays++
		return strayed{payload}
	}
	rtt := at.Sub(p.sentAt)
	if p.answered {
		t.duplicates++
		if p.turn != noTurn && t.turns[p.turn] != server {
			t.doubtful = true
		}
		return cameAgain{seq, server, rtt, message}
	}
	p.answered = true
	if p.turn != noTurn {
		t.turns[p.turn] = server
	}
	if !p.waiting {
		t.late++
		return cameLate{seq, server, rtt}
	}
	p.waiting = false
	t.rtts = append(t.rtts, rtt)
	t.byServer[server]++
	return replied{seq, server, rtt, payload, message}
}

// turn is the place of a ping among the turns of this run, from 0, or noTurn.
func (t *tally) turn(seq int) int { return t.pings[seq-1].turn }
