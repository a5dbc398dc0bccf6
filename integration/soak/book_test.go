package main

import (
	"fmt"
	"testing"
	"time"
)

// newBook is the book of one client that may have so many of its datagrams
// under way.
func newBook(datagrams uint64, window int) *book {
	books, _ := newBooks(&settings{Datagrams: datagrams, Clients: 1, Window: window, Seed: 3})
	return books[0]
}

// answerOf is what a ping server sends back.
func answerOf(b *book, number uint64, server string) []byte {
	return fmt.Appendf(nil, "%s %s", write(make([]byte, maxSize), b.seed, b.client, number), server)
}

func TestEveryAnswerIsEnteredOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(b *book) []byte // number 1 is under way, 2 was given up
		again  int                  // how often it comes again
		want   counts
	}{
		{"an answer in time", func(b *book) []byte { return answerOf(b, 1, "server3") }, 0, counts{InTime: 1}},
		{"the same answer again", func(b *book) []byte { return answerOf(b, 1, "server3") }, 1, counts{InTime: 1, Twice: 1}},
		{"a late answer", func(b *book) []byte { return answerOf(b, 2, "server1") }, 0, counts{Late: 1}},
		{"a late answer that comes again", func(b *book) []byte { return answerOf(b, 2, "server1") }, 2, counts{Late: 1, Twice: 2}},
		{"an answer to what was never sent", func(b *book) []byte { return answerOf(b, 99, "server1") }, 0, counts{Foreign: 1}},
		{"another client's answer", func(b *book) []byte { return answerOf(newBookOf(b, 2), 1, "server1") }, 0, counts{Foreign: 1}},
		{"a late answer of another client's", func(b *book) []byte { return answerOf(newBookOf(b, 2), 2, "server1") }, 0, counts{Foreign: 1}},
		{"an answer of nobody", func(b *book) []byte { return answerOf(b, 1, "guest") }, 0, counts{Foreign: 1}},
		{"an answer of a server that there is not", func(b *book) []byte { return answerOf(b, 1, "server4") }, 0, counts{Foreign: 1}},
		{"an answer with a changed byte", func(b *book) []byte {
			a := answerOf(b, 1, "server1")
			a[headSize] ^= 1
			return a
		}, 0, counts{Foreign: 1}},
		{"an answer that was cut", func(b *book) []byte { return answerOf(b, 1, "server1")[:30] }, 0, counts{Foreign: 1}},
		{"no answer of ours", func(*book) []byte { return []byte("hello") }, 0, counts{Foreign: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(10, 2)
			_, _, one := b.next(0)
			_, _, two := b.next(0)
			if _, _, three := b.next(0); !one || !two || three {
				t.Fatal("a window of two takes two datagrams")
			}
			b.giveUpNumber(t, 2)
			before := b.counts
			for range 1 + c.again {
				b.answer(c.answer(b))
			}
			c.want.Sent, c.want.Lost = before.Sent, before.Lost
			if b.counts != c.want {
				t.Errorf("entered %+v, want %+v", b.counts, c.want)
			}
		})
	}
}

// newBookOf is the book of another client in the same run.
func newBookOf(b *book, client int) *book {
	other := *b
	other.client = client
	return &other
}

// giveUpNumber lets one datagram's time pass and nobody else's.
func (b *book) giveUpNumber(t *testing.T, n uint64) {
	t.Helper()
	for in := range b.slots {
		if b.slots[in].number == n {
			b.slots[in].sent = -patience
		}
	}
	b.giveUp(0)
	if _, given := b.missing[n]; !given {
		t.Fatalf("number %d was not given up", n)
	}
}

func TestTheWindowIsNeverExceededAndEverythingIsSent(t *testing.T) {
	const datagrams, window = 1000, 7
	b := newBook(datagrams, window)
	underWay := []uint64{}
	seen := map[uint64]bool{}
	for round := 0; !b.done(); round++ {
		for {
			_, payload, ok := b.next(0)
			if !ok {
				break
			}
			n := number(payload)
			if seen[n] {
				t.Fatalf("number %d was sent twice", n)
			}
			seen[n] = true
			underWay = append(underWay, n)
		}
		if len(underWay) > window {
			t.Fatalf("%d under way, want %d at most", len(underWay), window)
		}
		// The newest first, and only half of them.
		for range (len(underWay) + 1) / 2 {
			b.answer(answerOf(b, underWay[len(underWay)-1], "server2"))
			underWay = underWay[:len(underWay)-1]
		}
	}
	if want := (counts{Sent: datagrams, InTime: datagrams}); b.counts != want || b.settled.Load() != datagrams {
		t.Errorf("entered %+v and %d settled, want %+v", b.counts, b.settled.Load(), want)
	}
}

func TestWhatTheKernelRefusesIsSentLater(t *testing.T) {
	b := newBook(3, 1)
	for range 5 {
		slot, _, ok := b.next(0)
		if !ok {
			t.Fatal("nothing to send")
		}
		b.unsent(slot)
	}
	if b.Sent != 0 || b.left != 3 {
		t.Errorf("%d sent and %d left after five refusals, want none and three", b.Sent, b.left)
	}
	for !b.done() {
		_, payload, _ := b.next(0)
		b.answer(answerOf(b, number(payload), "server1"))
	}
	if want := (counts{Sent: 3, InTime: 3}); b.counts != want {
		t.Errorf("entered %+v, want %+v", b.counts, want)
	}
}

func TestASlotIsGivenUpInTimeAndNotBefore(t *testing.T) {
	b := newBook(2, 1)
	b.next(time.Second)
	b.giveUp(time.Second + patience - 1)
	if b.Lost != 0 {
		t.Error("given up too early")
	}
	b.giveUp(time.Second + patience)
	if _, _, ok := b.next(time.Second + patience); b.Lost != 1 || !ok {
		t.Errorf("%d given up, room for the next: %v; want one and room", b.Lost, ok)
	}
	b.stop()
	if b.done() {
		t.Error("done with a datagram under way")
	}
	b.giveUp(time.Hour)
	if !b.done() || b.settled.Load() != 2 {
		t.Errorf("not done with everything given up, %d settled", b.settled.Load())
	}
}

func TestTheDatagramsAreDealtOutToTheLast(t *testing.T) {
	books, _ := newBooks(&settings{Datagrams: 11, Clients: 4, Window: 2, Seed: 1})
	var shares []uint64
	for _, b := range books {
		shares = append(shares, b.left)
	}
	if fmt.Sprint(shares) != "[3 3 3 2]" {
		t.Errorf("11 datagrams are dealt out as %d", shares)
	}
}
