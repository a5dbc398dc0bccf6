package main

import (
	"bytes"
	"testing"
)

func TestADatagramSaysWhoseItIsAndIsTheSameInUpperCase(t *testing.T) {
	buf := make([]byte, maxSize)
	long := 0
	for n := uint64(1); n <= 10_000; n++ {
		d := write(buf, 7, 12, n)
		if len(d) < usualSize || len(d) > maxSize || !bytes.HasPrefix(d, []byte("SOAK 0012 0000000")) {
			t.Fatalf("number %d is %q", n, d)
		}
		if got := number(d); got != n {
			t.Fatalf("number %d reads as %d", n, got)
		}
		if !bytes.Equal(d, bytes.ToUpper(d)) {
			t.Fatalf("a ping server would change %q", d)
		}
		if len(d) != usualSize {
			long++
		}
	}
	if want := 10_000 / oddOnes; long < want/2 || long > want*2 {
		t.Errorf("%d of 10,000 are longer than usual, want about %d", long, want)
	}
}

func TestSeedAndClientSayHowLongADatagramIs(t *testing.T) {
	other, client := 0, 0
	for n := uint64(1); n <= 1000; n++ {
		if size(1, 1, n) != size(2, 1, n) {
			other++
		}
		if size(1, 1, n) != size(1, 2, n) {
			client++
		}
	}
	if other == 0 || client == 0 {
		t.Errorf("of 1,000 sizes %d differ with another seed, %d with another client, want some of each", other, client)
	}
}

func TestWhatIsNoDatagramOfOursHasNoNumber(t *testing.T) {
	for _, answer := range []string{"", "SOAK 0001", "PING 7 10:04:05.120 server2", "SOAK 0001 00000000000X ABC"} {
		if n := number([]byte(answer)); n != 0 {
			t.Errorf("%q has number %d", answer, n)
		}
	}
}
