package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"udplab/integration/lab"
)

// line is one line of the balance sheet: the two sides have to be equal.
type line struct{ left, right []term }

// term is a number of datagrams and what they are.
type term struct {
	what string
	n    uint64
}

func total(side []term) (sum uint64) {
	for _, t := range side {
		sum += t.n
	}
	return sum
}

func (l line) holds() bool { return total(l.left) == total(l.right) }

// String is the line as a person reads it, an empty right side being none.
func (l line) String() string {
	if len(l.right) == 0 {
		return fmt.Sprintf("%s %s: none wanted", mark(l.holds()), side(l.left))
	}
	return fmt.Sprintf("%s %s = %s", mark(l.holds()), side(l.left), side(l.right))
}

func side(terms []term) string {
	var texts []string
	for _, t := range terms {
		texts = append(texts, t.what+" "+thousands(t.n))
	}
	return strings.Join(texts, " + ")
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// mark stands before a line of the verdict.
func mark(good bool) string {
	if good {
		return "  ok "
	}
	return "WRONG"
}

// sheet follows all datagrams from program to program, and says what must not
// happen at all.
func (f figures) sheet() (lines []line) {
	equal := func(left []term, right ...term) { lines = append(lines, line{left, right}) }
	one := func(what string, n uint64) []term { return []term{{what, n}} }
	b, c := f.Balancer, f.Clients

	// A stranger's datagram came to a session's socket, so it is received and
	// no client's.
	equal([]term{{"sent by the clients", c.Sent}, {"by strangers", b.Dropped["stranger"]}},
		term{"received by the balancer", b.Received}, term{"dropped by the kernel before it", f.ListenerDrops})
	equal(one("received", b.Received), append([]term{{"forwarded", b.Forwarded}}, drops(b)...)...)
	var forwarded, turns, answered []term
	for i, s := range b.Backends {
		forwarded = append(forwarded, term{"to " + s.Name, s.Forwarded})
		turns = append(turns, term{s.Name, s.Turns})
		own := f.Servers[i]
		answered = append(answered, term{"answered by " + s.Name, own.Answered})
	}
	equal(one("forwarded", b.Forwarded), forwarded...)
	equal(one("turns", b.Turns), turns...)
	for i, s := range b.Backends {
		own := f.Servers[i]
		equal(one("forwarded to "+s.Name, s.Forwarded),
			term{"counted by it", own.Received}, term{"dropped by the kernel before it", own.KernelDrops})
		equal(one("counted by "+s.Name, own.Received),
			term{"answered", own.Answered}, term{"lost on purpose", own.Lost}, term{"failed", own.Failed}, term{"dropped", own.Dropped})
	}
	equal(answered, term{"replied to clients", b.Replied}, term{"dropped by the kernel before the balancer", f.SessionDrops})
	equal(one("replied to clients", b.Replied), term{"replies in time", c.InTime}, term{"late", c.Late},
		term{"dropped by the kernel before the clients", f.ClientDrops})
	equal(one("sent by the clients", c.Sent),
		term{"answered in time", c.InTime}, term{"late", c.Late}, term{"never", c.Lost - c.Late})

	equal(one("turns out of order by the balancer's own check", b.OrderViolations))
	equal(one(fmt.Sprintf("turns out of place of %s that were looked at", thousands(f.Looked)), f.OutOfPlace))
	equal(one("turns that a server had too many, or too few", unfair(b)))
	equal(one("replies that no datagram of the client's asked for", c.Misrouted+c.Unmatched))
	equal(one("datagrams answered twice", c.Duplicate))
	return lines
}

// drops is what the balancer dropped, by the reasons that there were.
func drops(b lab.Status) (terms []term) {
	for _, reason := range slices.Sorted(maps.Keys(b.Dropped)) {
		if n := b.Dropped[reason]; n > 0 {
			terms = append(terms, term{"dropped (" + reason + ")", n})
		}
	}
	if terms == nil {
		return []term{{"dropped", 0}}
	}
	return terms
}

// unfair is how far the servers' turns are from t mod n: the first t mod n
// servers have one more than the others.
func unfair(b lab.Status) (off uint64) {
	n := uint64(len(b.Backends))
	for i, s := range b.Backends {
		want := b.Turns / n
		if uint64(i) < b.Turns%n {
			want++
		}
		off += max(want, s.Turns) - min(want, s.Turns)
	}
	return off
}
