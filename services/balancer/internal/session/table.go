package session

import (
	"cmp"
	"container/list"
	"net/netip"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// When the capacity is used up, a new client gets the place of the session that
// has been idle for longest, if that is longer than minIdle. In a flood most
// sessions are newcomers', who may never come again. Then regulars, who have been
// heard over more than that time, keep their places for minIdleInFlood. However
// many new clients come, one that sends every few seconds keeps its session, and
// with it its answers.
const (
	minIdle        = time.Second
	minIdleInFlood = 10 * time.Second
)

// Session is one client, and what its datagrams leave from.
type Session[U any] struct {
	Client    netip.AddrPort
	LocalAddr netip.Addr // where the client's last datagram was sent to, if the listener hears several addresses
	Upstream  U          // what the data path keeps of it: its sockets

	outstanding ledger.Outstanding
	allowance   *allowance // under a limit; else nil
	rank        int        // among the sessions that have something to forward of the batch at hand; 0: none
	opened      time.Time
	used        time.Time
	idle        *list.List // of the table's two; nil once it has been closed
	element     *list.Element
}

// table holds the sessions by client, and newcomers and regulars each from the
// longest idle to the last used. Neither idle expiry nor eviction looks at more
// sessions than it closes.
type table[U any] struct {
	byClient            map[netip.AddrPort]*Session[U]
	newcomers, regulars list.List
}

// add opens a session for a client that has none.
func (t *table[U]) add(client netip.AddrPort, now time.Time) *Session[U] {
	s := &Session[U]{Client: client, opened: now, used: now, idle: &t.newcomers}
	s.element = s.idle.PushBack(s)
	t.byClient[client] = s
	return s
}

// heard marks a session whose client has sent again.
func (t *table[U]) heard(s *Session[U], now time.Time) {
	if s.idle == &t.newcomers && now.Sub(s.opened) > minIdle {
		t.newcomers.Remove(s.element)
		s.idle, s.element = &t.regulars, t.regulars.PushBack(s)
	}
	t.renew(s, now)
}

// renew marks a session as used, if it is still in the table.
func (t *table[U]) renew(s *Session[U], now time.Time) {
	if s.idle != nil {
		s.used = now
		s.idle.MoveToBack(s.element)
	}
}

// remove takes a session out of the table.
func (t *table[U]) remove(s *Session[U]) {
	delete(t.byClient, s.Client)
	s.idle.Remove(s.element)
	s.idle, s.element = nil, nil
}

// front returns the longest idle session of a list, or nil.
func (t *table[U]) front(l *list.List) *Session[U] {
	if e := l.Front(); e != nil {
		return e.Value.(*Session[U])
	}
	return nil
}

// longestIdle returns the session that was used before all others, or nil.
func (t *table[U]) longestIdle() *Session[U] {
	a, b := t.front(&t.newcomers), t.front(&t.regulars)
	if a == nil || b != nil && b.used.Before(a.used) {
		return b
	}
	return a
}

// evictable returns the session that gives way to a new client; nil if none does.
func (t *table[U]) evictable(now time.Time) *Session[U] {
	idleFor := func(s *Session[U], limit time.Duration) *Session[U] {
		if s == nil || now.Sub(s.used) <= limit {
			return nil
		}
		return s
	}
	if t.newcomers.Len() <= t.regulars.Len() {
		return idleFor(t.longestIdle(), minIdle)
	}
	return cmp.Or(idleFor(t.front(&t.newcomers), minIdle), idleFor(t.front(&t.regulars), minIdleInFlood))
}
