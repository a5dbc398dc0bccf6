// Package traffic is the one load generator of the tests, the soak and the
// benchmark: what clients send, what they expect, and the record of both.
//
//	datagram  carries its client, its number and filling that both determine,
//	          so that every reply can be checked byte for byte
//	Book      one client's record: a window of datagrams in flight, and what
//	          became of each; pure
//	Carry     sends for some clients until all is answered or lost
//	Loop      the same on one thread and in batches, for the benchmark on Linux,
//	          with echo servers on the same thread
package traffic

import (
	"bytes"
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
	left     uint64                   // datagrams still to be sent
	last     uint64                   // the number of the newest, from 1
	inFlight map[uint64]time.Duration // when each of them was sent
	missing  map[uint64]struct{}      // datagrams that are lost, so far
	payloads [][]byte                 // of the newest, by number
	expected []byte                   // a buffer
	settled  atomic.Uint64
}

// NewBook returns the record of a client that has not sent anything yet.
func NewBook(s Settings) *Book {
	return &Book{
		Settings: s, left: s.Count, payloads: make([][]byte, s.Window),
		inFlight: map[uint64]time.Duration{}, missing: map[uint64]struct{}{},
	}
}

// Next takes the next datagram for sent and returns it with its number; ok is
// false if the window is full or all have been sent. The payload stays as it is
// for a whole window.
func (b *Book) Next(now time.Duration) (number uint64, payload []byte, ok bool) {
	if b.left == 0 || len(b.inFlight) == b.Window {
		return 0, nil, false
	}
	b.left--
	b.last++
	b.Sent++
	b.inFlight[b.last] = now
	buf := &b.payloads[b.last%uint64(b.Window)]
	*buf = b.write(*buf, b.Client, b.last)
	return b.last, *buf, true
}

// Unsent takes back a datagram, which the kernel refused. Its number is not
// used again.
func (b *Book) Unsent(number uint64) {
	delete(b.inFlight, number)
	b.left++
	b.Sent--
}

// Reply records a reply. It returns which server it names, how long the round
// trip took if it is in time, and what it turned out to be.
func (b *Book) Reply(payload []byte, now time.Duration) (server []byte, trip time.Duration, o Outcome) {
	client, number := parse(payload)
	if number != 0 && client != b.Client {
		b.Misrouted++
		return nil, 0, Misrouted
	}
	server, ok := b.answers(payload, number)
	if !ok {
		b.Unmatched++
		return nil, 0, Unmatched
	}
	if sent, ok := b.inFlight[number]; ok {
		delete(b.inFlight, number)
		b.InTime++
		b.settled.Add(1)
		return server, now - sent, InTime
	}
	if _, ok := b.missing[number]; ok {
		delete(b.missing, number)
		b.Late++
		return server, 0, Late
	}
	b.Duplicate++
	return server, 0, Duplicate
}

// answers says whether a reply is right for a datagram that was sent: the same
// bytes, and unless servers only echo, a space and a server's name.
func (b *Book) answers(reply []byte, number uint64) (server []byte, ok bool) {
	if number == 0 || number > b.last {
		return nil, false
	}
	b.expected = b.write(b.expected, b.Client, number)
	server, ok = bytes.CutPrefix(reply, b.expected)
	if b.Server == nil {
		return nil, ok && len(server) == 0
	}
	server, named := bytes.CutPrefix(server, []byte(" "))
	return server, ok && named && b.Server(server)
}

// Expire gives up as lost the datagrams that have been in flight for too long.
func (b *Book) Expire(now time.Duration) {
	for number, sent := range b.inFlight {
		if now-sent >= b.Timeout {
			delete(b.inFlight, number)
			b.missing[number] = struct{}{}
			b.Lost++
			b.settled.Add(1)
		}
	}
}

// Stop keeps the book from sending anything more.
func (b *Book) Stop() { b.left = 0 }

// InFlight is how many datagrams are neither answered nor lost.
func (b *Book) InFlight() int { return len(b.inFlight) }

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
