package main

import "math/bits"

// A datagram says which client sent it and which of that client's it is, then
// fills itself up. It has capitals and digits only, so that the answer of a
// ping server repeats it byte for byte:
//
//	SOAK 0007 000000012345 ABCDEFGHIJKLMNOPQRSTUVWX
const (
	headSize = len("SOAK 0007 000000012345 ")
	// Most datagrams are as long as a ping, and the answer of such a one fits
	// into what the balancer's ledger remembers of it.
	usualSize = 48
	// One in oddOnes is longer, by up to maxSize altogether.
	oddOnes = 16
	maxSize = 1400
)

// filling is cut from, beginning at any letter.
var filling = func() (text []byte) {
	for i := range maxSize + 26 {
		text = append(text, 'A'+byte(i%26))
	}
	return text
}()

// size is how long a client's datagram of this number is: a matter of the seed.
func size(seed uint64, client int, number uint64) int {
	// What makes neighbours differ is the high half of a product: wyhash's mixing.
	high, low := bits.Mul64(seed^0x9E3779B97F4A7C15^uint64(client)<<40, number*0xD6E8FEB86659FD93+1)
	dice := high ^ low
	if dice%oddOnes != 0 {
		return usualSize
	}
	return usualSize + int(dice/oddOnes%(maxSize-usualSize+1))
}

// write fills buf, which has room for maxSize, with a client's datagram and
// returns as much of it as that takes.
func write(buf []byte, seed uint64, client int, number uint64) []byte {
	buf = buf[:size(seed, client, number)]
	copy(buf, "SOAK ")
	digits(buf[5:9], uint64(client))
	buf[9] = ' '
	digits(buf[10:22], number)
	buf[22] = ' '
	copy(buf[headSize:], filling[number%26:])
	return buf
}

// digits fills to with a decimal number.
func digits(to []byte, n uint64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = '0' + byte(n%10)
		n /= 10
	}
}

// number reads the number of the datagram that an answer repeats; 0 if it is
// none of ours.
func number(answer []byte) (n uint64) {
	if len(answer) < headSize {
		return 0
	}
	for _, digit := range answer[10:22] {
		if digit < '0' || digit > '9' {
			return 0
		}
		n = n*10 + uint64(digit-'0')
	}
	return n
}
