package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// read turns "1 2 . 1" into turns, where a dot is a silent server and a number
// the one with that number.
func read(text string) (turns []string) {
	for _, name := range strings.Fields(text) {
		switch {
		case name == ".":
			name = ""
		case name[0] >= '0' && name[0] <= '9':
			name = "server" + name
		}
		turns = append(turns, name)
	}
	return turns
}

func TestWhatTheTurnsOfARunTell(t *testing.T) {
	for _, tt := range []struct {
		name     string
		turns    string
		expected string
		drawn    string
		next     string
		cycle    string
		why      string // next is not known
	}{
		{"nothing", "", "", "", "", "", tooFew},
		{"nobody answered", ". . .", "", "", "", "", tooFew},
		{"one full round may be part of a longer one", "1 2 3", "", "1 2 3", "", "", tooFew},
		{"one that came round again", "1 2 3 1", "", "1 2 3  1", "server2", "server1 server2 server3", ""},
		{"begun in the middle", "3 1 2 3 1", "", "3  1 2 3  1", "server2", "server1 server2 server3", ""},
		{"a lost answer keeps its place", "2 3 . 2 3 1 2 3 1 2", "", "2 3  · 2 3  1 2 3  1 2", "server3", "server1 server2 server3", ""},
		{"the last is lost", "1 2 3 1 2 .", "", "1 2 3  1 2 ·", "server1", "server1 server2 server3", ""},
		{"a server that never answers", "1 2 . 1 2 . 1", "", "1 2 ·  1 2 ·  1", "server2", "", ""},
		{"the one that never answers is next", "1 2 . 1 2", "", "1 2 ·  1 2", "", "", silentNext},
		{"two servers six apart: in rounds of two, three or six", "1 2 . . . . 1 2", "", "1 2 · · · ·  1 2", "", "", tooFew},
		{"rounds of two or four, and both say the same", "1 2 . . 1 2", "", "1 2 · ·  1 2", "", "", tooFew},
		{"a skipped server", "1 2 3 1 3 1 3", "", "1 2 3  1 3  1 3", "", "", noRotation},
		{"two servers that alternate", "1 3 1 3", "", "1 3  1 3", "server1", "server1 server3", ""},
		{"others take turns in between", "1 3 2 1 3 2", "", "1 3 2  1 3 2", "", "", noRotation},
		{"two clients at once, one of them", "3 1 3 2 1 3 2 1 3 2", "", "3  1 3 2  1 3 2  1 3 2", "", "", noRotation},
		{"two clients at once, the other", "2 1 3 2 1 3 2 1 3 1", "", "2  1 3 2  1 3 2  1 3  1", "", "", noRotation},
		{"always the same server is no rotation", "1 1 1", "", "1 1 1", "", "", oneServer},
		{"an unnamed one may be anybody", "1 ? 1 ?", "", "1 ?  1 ?", "", "", noName},
		{"at random", "1 1 2 3 2 1", "", "1  1 2 3 2  1", "", "", noRotation},
		{"ten servers, counted as people do", "9 10 1 2 3 4 5 6 7 8 9", "", "9 10  1 2 3 4 5 6 7 8 9", "server10",
			"server1 server2 server3 server4 server5 server6 server7 server8 server9 server10", ""},
		{"names without numbers", "beta gamma alpha beta", "", "beta gamma  alpha beta", "gamma", "alpha beta gamma", ""},
		{"numbers behind different names", "a1 b1 a1", "", "a1 b1  a1", "b1", "a1 b1", ""},
		{"an expected cycle needs one answer", ". 2", "server1,server2,server3", "· 2", "server3", "server1 server2 server3", ""},
		{"an expected cycle in its own order", "3 1 2", "server3,server1,server2", "3  1 2", "server3", "server1 server2 server3", ""},
		{"an expected cycle that is broken", "1 3", "server1,server2,server3", "1 3", "", "", unexpected},
		{"an expected cycle and no answer", ". .", "server1,server2,server3", "", "", "", unexpected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var expected cycle
			if tt.expected != "" {
				expected = strings.Split(tt.expected, ",")
			}
			o := orderOf(read(tt.turns), expected)
			if got := o.String(); got != tt.drawn {
				t.Errorf("drawn as %q, want %q", got, tt.drawn)
			}
			if got := o.next(); got != tt.next {
				t.Errorf("next is %q, want %q", got, tt.next)
			}
			if got := o.whyNot(); tt.next == "" && got != tt.why {
				t.Errorf("why is %q, want %q", got, tt.why)
			}
			if got := strings.Join(o.cycle(), " "); got != tt.cycle {
				t.Errorf("cycle is %q, want %q", got, tt.cycle)
			}
		})
	}
}

// TestNoRotationIsMisread drops answers from true rotations in every way and
// checks that whatever is claimed about them is true.
func TestNoRotationIsMisread(t *testing.T) {
	claims := 0
	for servers := 2; servers <= 4; servers++ {
		for start := range servers {
			for length := range 11 {
				for lost := range 1 << length {
					turns := make([]string, length)
					for turn := range turns {
						if lost&(1<<turn) == 0 {
							turns[turn] = fmt.Sprintf("server%d", (start+turn)%servers+1)
						}
					}
					o := orderOf(turns, nil)
					next := o.next()
					if next == "" {
						continue
					}
					claims++
					if want := fmt.Sprintf("server%d", (start+length)%servers+1); next != want {
						t.Fatalf("%q: next is %s, want %s", turns, next, want)
					}
				}
			}
		}
	}
	if claims == 0 {
		t.Error("nothing was ever claimed")
	}
}

func TestALongOrderIsCutAtItsBeginning(t *testing.T) {
	turns := make([]string, 100)
	for i := range turns {
		turns[i] = fmt.Sprintf("server%d", i%3+1)
	}
	got := orderOf(turns, nil).String()
	if !strings.HasPrefix(got, "… 2 3  1 2 3") || len(strings.Fields(got)) != 1+shownTurns || !strings.HasSuffix(got, "3  1") {
		t.Errorf("%s", got)
	}
}

func TestTheTurnKeeperBeginsWithTheFirstAnswer(t *testing.T) {
	k := turnKeeper{cycle: cycle{"a", "b", "c"}}
	for _, step := range []struct {
		turn   int
		server string
		whose  string
		ok     bool
	}{
		{4, "b", "b", true}, // so turn 0 is a's
		{5, "c", "c", true},
		{2, "c", "c", true}, // a late answer
		{7, "c", "b", false},
		{8, "x", "c", false},
	} {
		if whose, ok := k.check(step.turn, step.server); whose != step.whose || ok != step.ok {
			t.Errorf("turn %d by %s: %s, %v; want %s, %v", step.turn, step.server, whose, ok, step.whose, step.ok)
		}
	}
}

func TestNamesAreOrderedAsPeopleCount(t *testing.T) {
	want := []string{"alpha", "server", "server1", "server2", "server02", "server10", "server11", "web1", unnamed}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNames)
	// server2 and server02 are the same number: the texts decide.
	want[3], want[4] = "server02", "server2"
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
