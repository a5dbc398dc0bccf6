package traffic

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func isOurs(name []byte) bool { return bytes.HasPrefix(name, []byte("server")) }

func settings(count uint64, window int) Settings {
	return Settings{Client: 1, Count: count, Window: window, Timeout: time.Second, Sizes: Sizes{Usual: PingSize, Most: 1400, Seed: 3}, Server: isOurs}
}

// replyTo is what a ping server sends back to a client's datagram.
func replyTo(client int, number uint64, server string) []byte {
	return fmt.Appendf(nil, "%s %s", settings(0, 0).write(nil, client, number), server)
}

func TestEveryReplyIsRecordedOnce(t *testing.T) {
	changed := replyTo(1, 1, "server1")
	changed[PingSize-1] ^= 1
	late := replyTo(1, 2, "server1")
	// Number 1 is in flight, number 2 is lost, number 3 was answered.
	for _, c := range []struct {
		name  string
		reply []byte
		times int
		want  Counts
		last  Outcome
	}{
		{"a reply in time", replyTo(1, 1, "server3"), 1, Counts{InTime: 1}, InTime},
		{"the same reply again", replyTo(1, 1, "server3"), 2, Counts{InTime: 1, Duplicate: 1}, Duplicate},
		{"a late reply that comes three times", late, 3, Counts{Late: 1, Duplicate: 2}, Duplicate},
		{"a reply to what was never sent", replyTo(1, 99, "server1"), 1, Counts{Unmatched: 1}, Unmatched},
		{"another client's reply", replyTo(2, 1, "server1"), 1, Counts{Misrouted: 1}, Misrouted},
		{"a reply of an unknown server", replyTo(1, 1, "guest"), 1, Counts{Unmatched: 1}, Unmatched},
		{"a reply with a changed byte", changed, 1, Counts{Unmatched: 1}, Unmatched},
		{"a late reply with a byte too many", append(bytes.Clone(late[:PingSize]), "X server1"...), 1, Counts{Unmatched: 1}, Unmatched},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBook(settings(10, 3))
			for _, now := range []time.Duration{5 * time.Second, 0, 5 * time.Second} {
				if _, _, ok := b.Next(now); !ok {
					t.Fatal("a window of three takes three datagrams")
				}
			}
			if _, _, ok := b.Next(0); ok {
				t.Fatal("a window of three takes four datagrams")
			}
			b.Reply(replyTo(1, 3, "server1"), 5*time.Second)
			b.Expire(5 * time.Second)
			if b.Missing() != 1 || b.InFlight() != 1 {
				t.Fatalf("%d missing and %d in flight, want number 2 and number 1", b.Missing(), b.InFlight())
			}
			var last Outcome
			var server []byte
			var trip time.Duration
			for range c.times {
				server, trip, last = b.Reply(c.reply, 6*time.Second)
			}
			c.want.Sent, c.want.Lost = 3, 1
			c.want.InTime++ // number 3
			if b.Counts != c.want || last != c.last || b.Settled() != b.InTime+b.Lost {
				t.Errorf("recorded %+v, the last as %v, %d settled; want %+v and %v", b.Counts, last, b.Settled(), c.want, c.last)
			}
			if last == InTime && (string(server) != "server3" || trip != time.Second) {
				t.Errorf("%q answered after %v, want server3 after 1s", server, trip)
			}
		})
	}
}

func TestAnEchoIsTheSameBytesAndNothingMore(t *testing.T) {
	s := settings(2, 2)
	s.Server = nil
	b := NewBook(s)
	_, payload, _ := b.Next(0)
	b.Reply(append(bytes.Clone(payload), " server1"...), 0)
	b.Reply(payload, 0)
	if want := (Counts{Sent: 1, InTime: 1, Unmatched: 1}); b.Counts != want {
		t.Errorf("recorded %+v, want %+v", b.Counts, want)
	}
}

