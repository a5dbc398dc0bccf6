package main

import (
	"bytes"
	"sync/atomic"
	"time"
)

// patience is how long a datagram may be under way before it is given up and
// another takes its place.
const patience = 500 * time.Millisecond

// book is one client's record of what it sent and what came back. It is pure:
// whoever carries the datagrams says what time it is.
type book struct {
	seed    uint64
	client  int
	left    uint64 // datagrams still to be sent
	slots   []slot
	free    []int               // slots that have nothing under way
	missing map[uint64]struct{} // datagrams that were given up
	settled *atomic.Uint64      // of all clients: answered or given up
	scratch []byte
	counts
}

// slot is one datagram that may be under way.
type slot struct {
	number  uint64 // of the datagram; 0: none is under way
	next    uint64 // the number it will have next
	sent    time.Duration
	payload []byte
}

// counts is what became of a client's datagrams.
type counts struct {
	Sent    uint64
	InTime  uint64 // answered before they were given up
	Lost    uint64 // given up
	Late    uint64 // of those, answered after all
	Twice   uint64 // answers to what had been answered
	Foreign uint64 // answers to nothing that this client sent, or not what was to be answered
}

// newBooks deals the datagrams out among the clients. What they settle is
// counted while they run.
func newBooks(cfg *settings) (books []*book, settled *atomic.Uint64) {
	settled = new(atomic.Uint64)
	for i := range cfg.Clients {
		b := &book{
			seed: cfg.Seed, client: i + 1, settled: settled, missing: map[uint64]struct{}{}, scratch: make([]byte, maxSize),
			left: cfg.Datagrams / uint64(cfg.Clients), slots: make([]slot, cfg.Window),
		}
		if uint64(i) < cfg.Datagrams%uint64(cfg.Clients) {
			b.left++
		}
		for j := range b.slots {
			b.slots[j] = slot{next: uint64(j) + 1, payload: make([]byte, maxSize)}
			b.free = append(b.free, j)
		}
		books = append(books, b)
	}
	return books, settled
}

// next is the next datagram to send and the slot that it is in; ok is false if
// the window is full or all have been sent. The payload stays as it is until
// the slot is free again.
func (b *book) next(now time.Duration) (in int, payload []byte, ok bool) {
	if b.left == 0 || len(b.free) == 0 {
		return 0, nil, false
	}
	in, b.free = b.free[len(b.free)-1], b.free[:len(b.free)-1]
	s := &b.slots[in]
	s.number, s.sent = s.next, now
	s.next += uint64(len(b.slots))
	s.payload = write(s.payload[:maxSize], b.seed, b.client, s.number)
	b.left--
	b.Sent++
	return in, s.payload, true
}

// unsent takes back the datagram in a slot: the kernel would not have it. Its
// number is not used again.
func (b *book) unsent(in int) {
	b.slots[in].number = 0
	b.free = append(b.free, in)
	b.left++
	b.Sent--
}

// answer enters what came back.
func (b *book) answer(payload []byte) {
	n := number(payload)
	if n == 0 {
		b.Foreign++
		return
	}
	in := int((n - 1) % uint64(len(b.slots)))
	s := &b.slots[in]
	_, missing := b.missing[n]
	switch {
	case n == s.number && answers(payload, s.payload):
		s.number = 0
		b.free = append(b.free, in)
		b.InTime++
		b.settled.Add(1)
	case n == s.number, n >= s.next, !answers(payload, write(b.scratch, b.seed, b.client, n)):
		b.Foreign++
	case missing:
		delete(b.missing, n)
		b.Late++
	default:
		b.Twice++
	}
}

// answers says whether an answer is a ping server's to a datagram: the same
// bytes, a space, and the server's name.
func answers(answer, datagram []byte) bool {
	rest, same := bytes.CutPrefix(answer, datagram)
	name, named := bytes.CutPrefix(rest, []byte(" server"))
	return same && named && len(name) == 1 && name[0] >= '1' && name[0] <= '3'
}

// giveUp frees the slots whose datagrams have been under way for too long.
func (b *book) giveUp(now time.Duration) {
	for in := range b.slots {
		if s := &b.slots[in]; s.number != 0 && now-s.sent >= patience {
			b.missing[s.number] = struct{}{}
			s.number = 0
			b.free = append(b.free, in)
			b.Lost++
			b.settled.Add(1)
		}
	}
}

// stop says that nothing more is to be sent.
func (b *book) stop() { b.left = 0 }

// done says whether nothing is left to send and nothing under way.
func (b *book) done() bool { return b.left == 0 && len(b.free) == len(b.slots) }

// sum adds all clients up.
func sum(books []*book) (all counts) {
	for _, b := range books {
		all.Sent += b.Sent
		all.InTime += b.InTime
		all.Lost += b.Lost
		all.Late += b.Late
		all.Twice += b.Twice
		all.Foreign += b.Foreign
	}
	return all
}
