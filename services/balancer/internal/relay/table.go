package relay

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// evictAfter is how long a session must have been idle to give up its place to
// a new client when all places are taken.
const evictAfter = time.Second

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

// table holds the sessions by client, in the order in which they were last
// used: a ring of entries from the longest idle to the last used. So neither
// idle expiry nor eviction looks at more sessions than it ends.
type table[S any] struct {
	places   *places
	byClient map[netip.AddrPort]*entry[S]
	ends     entry[S] // ends.next is the longest idle, ends.prev the last used
}

// entry is a session in the table.
type entry[S any] struct {
	client     netip.AddrPort
	used       time.Time
	prev, next *entry[S]
	session    S
}

func newTable[S any](p *places) *table[S] {
	t := &table[S]{places: p, byClient: map[netip.AddrPort]*entry[S]{}}
	t.ends.prev, t.ends.next = &t.ends, &t.ends
	return t
}

// find returns a client's session, or nil.
func (t *table[S]) find(client netip.AddrPort) *entry[S] { return t.byClient[client] }

// renew marks a session as used now, if it is still in the table.
func (t *table[S]) renew(e *entry[S], now time.Time) {
	if e.next == nil {
		return
	}
	e.used = now
	if e.next == &t.ends {
		return // it is the last used already
	}
	t.unlink(e)
	t.append(e)
}

// admit makes a session for a client that has none. If all places are taken,
// the longest idle session is ended for it, provided that it has been idle for
// long enough; end has to remove it. Otherwise there is no session: nil.
func (t *table[S]) admit(client netip.AddrPort, now time.Time, end func(*entry[S])) *entry[S] {
	if !t.places.take() {
		longest := t.longestIdle()
		if longest == nil || now.Sub(longest.used) <= evictAfter {
			return nil
		}
		end(longest)
		if !t.places.take() {
			return nil
		}
	}
	e := &entry[S]{client: client, used: now}
	t.byClient[client] = e
	t.append(e)
	return e
}

// remove takes a session out of the table. Doing so twice is harmless.
func (t *table[S]) remove(e *entry[S]) {
	if e.next == nil {
		return
	}
	delete(t.byClient, e.client)
	t.unlink(e)
	t.places.give()
	e.prev, e.next = nil, nil
}

// longestIdle returns the session that was used before all others, or nil.
func (t *table[S]) longestIdle() *entry[S] {
	if len(t.byClient) == 0 {
		return nil
	}
	return t.ends.next
}

func (t *table[S]) append(e *entry[S]) {
	e.prev, e.next = t.ends.prev, &t.ends
	e.prev.next, e.next.prev = e, e
}

func (t *table[S]) unlink(e *entry[S]) {
	e.prev.next, e.next.prev = e.next, e.prev
}
