package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
)

// taken is turns numbered from first that went to these servers and were
// answered by them, to clients with numbers from 1.
func taken(first uint64, places string) (turns []turn) {
	for i, place := range places {
		n := int(place - '0')
		turns = append(turns, turn{Turn: lab.Turn{
			Turn: first + uint64(i), Place: n, Reply: fmt.Sprintf("LOAD %07d 000000000001 ABCDEF server%d", i+1, n),
		}})
	}
	return turns
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// marks are made at these numbers of turns, all in one state: a letter for each
// server, U for up, d for down, and u for up again.
func marks(ups string, at ...uint64) (all []mark) {
	for _, turns := range at {
		m := mark{turns: turns, placed: true}
		for _, letter := range ups {
			s := state{up: letter != 'd', since: noon}
			if letter == 'u' {
				s.since = noon.Add(time.Minute)
			}
			m.servers = append(m.servers, s)
		}
		all = append(all, m)
	}
	return all
}

// judge is the judgement of a record with these marks.
func judge(r record, marks []mark) (ordered, named int, wrong []string) {
	for _, m := range marks {
		r.add(m)
	}
	return r.judge()
}

func TestTurnsAreJudgedWhereTheyCanBe(t *testing.T) {
	steady := []uint64{0, 0, 4, 8, 10, 10}
	for _, c := range []struct {
		name    string
		record  record
		marks   []mark
		ordered int
		wrong   string // in the only problem; empty: none
	}{
		{"nothing", record{}, nil, 0, ""},
		{"all up, in order", record{turns: taken(1, "1231231231")}, marks("UUU", steady...), 7, ""},
		{"all up, one twice", record{turns: taken(1, "1231231123")}, marks("UUU", steady...), 7,
			"turn 8 is server1's, the one before was server1's: want server2's"},
		{"one down, in order", record{turns: taken(1, "1313131313")}, marks("UdU", steady...), 7, ""},
		{"one down that has a turn", record{turns: taken(1, "1313131231")}, marks("UdU", steady...), 7, "turn 8 is server2's"},
		{"one up, and another has a turn", record{turns: taken(1, "2222222322")}, marks("dUd", steady...), 7, "turn 8 is server3's"},
		{"hold: one down that keeps its turns", record{hold: true, turns: taken(1, "1231231231")}, marks("UdU", steady...), 9, ""},
		{"hold: one down that is passed over", record{hold: true, turns: taken(1, "1231313123")}, marks("UdU", steady...), 9, "turn 5 is server3's"},
		{"a gap in the turns", record{turns: append(taken(1, "12"), taken(6, "12312")...)}, marks("UUU", steady...), 4, ""},
		{"out of order near a change", record{turns: taken(1, "1231211111")},
			slices.Concat(marks("UUU", 0, 0, 4, 5), marks("Udd", 10, 10, 10)), 3, ""},
		{"out of order where it went down and up again between two marks", record{turns: taken(1, "1231233333")},
			slices.Concat(marks("UUU", 0, 0, 4), marks("UuU", 10, 10, 10)), 0, ""},
		{"a turn across two marks is not judged against the one before", record{turns: taken(1, "123123")}, marks("UUU", 0, 0, 3, 6, 6, 6), 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ordered, _, wrong := judge(c.record, c.marks)
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
	answered := func(read int) []turn {
		turns := taken(1, "123123123")
		turns[4].Reply = ""
		turns[6].Reply = strings.Replace(turns[6].Reply, "server1", "server2", 1)
		turns[7].Reply = "healthy"
		for i := range turns {
			turns[i].mark = read
		}
		return turns
	}
	marked := func(change func(all []mark)) []mark {
		all := marks("UUU", 0, 0, 4, 8, 9, 9, 9)
		change(all)
		return all
	}
	steady := marked(func([]mark) {})
	unplaced := marked(func(all []mark) { all[3].placed = false })
	moved := marked(func(all []mark) { all[5].servers[1].addr, all[6].servers[1].addr = "elsewhere", "elsewhere" })
	late := marked(func(all []mark) {
		for i := range all {
			all[i].clients = 100
		}
	})
	for _, c := range []struct {
		name   string
		record record
		marks  []mark
		named  int
		wrong  int
	}{
		{"nothing changes, and turn 7 is answered by another", record{turns: answered(4)}, steady, 7, 1},
		{"a server is not where the balancer takes it to be", record{turns: answered(4)}, unplaced, 0, 0},
		{"a server has moved before the replies are read", record{turns: answered(5)}, moved, 0, 0},
		{"replies to clients from before", record{turns: answered(4)}, late, 0, 0},
		{"the last look is the one that read them", record{turns: answered(6)}, steady, 0, 0},
	} {
		if _, named, wrong := judge(c.record, c.marks); named != c.named || len(wrong) != c.wrong {
			t.Errorf("%s: %d judged, %q; want %d judged and %d wrong", c.name, named, wrong, c.named, c.wrong)
		}
	}
}
