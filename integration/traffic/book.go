// Package traffic is the one load generator of the tests, the soak and the
// benchmark: what clients send, what they expect, and the record of both.
//
//	datagram  carries its client, its number and filling that both determine,
//	          so that every reply can be checked byte for byte
//	Book      one client's record: a window of datagrams in flight, and what
//	          became of each; pure
//	Carry     sends for some clients until all is answered or lost
//	Loop      what Carry does on Linux, batched on one thread; the benchmark
//	          runs it directly, with the servers on the same thread
package traffic

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// Settings says what a client sends and what it expects.
type Settings struct {
	Client  int           // from 1, no two alike
	Count   uint64        // datagrams to send
	Window  int           // datagrams in flight at most
	Timeout time.Duration // after which a datagram counts as lost
	Sizes
	// Server says whether replies may come from a server of this name. nil
	// means that replies are plain echoes, without a name.
	Server func(name []byte) bool
}

// Outcome is what a reply turned out to be.
type Outcome int

// The outcomes of a reply.
const (
	InTime    Outcome = iota
	Late              // to a datagram that had been given up as lost
	Duplicate         // to a datagram that had been answered before
	Misrouted         // to another client's datagram
	Unmatched         // to nothing that was sent, or changed on the way
)

func (o Outcome) String() string {
	return [...]string{"in time", "late", "a duplicate", "another client's", "no reply to anything that was sent"}[o]
}

// Counts is what became of a client's datagrams, and what replies it got.
type Counts struct {
	Sent, Lost                                    uint64 // late ones are lost as well
	InTime, Late, Duplicate, Misrouted, Unmatched uint64 // by outcome
}

// Replies is how many replies came, of whatever outcome.
func (c Counts) Replies() uint64 {
	return c.InTime + c.Late + c.Duplicate + c.Misrouted + c.Unmatched
}

// Plus returns both together.
func (c Counts) Plus(o Counts) Counts {
	return Counts{c.Sent + o.Sent, c.Lost + o.Lost, c.InTime + o.InTime, c.Late + o.Late, c.Duplicate + o.Duplicate, c.Misrouted + o.Misrouted, c.Unmatched + o.Unmatched}
}

// Minus returns what was counted since o.
func (c Counts) Minus(o Counts) Counts {
	return Counts{c.Sent - o.Sent, c.Lost - o.Lost, c.InTime - o.InTime, c.Late - o.Late, c.Duplicate - o.Duplicate, c.Misrouted - o.Misrouted, c.Unmatched - o.Unmatched}
}

// Book is one client's record of what it sent and what came back. It is pure:
// the caller moves the datagrams and says what time it is. Only Settled may be
// called by other goroutines.
type Book struct {
	Settings
	Counts
	left    uint64 // datagrams still to be sent
	slots   []slot
	free    []int               // slots with nothing in flight
	missing map[uint64]struct{} // datagrams that are lost, so far
	settled atomic.Uint64
	scratch []byte
}

// slot has room for one datagram in flight.
type slot struct {
	number  uint64 // of the datagram; 0 means that none is in flight
	next    uint64 // the number of the next one
	sent    time.Duration
	payload []byte
}

// NewBook returns the record of a client that has not sent anything yet.
func NewBook(s Settings) *Book {
	b := &Book{Settings: s, left: s.Count, slots: make([]slot, s.Window), missing: map[uint64]struct{}{}}
	for i := range b.slots {
		b.slots[i].next = uint64(i) + 1
		b.free = append(b.free, s.Window-1-i)
	}
	return b
}

// Next takes the next datagram for sent and returns it with its slot; ok is
// false if the window is full or all have been sent. The payload stays as it is
// until the slot is free again.
func (b *Book) Next(now time.Duration) (in int, payload []byte, ok bool) {
	if b.left == 0 || len(b.free) == 0 {
		return 0, nil, false
	}
	in, b.free = b.free[len(b.free)-1], b.free[:len(b.free)-1]
	s := &b.slots[in]
	s.number, s.sent = s.next, now
	s.next += uint64(len(b.slots))
	s.payload = b.write(s.payload, b.Client, s.number)
	b.left--
	b.Sent++
	return in, s.payload, true
}

