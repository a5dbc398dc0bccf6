package faults

import (
	"fmt"
	"strings"
	"testing"
)

// taken is turns numbered from first that went to these servers and were
// answered by them.
func taken(first uint64, places string) (turns []Turn) {
	for i, place := range places {
		n := int(place - '0')
		turns = append(turns, Turn{first + uint64(i), n, fmt.Sprintf("CLIENT 1 DATAGRAM 1 server%d", n)})
	}
	return turns
}

// marks are made at these numbers of turns, all in one state: a letter for each
// server, U for up and d for down.
func marks(state string, at ...uint64) (all []Mark) {
	for _, turns := range at {
		m := Mark{Turns: turns, Placed: true}
		for _, letter := range state {
			m.Servers = append(m.Servers, State{Up: letter == 'U', Since: "noon"})
		}
		all = append(all, m)
	}
	return all
}

func TestTurnsAreJudgedWhereTheyCanBe(t *testing.T) {
	steady := []uint64{0, 0, 4, 8, 10, 10}
	for _, c := range []struct {
		name   string
		record Record
		known  int
		wrong  string // in the only problem; empty: none
	}{
		{"nothing", Record{}, 0, ""},
		{"all up, in order", Record{Turns: taken(1, "1231231231"), Marks: marks("UUU", steady...)}, 7, ""},
		{"all up, one twice", Record{Turns: taken(1, "1231231123"), Marks: marks("UUU", steady...)}, 7, "turn 8 is server1's, the one before was server1's: want server2's"},
		{"all up, one left out", Record{Turns: taken(1, "1231231312"), Marks: marks("UUU", steady...)}, 7, "turn 8 is server3's"},
		{"one down, in order", Record{Turns: taken(1, "1313131313"), Marks: marks("UdU", steady...)}, 7, ""},
		{"one down that has a turn", Record{Turns: taken(1, "1313131231"), Marks: marks("UdU", steady...)}, 7, "turn 8 is server2's"},
		{"one up", Record{Turns: taken(1, "2222222222"), Marks: marks("dUd", steady...)}, 7, ""},
		{"one up, and another has a turn", Record{Turns: taken(1, "2222222322"), Marks: marks("dUd", steady...)}, 7, "turn 8 is server3's"},
		{"hold: one down that keeps its turns", Record{Hold: true, Turns: taken(1, "1231231231"), Marks: marks("UdU", steady...)}, 9, ""},
		{"hold: one down that is passed over", Record{Hold: true, Turns: taken(1, "1231313123"), Marks: marks("UdU", steady...)}, 9, "turn 5 is server3's"},
		{"a gap in the turns", Record{Turns: append(taken(1, "12"), taken(6, "12312")...), Marks: marks("UUU", steady...)}, 4, ""},
		{"out of order near a change", Record{
			Turns: taken(1, "1231211111"),
			Marks: append(marks("UUU", 0, 0, 4, 5), marks("Udd", 10, 10, 10)...),
		}, 3, ""},
		{"out of order where it went down and up again between two marks", Record{
			Turns: taken(1, "1231233333"),
			Marks: append(marks("UUU", 0, 0, 4), later(marks("UUU", 10, 10, 10))...),
		}, 0, ""},
		{"a turn across two marks is not judged against the one before", Record{
			Turns: taken(1, "123123"), Marks: marks("UUU", 0, 0, 3, 6, 6, 6),
		}, 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			known, _, wrong := c.record.Judge()
			if known != c.known {
				t.Errorf("%d turns judged, want %d", known, c.known)
			}
			if c.wrong == "" && wrong != nil || c.wrong != "" && (len(wrong) == 0 || !strings.Contains(wrong[0], c.wrong)) {
				t.Errorf("%q, want %q", wrong, c.wrong)
			}
		})
	}
}

// later is the same marks after a change and a change back.
func later(marks []Mark) []Mark {
	for _, m := range marks {
		m.Servers[1].Since = "five past noon"
	}
	return marks
}

func TestWhoAnsweredIsJudgedWhereEverybodyIsInPlace(t *testing.T) {
	answeredBy2 := func() []Turn {
		turns := taken(1, "123123123")
		turns[4].Reply, turns[6].Reply, turns[7].Reply = "", "CLIENT 1 DATAGRAM 1 server2", "healthy" // of 2, 1 and 2
		return turns
	}
	r := Record{Turns: answeredBy2(), Marks: marks("UUU", 0, 0, 4, 8, 9, 9)}
	if _, named, wrong := r.Judge(); named != 8 || len(wrong) != 2 || !strings.Contains(wrong[0], "turn 7 is server1's, and was answered ") {
		t.Errorf("%d judged, %q; want 8, and turns 7 and 8 to be wrong", named, wrong)
	}
	r.Marks[3].Placed = false
	if _, named, wrong := r.Judge(); named != 0 || wrong != nil {
		t.Errorf("%d judged, %q; want none near a move", named, wrong)
	}
}
