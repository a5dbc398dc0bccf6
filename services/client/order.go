package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A run sees one turn of the balancer per ping, and from the answers who had
// it. If servers take turns in a strict rotation, a few answers tell who had
// the turns that stayed silent and who is next. This file draws only the
// conclusions that no rotation contradicts.

// order is what the turns of one run say about the rotation.
type order struct {
	turns []string // by turn: who had it, or "" if nobody said
	// rotations are all those that explain the turns; none if nothing does,
	// or too little was seen to tell.
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
)

// rotation is a way to take turns: the server of turn t is at t modulo the
// length, or "" if it has not answered yet.
type rotation []string

func (r rotation) at(turn int) string { return r[turn%len(r)] }

// orderOf reads the turns. If a cycle is expected, it is the only rotation
// that can explain them.
func orderOf(turns []string, expected cycle) order {
	o := order{turns: turns}
	if expected != nil {
		if r := aligned(turns, expected); r != nil {
			o.rotations = []rotation{r}
			return o
		}
		return o.unknown(unexpected)
	}
	o.rotations, o.reason = rotations(turns)
	return o
}

// unknown is the order when nobody can tell it, for this reason.
func (o order) unknown(reason string) order {
	o.rotations, o.reason = nil, reason
	return o
}

// aligned is the cycle turned so that it explains the turns, or nil.
func aligned(turns []string, c cycle) rotation {
	keeper := turnKeeper{cycle: c}
	for turn, server := range turns {
		if server == "" {
			continue
		}
		if _, ok := keeper.check(turn, server); !ok {
			return nil
		}
	}
	if !keeper.started {
		return nil
	}
	r := make(rotation, len(c))
	for turn := range r {
		r[turn] = keeper.server(turn)
	}
	return r
}

