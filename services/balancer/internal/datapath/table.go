package datapath

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// When all places are taken, a new client gets that of the session that has been
// idle for longest, if that is longer than keeps. In a flood most sessions are
// newcomers', who may never come again. Then regulars, who have been heard over
// more than that time, keep their places for floodKeeps. So however many new ones
// come, a client that sends every few seconds keeps its session, and with it its
// answers.
const (
	keeps      = time.Second
	floodKeeps = 10 * time.Second
)

// places counts the sessions that may still be opened. Several tables may
// share them.
type places struct{ free atomic.Int64 }

func newPlaces(n int) *places {
	p := new(places)
	p.free.Store(int64(n))
	return p
}

// take takes a place if there is one.
func (p *places) take() bool {
	for {
		n := p.free.Load()
		if n <= 0 {
			return false
		}
		if p.free.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

func (p *places) give() { p.free.Add(1) }

// table holds the sessions by client, and newcomers and regulars each in the
// order in which they were last used. So neither idle expiry nor eviction looks
// at more sessions than it ends.
type table[S any] struct {
	places    *places
	byClient  map[netip.AddrPort]*entry[S]
	newcomers ring[S]
	regulars  ring[S]
}

// entry is a session in the table.
type entry[S any] struct {
	client     netip.AddrPort
	since      time.Time
	used       time.Time
	ring       *ring[S] // nil once it has been removed
	prev, next *entry[S]
	session    S
}

func newTable[S any](p *places) *table[S] {
	t := &table[S]{places: p, byClient: map[netip.AddrPort]*entry[S]{}}
	t.newcomers.init()
	t.regulars.init()
	return t
}

// find returns a client's session, or nil.
func (t *table[S]) find(client netip.AddrPort) *entry[S] { return t.byClient[client] }

// heard marks a session whose client has sent again.
func (t *table[S]) heard(e *entry[S], now time.Time) {
	r := e.ring
	if now.Sub(e.since) > keeps {
		r = &t.regulars
	}
	t.use(e, r, now)
}

// renew marks a session that a reply came to as used, if it is still in the
// table.
func (t *table[S]) renew(e *entry[S], now time.Time) {
	if e.ring != nil {
		t.use(e, e.ring, now)
	}
}

func (t *table[S]) use(e *entry[S], r *ring[S], now time.Time) {
	e.used = now
	if e.ring == r && e.next == &r.ends {
		return // it is the last used already
	}
	e.unlink()
	r.append(e)
}

// admit makes a session for a client that has none. If all places are taken, it
// gets that of another, which end has to remove, if there is one to give way.
// Otherwise there is no session: nil.
func (t *table[S]) admit(client netip.AddrPort, now time.Time, end func(*entry[S])) *entry[S] {
	if !t.places.take() {
		e, wait := t.givesWay(now)
		if e == nil || wait > 0 {
			return nil
		}
		end(e)
		if !t.places.take() {
			return nil
		}
	}
	e := &entry[S]{client: client, since: now, used: now}
	t.byClient[client] = e
	t.newcomers.append(e)
	return e
}

// givesWay returns the session that is the next to give way to a new client, and
// how long until it does if nothing else happens; nil if there is none.
func (t *table[S]) givesWay(now time.Time) (next *entry[S], wait time.Duration) {
	until := func(e *entry[S], keeps time.Duration) time.Duration {
		return max(keeps+1-now.Sub(e.used), 0) // idle for longer, not for as long
	}
	newcomer, regular := t.newcomers.longestIdle(), t.regulars.longestIdle()
	if t.newcomers.n <= t.regulars.n {
		next = t.longestIdle()
		if next == nil {
			return nil, 0
		}
		return next, until(next, keeps)
	}
	next, wait = newcomer, until(newcomer, keeps)
	if regular != nil && until(regular, floodKeeps) < wait {
		next, wait = regular, until(regular, floodKeeps)
	}
	return next, wait
}

// remove takes a session out of the table. Doing so twice is harmless.
func (t *table[S]) remove(e *entry[S]) {
	if e.ring == nil {
		return
	}
	delete(t.byClient, e.client)
	e.unlink()
	t.places.give()
	e.ring, e.prev, e.next = nil, nil, nil
}

// longestIdle returns the session that was used before all others, or nil.
func (t *table[S]) longestIdle() *entry[S] {
	a, b := t.newcomers.longestIdle(), t.regulars.longestIdle()
	if a == nil || b != nil && b.used.Before(a.used) {
		return b
	}
	return a
}

// ring strings sessions together from the longest idle to the last used.
type ring[S any] struct {
	ends entry[S] // ends.next is the longest idle, ends.prev the last used
	n    int
}

func (r *ring[S]) init() { r.ends.prev, r.ends.next = &r.ends, &r.ends }

func (r *ring[S]) longestIdle() *entry[S] {
	if r.ends.next == &r.ends {
		return nil
	}
	return r.ends.next
}

func (r *ring[S]) append(e *entry[S]) {
	e.ring, e.prev, e.next = r, r.ends.prev, &r.ends
	e.prev.next, e.next.prev = e, e
	r.n++
}

func (e *entry[S]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.ring.n--
}
