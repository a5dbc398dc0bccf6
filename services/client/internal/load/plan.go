package load

import (
	"math"
	"time"
)

// Plan is what a load sends.
type Plan struct {
	Clients  int
	Window   int           // datagrams in flight at once, of all clients
	Count    int64         // 0: no limit
	Rate     int64         // a second; 0: whenever the window has room
	Duration time.Duration // 0: no limit
	Timeout  time.Duration
	Size     int // bytes to pad each datagram to
}

// dueBy is how many datagrams are due by this time. With a rate, the first is due at
// once, and none when the duration is over.
func (p Plan) dueBy(now time.Duration) int64 {
	n := int64(math.MaxInt64)
	if p.Rate > 0 {
		if p.Duration > 0 {
			now = min(now, p.Duration-1)
		}
		whole, part := int64(now/time.Second), int64(now%time.Second) // apart, so that neither overflows
		n = whole*p.Rate + part*p.Rate/int64(time.Second) + 1
	}
	if p.Count > 0 {
		n = min(n, p.Count)
	}
	return n
}

// due is when a datagram of a load with a rate is to leave: the first time at
// which dueBy counts it.
func (p Plan) due(seq int64) time.Duration {
	whole, part := (seq-1)/p.Rate, (seq-1)%p.Rate
	return time.Duration(whole)*time.Second + time.Duration((part*int64(time.Second)+p.Rate-1)/p.Rate)
}

// client is whose datagram it is: they take turns.
func (p Plan) client(seq int64) int { return int((seq - 1) % int64(p.Clients)) }

// sending is for how long datagrams were to be sent up to now. The wait for the
// last answers is no part of it.
func (p Plan) sending(now time.Duration, sent int64) time.Duration {
	switch {
	case p.Duration > 0:
		return min(now, p.Duration)
	case p.Count > 0 && p.Rate > 0:
		return min(now, p.due(p.Count+1))
	case p.Count > 0 && sent == p.Count:
		return 0
	}
	return now
}