// rotations finds every rotation that explains the turns: each server in one
// place of its own, in the order of the names. Two servers must have answered,
// one of them twice: before that, a longer rotation is always possible. If it
// finds none, it says why.
func rotations(turns []string) (found []rotation, reason string) {
	first := map[string]int{}
	step := 0 // a server's turns are a multiple of the rotation's length apart
	for turn, server := range turns {
		if server == unnamed {
			return nil, noName
		}
		if server == "" {
			continue
		}
		if before, seen := first[server]; seen {
			step = gcd(step, turn-before)
		} else {
			first[server] = turn
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
		if r, ok := fold(first, length); ok {
			if !r.ascends() {
				// Other clients take turns in between, or the names do
				// not say the order: either way the next is anyone's.
				return nil, noRotation
			}
			found = append(found, r)
		}
	}
	if found == nil {
		return nil, noRotation
	}
	return found, ""
}

// fold puts the servers into a rotation of this length, each by one of its
// turns. ok is false if two fall into one place.
func fold(turnOf map[string]int, length int) (r rotation, ok bool) {
	r = make(rotation, length)
	for server, turn := range turnOf {
		if r[turn%length] != "" {
			return nil, false
		}
		r[turn%length] = server
	}
	return r, true
}

// ascends says whether the known servers stand in the order of their names,
// wherever the rotation starts.
func (r rotation) ascends() bool {
	known := slices.DeleteFunc(slices.Clone(r), func(s string) bool { return s == "" })
	descents := 0
	for i, server := range known {
		if compareNames(server, known[(i+1)%len(known)]) > 0 {
			descents++
		}
	}
	return descents <= 1
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// who is the server of a turn, past or to come: as seen, or what every
// possible rotation says, or "" if that is not known.
func (o order) who(turn int) string {
	if turn < len(o.turns) && o.turns[turn] != "" {
		return o.turns[turn]
	}
	if len(o.rotations) == 0 {
		return ""
	}
	server := o.rotations[0].at(turn)
	for _, r := range o.rotations[1:] {
		if r.at(turn) != server {
			return ""
		}
	}
	return server
}

// next is the server whose turn comes after the run, or "" if that cannot be
// known.
func (o order) next() string { return o.who(len(o.turns)) }

// whyNot is why next is not known.
func (o order) whyNot() string {
	switch {
	case len(o.rotations) == 0:
		return o.reason
	case len(o.rotations) == 1:
		return silentNext
	}
	return tooFew
}

// cycle is the whole rotation from the first server by name, or nil as long
// as it is not known.
func (o order) cycle() cycle {
	if len(o.rotations) != 1 || slices.Contains(o.rotations[0], "") {
		return nil
	}
	r := o.rotations[0]
	start := slices.Index(r, slices.MinFunc(r, compareNames))
	return cycle(slices.Concat(r[start:], r[:start]))
}

// shownTurns is how many turns are drawn: more do not fit a screen.
const shownTurns = 60

// String draws the latest turns: `2 3  · 2 3  1 2 3`. A dot is a turn whose
// server is silent, a wider gap the beginning of a round, and an ellipsis
// stands for the turns before. It is empty if no server is known.
func (o order) String() string {
	names := slices.DeleteFunc(slices.Clone(o.turns), func(s string) bool { return s == "" })
	if len(names) == 0 {
		return ""
	}
	slices.SortFunc(names, compareNames)
	names = slices.Compact(names)
	label := labels(names)

	var b strings.Builder
	begin := max(0, len(o.turns)-shownTurns)
	if begin > 0 {
		b.WriteString("… ")
	}
	for turn := begin; turn < len(o.turns); turn++ {
		if turn > begin {
			b.WriteByte(' ')
			if len(names) > 1 && o.who(turn) == names[0] {
				b.WriteByte(' ')
			}
		}
		if server := o.turns[turn]; server != "" {
			b.WriteString(label(server))
		} else {
			b.WriteString("·")
		}
	}
	return b.String()
}

// labels is how to write these servers in short: by their number if that is
// all in which they differ, otherwise by their name.
func labels(names []string) func(name string) string {
	common := ""
	for i, name := range names {
		prefix, number := splitNumber(name)
		if name == unnamed {
			continue
		}
		if number == "" || i > 0 && prefix != common {
			return printable
		}
		common = prefix
	}
	return func(name string) string { return printable(strings.TrimPrefix(name, common)) }
}

// compareNames orders servers as people count: server2 before server10, and
// the unnamed last.
func compareNames(a, b string) int {
	if a == unnamed || b == unnamed {
		return cmp.Compare(boolInt(a == unnamed), boolInt(b == unnamed))
	}
	prefixA, numberA := splitNumber(a)
	prefixB, numberB := splitNumber(b)
	numberA, numberB = strings.TrimLeft(numberA, "0"), strings.TrimLeft(numberB, "0")
	return cmp.Or(
		strings.Compare(prefixA, prefixB),
		cmp.Compare(len(numberA), len(numberB)),
		strings.Compare(numberA, numberB),
		strings.Compare(a, b),
	)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// splitNumber splits a name before the digits it ends with.
func splitNumber(name string) (prefix, number string) {
	prefix = strings.TrimRight(name, "0123456789")
	return prefix, name[len(prefix):]
}

// turnKeeper holds answers against the cycle that was expected. The first
// answer says where in the cycle the run began.
type turnKeeper struct {
	cycle   cycle
	started bool
	offset  int // of turn 0 in the cycle
}

// check says whether the server may have had this turn, and if not, whose it
// was: a name, or "" for any of the cycle.
func (k *turnKeeper) check(turn int, server string) (whose string, ok bool) {
	place := slices.Index(k.cycle, server)
	if !k.started {
		if place < 0 {
			return "", false
		}
		n := len(k.cycle)
		k.offset = ((place-turn)%n + n) % n
		k.started = true
	}
	return k.server(turn), k.server(turn) == server
}

// server is who has this turn, once started.
func (k *turnKeeper) server(turn int) string {
	return k.cycle[(k.offset+turn)%len(k.cycle)]
}

// outOfTurn is the error of a run that expected a cycle. Exit code 1.
type outOfTurn struct {
	seq    int
	server string
	whose  string // "": anybody's of the cycle
	cycle  cycle
}

func (e outOfTurn) Error() string {
	whose := printable(e.whose)
	if e.whose == "" {
		whose = "one of " + printable(strings.Join(e.cycle, ", "))
	}
	return fmt.Sprintf("out of turn: seq=%d was answered by %s, expected %s", e.seq, printable(e.server), whose)
}