func TestTheWindowIsNeverExceededAndEverythingIsSentOnce(t *testing.T) {
	const count, window = 1000, 7
	b := NewBook(settings(count, window))
	seen := map[uint64]bool{}
	var inFlight []uint64
	for refused := 0; !b.Done(); {
		for number, payload, ok := b.Next(0); ok; number, payload, ok = b.Next(0) {
			if _, says := parse(payload); seen[number] || says != number {
				t.Fatalf("number %d was sent twice, or as %d", number, says)
			}
			seen[number] = true
			if refused++; refused%10 == 0 {
				b.Unsent(number)
				continue
			}
			inFlight = append(inFlight, number)
		}
		if len(inFlight) > window || len(inFlight) != b.InFlight() {
			t.Fatalf("%d in flight, the book says %d, want %d at most", len(inFlight), b.InFlight(), window)
		}
		for range (len(inFlight) + 1) / 2 { // the newest first, and only half of them
			last := len(inFlight) - 1
			b.Reply(replyTo(1, inFlight[last], "server2"), 0)
			inFlight = inFlight[:last]
		}
	}
	if want := (Counts{Sent: count, InTime: count}); b.Counts != want {
		t.Errorf("recorded %+v, want %+v", b.Counts, want)
	}
}

func TestADatagramIsLostAtItsTimeoutAndNotBefore(t *testing.T) {
	b := NewBook(settings(2, 1))
	b.Next(time.Second)
	b.Expire(2*time.Second - 1)
	if b.Lost != 0 {
		t.Error("lost too early")
	}
	b.Expire(2 * time.Second)
	if _, _, ok := b.Next(2 * time.Second); b.Lost != 1 || !ok {
		t.Errorf("%d lost, room for the next: %v; want one and room", b.Lost, ok)
	}
	b.Stop()
	if b.Done() {
		t.Error("done with a datagram in flight")
	}
	b.Expire(time.Hour)
	if !b.Done() || b.Settled() != 2 {
		t.Errorf("not done with everything lost, %d settled", b.Settled())
	}
}

func TestTheDatagramsAreDealtOutToTheLast(t *testing.T) {
	var shares []uint64
	for _, b := range NewBooks(4, settings(11, 2)) {
		shares = append(shares, b.left)
	}
	if fmt.Sprint(shares) != "[3 3 3 2]" {
		t.Errorf("11 datagrams are dealt out as %d", shares)
	}
}

func TestADatagramSaysWhoseItIsAndIsTheSameInUpperCase(t *testing.T) {
	s := settings(0, 0).Sizes
	other := s
	other.Seed++
	var buf []byte
	long, seed, client := 0, 0, 0
	for n := uint64(1); n <= 10_000; n++ {
		buf = s.write(buf, 12, n)
		if client, number := parse(buf); client != 12 || number != n || !bytes.Equal(buf, bytes.ToUpper(buf)) {
			t.Fatalf("number %d is %q, read as client %d, number %d", n, buf, client, number)
		}
		if len(buf) < s.Usual || len(buf) > s.Most {
			t.Fatalf("number %d has %d bytes, want %d to %d", n, len(buf), s.Usual, s.Most)
		}
		for count, differs := range map[*int]bool{&long: len(buf) != s.Usual, &seed: len(buf) != other.of(12, n), &client: len(buf) != s.of(13, n)} {
			if differs {
				*count++
			}
		}
	}
	if long < 300 || long > 1200 || seed == 0 || client == 0 {
		t.Errorf("of 10,000 %d are longer than usual, want about one in sixteen; with another seed %d differ, of another client %d", long, seed, client)
	}
	for _, text := range []string{"", "PING 7 10:04:05.120 server2 and more", "LOAD 1", "LOAD 1 12X ABC", "LOAD X 12 ABC", "LOUD 1 12 ABC", "LOAD 1 12"} {
		if _, number := parse([]byte(text)); number != 0 {
			t.Errorf("%q is number %d", text, number)
		}
	}
}

func TestWritingAndReadingADatagramAllocatesNothing(t *testing.T) {
	s, buf := settings(0, 0).Sizes, make([]byte, 0, 1400)
	if n := testing.AllocsPerRun(100, func() { buf = s.write(buf, 12, 3); parse(buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
