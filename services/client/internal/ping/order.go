package ping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"udplab/services/kit/config"
)

// A run sees one turn of the balancer per ping, and the answers say who had it.
// If servers take turns in a strict rotation, a few answers tell who had the
// turns that stayed silent and who is next. This file draws only the conclusions
// that no rotation contradicts. Turns count from 1.

// Order is what the turns of one run say about the rotation.
type Order struct {
	Turns []string // by turn less one: who had it, or "" if nobody said

	// rotations are all those that explain the turns; none if nothing does, or
	// too little was seen to tell.
	rotations []rotation
	reason    string // why there are none
}

// Why nobody can tell who is next.
const (
	tooFew     = "too few answers to tell who is next"
	oneServer  = "only one server has answered, which tells no order"
	noName     = "a server does not say its name, so nobody can tell who is next"
	noRotation = "no rotation in the order of the names, so the next turn may be anyone's: perhaps others ask, too"
	unexpected = "this is not the expected order"
	silentNext = "the next server has not answered yet, so its name is not known"
	twoAnswers = "two servers have answered one ping, so nobody can tell who is next"
)

// rotation is a way to take turns, from turn 1 on: the names of the servers, ""
// for one that has not answered yet.
type rotation []string

func (r rotation) at(turn int) string { return r[(turn-1)%len(r)] }

// agreed is the server that every one of these rotations gives the turn to, or
// "" if they differ or there are none.
func agreed(rotations []rotation, turn int) string {
	server := ""
	for i, r := range rotations {
		if i > 0 && r.at(turn) != server {
			return ""
		}
		server = r.at(turn)
	}
	return server
}

// OrderOf reads the turns of a run, each the server that had it or "" if nobody said.
// If a cycle is expected, no other rotation can explain them.
func OrderOf(turns []string, expected Cycle) Order {
	if expected == nil {
		found, reason := rotations(turns)
		return Order{turns, found, reason}
	}
	possible := expected.rotations()
	for i, server := range turns {
		if server != "" {
			possible = fitting(possible, i+1, server)
		}
	}
	return Order{turns, possible, unexpected}
}

// fitting keeps those of the rotations that give the turn to the server.
func fitting(rotations []rotation, turn int, server string) []rotation {
	return slices.DeleteFunc(rotations, func(r rotation) bool { return r.at(turn) != server })
}

// rotations finds every rotation that explains the turns: each server in one
// place of its own, in the order of the names. Two servers must have answered,
// one of them twice: before that, a longer rotation is always possible. If it
// finds none, it says why.
func rotations(turns []string) (found []rotation, reason string) {
	first := map[string]int{} // turn of each server
	step := 0                 // a server's turns are a multiple of the rotation's length apart
	for i, server := range turns {
		if server == Unnamed {
			return nil, noName
		}
		if server == "" {
			continue
		}
		if before, seen := first[server]; seen {
			step = gcd(step, i+1-before)
		} else {
			first[server] = i + 1
		}
	}
	switch {
	case step == 0:
		return nil, tooFew
	case len(first) == 1:
		return nil, oneServer
	}
	for length := len(first); length <= step; length++ {
		if step%length != 0 {
			continue
		}
		switch r := fold(first, length); {
		case r == nil:
		case r.ascends():
			found = append(found, r)
		default:
			// Other clients take turns in between, or the names do not say the
			// order: either way the next is anyone's.
			return nil, noRotation
		}
	}
	return found, noRotation // which is why there are none, if so
}

// fold puts the servers into a rotation of this length, each by one of its
// turns, or returns nil if two fall into one place.
func fold(turnOf map[string]int, length int) rotation {
	r := make(rotation, length)
	for server, turn := range turnOf {
		if r.at(turn) != "" {
			return nil
		}
		r[(turn-1)%length] = server
	}
	return r
}

// ascends says whether the known servers stand in the order of their names,
// wherever the rotation starts.
func (r rotation) ascends() bool {
	known := slices.DeleteFunc(slices.Clone(r), func(s string) bool { return s == "" })
	return slices.IsSortedFunc(known.fromFirst(), CompareNames)
}

// fromFirst begins the rotation with the first server by name.
func (r rotation) fromFirst() rotation {
	start := slices.Index(r, slices.MinFunc(r, CompareNames))
	return slices.Concat(r[start:], r[:start])
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Who is the server of a turn, past or to come: as seen, or what every possible
// rotation says, or "" if that is not known.
func (o Order) Who(turn int) string {
	if turn <= len(o.Turns) && o.Turns[turn-1] != "" {
		return o.Turns[turn-1]
	}
	return agreed(o.rotations, turn)
}

// Next is the server whose turn comes after the run, or "" if that cannot be
// known.
func (o Order) Next() string { return o.Who(len(o.Turns) + 1) }

// WhyNot is why Next is not known.
func (o Order) WhyNot() string {
	switch len(o.rotations) {
	case 0:
		return o.reason
	case 1:
		return silentNext
	}
	return tooFew
}

// Cycle is the whole rotation from the first server by name, or nil as long as it
// is not known.
func (o Order) Cycle() Cycle {
	if len(o.rotations) != 1 || slices.Contains(o.rotations[0], "") {
		return nil
	}
	return Cycle(o.rotations[0].fromFirst())
}

// Cycle is the names of servers in the order of their turns, each once.
type Cycle []string

// WantCycle says what a cycle looks like, for error messages.
const WantCycle = "servers in the order of their turns, each once, such as server1,server2,server3"

// UnmarshalText reads names separated by commas.
func (c *Cycle) UnmarshalText(text []byte) error {
	names := strings.Split(string(text), ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if names[i] == "" || slices.Contains(names[:i], names[i]) {
			return config.Problem{Value: string(text), Want: WantCycle}
		}
	}
	*c = names
	return nil
}

// rotations are the ways to begin the cycle.
func (c Cycle) rotations() (all []rotation) {
	for start := range c {
		all = append(all, rotation(slices.Concat(c[start:], c[:start])))
	}
	return all
}

// OutOfTurn is the error of a run whose answers broke the expected cycle. Exit
// code 1.
type OutOfTurn struct {
	Seq      int64
	Server   string
	Expected string // "": any server of the cycle
	Cycle    Cycle
}

func (e *OutOfTurn) Error() string {
	expected := Printable(e.Expected)
	if e.Expected == "" {
		expected = "one of " + Printable(strings.Join(e.Cycle, ", "))
	}
	return fmt.Sprintf("out of turn: seq=%d was answered by %s, expected %s", e.Seq, Printable(e.Server), expected)
}

// Printable is text as it is, or quoted if anything in it could make a terminal do
// more than show it: what comes from the network is not trusted.
func Printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }) {
		return strconv.Quote(text)
	}
	return text
}
