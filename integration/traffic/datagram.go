package traffic

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
)

// A datagram says which client sent it and which of that client's it is, and
// is then filled up. It has capitals and digits only, so a ping server repeats
// it byte for byte:
//
//	LOAD 0000007 000000012345 ABCDEFGHIJKLMNOPQRSTUV
const (
	clientAt, numberAt = 5, 13
	headSize           = 26
)

// Sizes says how long datagrams are, in bytes.
type Sizes struct {
	Usual int
	// Most is how long one in sixteen may be, at random; 0 means that all have
	// the usual length.
	Most int
	Seed uint64 // the same seed, the same lengths
}

// PingSize is about the length of a ping. The balancer's ledger remembers the
// whole reply to such a datagram.
const PingSize = 48

// of is how long a client's datagram of this number is.
func (s Sizes) of(client int, number uint64) int {
	if s.Most <= s.Usual {
		return s.Usual
	}
	random := rand.NewPCG(s.Seed^uint64(client)<<40, number).Uint64()
	if random%16 != 0 {
		return s.Usual
	}
	return s.Usual + int(random/16%uint64(s.Most-s.Usual+1))
}

// letters is what datagrams are filled up with, from any letter on.
var letters = bytes.Repeat([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), (1<<16)/26+1)

// write writes a client's datagram into buf, which it grows if need be, and
// returns it.
func (s Sizes) write(buf []byte, client int, number uint64) []byte {
	buf = slices.Grow(buf[:0], max(s.Usual, s.Most))[:s.of(client, number)]
	copy(buf, "LOAD ")
	writeDigits(buf[clientAt:numberAt-1], uint64(client))
	buf[numberAt-1] = ' '
	writeDigits(buf[numberAt:headSize-1], number)
	buf[headSize-1] = ' '
	copy(buf[headSize:], letters[number%26:])
	return buf
}

func writeDigits(to []byte, n uint64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = '0' + byte(n%10)
		n /= 10
	}
}

// Client is the client of the datagram that a payload begins with; 0 means that
// it is none of ours.
func Client(payload []byte) int {
	client, _ := parse(payload)
	return client
}

// parse reads which datagram a payload begins with; the number is 0 if it is
// none of ours.
func parse(payload []byte) (client int, number uint64) {
	if len(payload) < headSize {
		return 0, 0
	}
	c, err := strconv.ParseUint(string(payload[clientAt:numberAt-1]), 10, 64)
	number, also := strconv.ParseUint(string(payload[numberAt:headSize-1]), 10, 64)
	if err != nil || also != nil {
		return 0, 0
	}
	return int(c), number
}