// Unsent takes back the datagram in a slot, which the kernel refused. Its
// number is not used again.
func (b *Book) Unsent(in int) {
	b.release(in)
	b.left++
	b.Sent--
}

func (b *Book) release(in int) {
	b.slots[in].number = 0
	b.free = append(b.free, in)
}

// Reply records a reply. It returns which server it names, how long the round
// trip took if it is in time, and what it turned out to be.
func (b *Book) Reply(payload []byte, now time.Duration) (server []byte, trip time.Duration, o Outcome) {
	client, number := parse(payload)
	switch {
	case number == 0:
		b.Unmatched++
		return nil, 0, Unmatched
	case client != b.Client:
		b.Misrouted++
		return nil, 0, Misrouted
	}
	in := int((number - 1) % uint64(len(b.slots)))
	s := &b.slots[in]
	expected := s.payload
	if number != s.number && number < s.next {
		b.scratch = b.write(b.scratch, b.Client, number)
		expected = b.scratch
	}
	server, ok := b.answers(payload, expected)
	_, missing := b.missing[number]
	switch {
	case number >= s.next || !ok:
		b.Unmatched++
		return nil, 0, Unmatched
	case number == s.number:
		b.release(in)
		b.InTime++
		b.settled.Add(1)
		return server, now - s.sent, InTime
	case missing:
		delete(b.missing, number)
		b.Late++
		return server, 0, Late
	}
	b.Duplicate++
	return server, 0, Duplicate
}

// answers says whether a reply is right for a datagram: the same bytes, and
// unless servers only echo, a space and a server's name.
func (b *Book) answers(reply, datagram []byte) (server []byte, ok bool) {
	server, ok = bytes.CutPrefix(reply, datagram)
	if b.Server == nil {
		return nil, ok && len(server) == 0
	}
	server, named := bytes.CutPrefix(server, []byte(" "))
	return server, ok && named && b.Server(server)
}

// Expire gives up as lost the datagrams that have been in flight for too long.
func (b *Book) Expire(now time.Duration) {
	for in := range b.slots {
		if s := &b.slots[in]; s.number != 0 && now-s.sent >= b.Timeout {
			b.missing[s.number] = struct{}{}
			b.release(in)
			b.Lost++
			b.settled.Add(1)
		}
	}
}

// Stop keeps the book from sending anything more.
func (b *Book) Stop() { b.left = 0 }

// InFlight is how many datagrams are neither answered nor lost.
func (b *Book) InFlight() int { return len(b.slots) - len(b.free) }

// Done says whether nothing is left to send and nothing in flight.
func (b *Book) Done() bool { return b.left == 0 && b.InFlight() == 0 }

// Missing is how many lost datagrams have not been answered after all.
func (b *Book) Missing() int { return len(b.missing) }

// Settled is how many datagrams have been answered in time or are lost.
func (b *Book) Settled() uint64 { return b.settled.Load() }

// NewBooks deals Count datagrams out among so many clients, numbered from 1.
func NewBooks(clients int, s Settings) (books []*Book) {
	total := s.Count
	for i := range uint64(clients) {
		s.Client, s.Count = int(i)+1, total/uint64(clients)
		if i < total%uint64(clients) {
			s.Count++
		}
		books = append(books, NewBook(s))
	}
	return books
}

// Sum adds up what all clients counted.
func Sum(books []*Book) (all Counts) {
	for _, b := range books {
		all = all.Plus(b.Counts)
	}
	return all
}

// ending is when carrying may end: all books are done, and whatever is missing
// has had the timeout once more to come late.
type ending struct{ since time.Duration }

// reached says whether it has come. It stops the books once ctx has ended.
func (e *ending) reached(ctx context.Context, now time.Duration, books ...*Book) bool {
	done := true
	for _, b := range books {
		if ctx.Err() != nil {
			b.left = 0
		}
		done = done && b.Done()
	}
	if !done {
		e.since = now
	}
	return done && !slices.ContainsFunc(books, func(b *Book) bool { return b.Missing() > 0 && now-e.since <= b.Timeout })
}
