package traffic

import (
	"bytes"
	"math/rand/v2"
	"strconv"
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

// prefix is how every datagram begins.
const prefix = "LOAD "

// write writes a client's datagram into buf, which it grows if need be, and
// returns it: which client sent it, which of that client's it is, and filling.
// It has capitals and digits only, so a ping server repeats it byte for byte:
//
//	LOAD 7 12345 VWXYZABCDEFGHIJKLMNOPQRSTUV
func (s Sizes) write(buf []byte, client int, number uint64) []byte {
	buf = append(buf[:0], prefix...)
	buf = append(strconv.AppendInt(buf, int64(client), 10), ' ')
	buf = append(strconv.AppendUint(buf, number, 10), ' ')
	return append(buf, letters[number%26:][:s.of(client, number)-len(buf)]...)
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
	head, ours := bytes.CutPrefix(payload, []byte(prefix))
	first, head, _ := bytes.Cut(head, []byte(" "))
	second, _, whole := bytes.Cut(head, []byte(" "))
	client, err1 := strconv.Atoi(string(first))
	number, err2 := strconv.ParseUint(string(second), 10, 64)
	if !ours || !whole || err1 != nil || err2 != nil {
		return 0, 0
	}
	return client, number
}
