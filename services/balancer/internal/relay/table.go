package relay

import (
	"net/netip"
	"time"
)

// table holds the sessions by client, in the order in which they were last
// used: a ring of entries from the longest idle to the last used. So neither
// idle expiry nor eviction looks at more sessions than it ends.
type table[S any] struct {
	limit    int
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

func newTable[S any](limit int) *table[S] {
	t := &table[S]{limit: limit, byClient: map[netip.AddrPort]*entry[S]{}}
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

// room says whether a new session may be added. If the table is full it names
// the session that has to be ended for that, the longest idle, provided that
// it has been idle for long enough.
func (t *table[S]) room(now time.Time) (evict *entry[S], ok bool) {
	if len(t.byClient) < t.limit {
		return nil, true
	}
	longest := t.ends.next
	if now.Sub(longest.used) <= evictAfter {
		return nil, false
	}
	return longest, true
}

// add makes a session for a client that has none.
func (t *table[S]) add(client netip.AddrPort, now time.Time) *entry[S] {
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
