package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"udplab/integration/lab"
)

// line is one line of the balance sheet: the two sides have to be equal.
type line struct{ left, right side }

// side is numbers of datagrams that are added up.
type side []term

// term is a number of datagrams and what they are.
type term struct {
	what string
	n    uint64
}

func (s side) total() (sum uint64) {
	for _, t := range s {
		sum += t.n
	}
	return sum
}

func (s side) String() string {
	var texts []string
	for _, t := range s {
		texts = append(texts, t.what+" "+thousands(t.n))
	}
	return strings.Join(texts, " + ")
}

func (l line) holds() bool { return l.left.total() == l.right.total() }

// String is the line as a person reads it, an empty right side being none.
func (l line) String() string {
	if l.right == nil {
		return fmt.Sprintf("%s %v: none wanted", mark(l.holds()), l.left)
	}
	return fmt.Sprintf("%s %v = %v", mark(l.holds()), l.left, l.right)
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
	equal := func(left side, right ...term) { lines = append(lines, line{left, right}) }
	b, c := f.Balancer, f.Clients

	// A stranger's datagram came to a session's socket: it is received and no
	// client's.
	equal(side{{"sent by the clients", c.Sent}, {"by strangers", b.Dropped["stranger"]}},
		term{"received by the balancer", b.Received}, term{"dropped by the kernel before it", f.ListenerDrops})
	equal(side{{"received", b.Received}}, append(side{{"forwarded", b.Forwarded}}, drops(b)...)...)
	var forwarded, turns, answered side
	for i, s := range b.Backends {
		forwarded = append(forwarded, term{"to " + s.Name, s.Forwarded})
		turns = append(turns, term{s.Name, s.Turns})
		answered = append(answered, term{"answered by " + s.Name, f.Servers[i].Answered})
	}
	equal(side{{"forwarded", b.Forwarded}}, forwarded...)
	equal(side{{"turns", b.Turns}}, turns...)
	for i, s := range b.Backends {
		own := f.Servers[i]
		equal(side{{"forwarded to " + s.Name, s.Forwarded}},
			term{"counted by it", own.Received}, term{"dropped by the kernel before it", own.KernelDrops})
		equal(side{{"counted by " + s.Name, own.Received}},
			term{"answered", own.Answered}, term{"lost on purpose", own.Lost}, term{"failed", own.Failed}, term{"dropped", own.Dropped})
	}
	equal(answered, term{"replied to clients", b.Replied}, term{"dropped by the kernel before the balancer", f.SessionDrops})
	equal(side{{"replied to clients", b.Replied}}, term{"replies in time", c.InTime}, term{"late", c.Late},
		term{"dropped by the kernel before the clients", f.ClientDrops})
	equal(side{{"sent by the clients", c.Sent}},
		term{"answered in time", c.InTime}, term{"late", c.Late}, term{"never", c.Lost - c.Late})

	equal(side{{"turns out of order by the balancer's own check", b.OrderViolations}})
	equal(side{{fmt.Sprintf("turns out of place of %s that were looked at", thousands(f.Looked)), f.OutOfPlace}})
	equal(side{{"turns that a server had too many, or too few", unfair(b)}})
	equal(side{{"replies that no datagram of the client's asked for", c.Misrouted + c.Unmatched}})
	equal(side{{"datagrams answered twice", c.Duplicate}})
	return lines
}

// drops is what the balancer dropped, by the reasons that there were.
func drops(b lab.Status) (terms side) {
	for _, reason := range slices.Sorted(maps.Keys(b.Dropped)) {
		if n := b.Dropped[reason]; n > 0 {
			terms = append(terms, term{"dropped (" + reason + ")", n})
		}
	}
	if terms == nil {
		return side{{"dropped", 0}}
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
