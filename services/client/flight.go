package main

import "time"

// flight knows which datagrams of a load are under way, what became of the
// others, and what one that arrives means. It has neither socket nor clock:
// times are since the load began.
//
// Answers are told apart by their sequence number, so one that is late or comes
// twice is never taken for another's. A datagram that is not answered makes room
// in the window after the timeout.
type flight struct {
	plan
	began time.Time // time 0 as the datagrams tell it

	past     []passage // the latest datagrams; number n is at (n-1) modulo memory
	memory   int       // of so many
	oldest   int       // no datagram before this number is under way
	underWay int
	looked   time.Duration // when room was asked for last
	closed   bool          // nothing more is sent

	loadCounts
	lastAnswer time.Duration
}

// plan is what a load sends.
type plan struct {
	clients  int
	window   int           // datagrams under way at once, of all clients
	count    int           // 0: no limit
	rate     int           // a second; 0: whenever the window has room
	duration time.Duration // 0: no limit
	timeout  time.Duration
	size     int // bytes to pad each datagram to
}

// plan is the configuration's. With a count, the duration is no limit.
func (c settings) plan() plan {
	p := plan{
		clients: c.Clients, window: c.Window * c.Clients,
		count: c.Count, rate: c.Rate, duration: c.Duration, timeout: c.Timeout, size: c.Size,
	}
	if p.count > 0 {
		p.duration = 0
	}
	return p
}

// passage is one datagram's way there and back.
type passage struct {
	sentAt time.Duration
	fate   fate
}

// fate is what became of a datagram.
type fate uint8

const (
	underWay fate = iota
	answered      // perhaps late
	lost          // nobody waits for an answer any more
)

// remembered is how many datagrams can be told apart, the latest ones. What
// comes back for one before them is a stray.
const remembered = 1 << 20

func newFlight(p plan, began time.Time) *flight {
	return &flight{plan: p, began: began, memory: remembered, oldest: 1, loadCounts: newLoadCounts()}
}

// passage is that of a datagram which is remembered.
func (f *flight) passage(seq int) *passage { return &f.past[(seq-1)%f.memory] }

// client is whose datagram it is: they take turns.
func (f *flight) client(seq int) int { return (seq - 1) % f.clients }

// room is how many datagrams are to be sent at this time. When the duration is
// over it gives room once more, to what was due in it.
func (f *flight) room(now time.Duration) int {
	if f.closed {
		return 0
	}
	f.looked = now
	f.closed = f.duration > 0 && now >= f.duration
	n := f.window - f.underWay
	switch {
	case f.rate > 0:
		n = min(n, f.dueBy(now)-f.sent)
	case f.closed:
		n = 0
	}
	if f.count > 0 {
		n = min(n, f.count-f.sent)
	}
	return max(n, 0)
}

// dueBy is how many datagrams of a load with a rate are due by this time: the
// first at once, and none when the duration is over.
func (f *flight) dueBy(now time.Duration) int {
	if f.duration > 0 {
		now = min(now, f.duration-1)
	}
	whole, part := int(now/time.Second), int(now%time.Second) // apart, so that neither overflows
	return whole*f.rate + part*f.rate/int(time.Second) + 1
}

// due is when a datagram of a load with a rate is to leave: the first time at
// which dueBy counts it.
func (f *flight) due(seq int) time.Duration {
	whole, part := (seq-1)/f.rate, (seq-1)%f.rate
	return time.Duration(whole)*time.Second + time.Duration((part*int(time.Second)+f.rate-1)/f.rate)
}

// next is when something will have to be done although nothing arrives.
func (f *flight) next(now time.Duration) time.Duration {
	at := now + time.Hour
	if f.underWay > 0 {
		waited := now - f.passage(f.oldest).sentAt
		at = now + min(f.timeout-waited, time.Hour) + 1
	}
	if f.allSent() {
		return at
	}
	if f.duration > 0 {
		at = min(at, f.duration)
	}
	if f.rate > 0 && f.underWay < f.window {
		at = min(at, f.due(f.sent+1))
	}
	return at
}

// allSent says whether there is nothing more to send.
func (f *flight) allSent() bool { return f.closed || f.count > 0 && f.sent == f.count }

// over says whether everything was sent and nothing is waited for.
func (f *flight) over() bool { return f.underWay == 0 && f.allSent() }

// send adds a datagram, which is now under way, and returns its number.
func (f *flight) send(now time.Duration) (seq int) {
	f.sent++
	f.underWay++
	if len(f.past) < f.memory {
		f.past = append(f.past, passage{sentAt: now})
		return f.sent
	}
	p := f.passage(f.sent)
	if f.oldest == f.sent-f.memory { // it must make place, though it may still wait
		if p.fate == underWay {
			f.lose(p)
		}
		f.oldest++
	}
	*p = passage{sentAt: now}
	return f.sent
}

// expire gives up what has waited for too long.
func (f *flight) expire(now time.Duration) {
	for ; f.oldest <= f.sent; f.oldest++ {
		p := f.passage(f.oldest)
		if p.fate != underWay {
			continue
		}
		if now-p.sentAt <= f.timeout {
			return
		}
		f.lose(p)
	}
}

func (f *flight) lose(p *passage) {
	p.fate = lost
	f.lost++
	f.underWay--
}

// receive counts a datagram that came to a client at this time as what it is.
func (f *flight) receive(client int, payload string, at time.Duration) {
	seq, ok := pingSequence(payload)
	if !ok || seq < 1 || seq > f.sent || seq <= f.sent-f.memory || client != f.client(seq) {
		f.strays++
		return
	}
	p := f.passage(seq)
	server, _, ok := understand(payload, pad(pingText(seq, f.began.Add(p.sentAt)), f.size))
	if !ok {
		f.strays++
		return
	}
	if p.fate == underWay && at-p.sentAt > f.timeout {
		f.lose(p) // nobody has looked since
	}
	switch p.fate {
	case answered:
		f.duplicates++
	case lost:
		f.late++
	case underWay:
		f.inTime(seq, p, server, at)
	}
	p.fate = answered
}

// inTime counts an answer. How long it took counts from when the datagram was
// due, if there is a rate: one that had to wait for room in the window has kept
// its user waiting since then. Counted from when it left, a server that stalls
// would delay the measuring too and hide most of its delay ("coordinated
// omission").
func (f *flight) inTime(seq int, p *passage, server string, at time.Duration) {
	since := p.sentAt
	if f.rate > 0 {
		since = f.due(seq)
	}
	f.trips.add(at - since)
	f.underWay--
	f.received++
	f.lastAnswer = max(f.lastAnswer, at)
	if _, known := f.byServer[server]; !known && len(f.byServer) >= mostServers {
		server = unnamed
	}
	f.byServer[server]++
}

// mostServers is how many names are counted one by one. A server that puts
// something else behind each answer does not say its name.
const mostServers = 100
