package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
)

// taken is turns numbered from first that went to these servers and were
// answered by them, to clients with numbers from 1.
func taken(first uint64, places string) (turns []Turn) {
	for i, place := range places {
		n := int(place - '0')
		turns = append(turns, Turn{Turn: lab.Turn{
			Turn: first + uint64(i), Place: n, Reply: fmt.Sprintf("LOAD %07d 000000000001 ABCDEF server%d", i+1, n),
		}})
	}
	return turns
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// marks are made at these numbers of turns, all in one state: a letter for each
// server, U for up and d for down.
func marks(state string, at ...uint64) (all []Mark) {
	for _, turns := range at {
		m := Mark{Turns: turns, Placed: true}
		for _, letter := range state {
			m.Servers = append(m.Servers, State{Up: letter == 'U', Since: noon})
		}
		all = append(all, m)
	}
	return all
}

// later is the same marks after a change and a change back.
func later(marks []Mark) []Mark {
	for _, m := range marks {
		m.Servers[1].Since = noon.Add(time.Minute)
	}
	return marks
}

// elsewhere is the same marks with a server at another address.
func elsewhere(marks []Mark) []Mark {
	for _, m := range marks {
		m.Servers[1].Addr = anywhere
	}
	return marks
}

func TestTurnsAreJudgedWhereTheyCanBe(t *testing.T) {
	steady := []uint64{0, 0, 4, 8, 10, 10}
	for _, c := range []struct {
		name    string
		record  Record
		ordered int
		wrong   string // in the only problem; empty: none
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
			ordered, _, wrong := c.record.Judge()
			if ordered != c.ordered {
				t.Errorf("%d turns judged, want %d", ordered, c.ordered)
			}
			for _, text := range wrong { // a turn that is out of order is judged twice
				if c.wrong == "" || !strings.Contains(wrong[0], c.wrong) {
					t.Errorf("%q, want %q", text, c.wrong)
				}
			}
			if c.wrong != "" && len(wrong) == 0 {
				t.Errorf("nothing is wrong, want %q", c.wrong)
			}
		})
	}
}

func TestTheServerThatAnsweredIsJudgedWhereItIsCertain(t *testing.T) {
	answered := func(read int) []Turn {
		turns := taken(1, "123123123")
		turns[4].Reply = ""
		turns[6].Reply = strings.Replace(turns[6].Reply, "server1", "server2", 1)
		turns[7].Reply = "healthy"
		for i := range turns {
			turns[i].Mark = read
		}
		return turns
	}
	steady := marks("UUU", 0, 0, 4, 8, 9, 9, 9)
	late, moved := marks("UUU", 0, 0, 4, 8, 9, 9, 9), append(marks("UUU", 0, 0, 4, 8, 9), elsewhere(marks("UUU", 9, 9))...)
	for i := range late {
		late[i].Clients = 100
	}
	unplaced := marks("UUU", 0, 0, 4, 8, 9, 9, 9)
	unplaced[3].Placed = false
	for _, c := range []struct {
		name   string
		record Record
		named  int
		wrong  int
	}{
		{"nothing changes, and turn 7 is answered by another", Record{Turns: answered(4), Marks: steady}, 7, 1},
		{"a server is not where the balancer takes it to be", Record{Turns: answered(4), Marks: unplaced}, 0, 0},
		{"a server has moved before the replies are read", Record{Turns: answered(5), Marks: moved}, 0, 0},
		{"replies to clients from before", Record{Turns: answered(4), Marks: late}, 0, 0},
		{"the last look is the one that read them", Record{Turns: answered(6), Marks: steady}, 0, 0},
	} {
		if _, named, wrong := c.record.Judge(); named != c.named || len(wrong) != c.wrong {
			t.Errorf("%s: %d judged, %q; want %d judged and %d wrong", c.name, named, wrong, c.named, c.wrong)
		}
	}
}
