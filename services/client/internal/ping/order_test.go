package ping

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// readTurns reads "1 2 . 1" as turns: a dot is a silent server and a number the one
// with that number.
func readTurns(text string) (turns []string) {
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
		next     string
		cycle    string
		why      string // next is not known
	}{
		{"nothing", "", "", "", "", tooFew},
		{"nobody answered", ". . .", "", "", "", tooFew},
		{"one full round may be part of a longer one", "1 2 3", "", "", "", tooFew},
		{"one that came round again", "1 2 3 1", "", "2", "1 2 3", ""},
		{"begun in the middle", "3 1 2 3 1", "", "2", "1 2 3", ""},
		{"a lost answer keeps its place", "2 3 . 2 3 1 2 3 1 2", "", "3", "1 2 3", ""},
		{"the last is lost", "1 2 3 1 2 .", "", "1", "1 2 3", ""},
		{"a server that never answers", "1 2 . 1 2 . 1", "", "2", "", ""},
		{"the one that never answers is next", "1 2 . 1 2", "", "", "", silentNext},
		{"two servers six apart: in rounds of two, three or six", "1 2 . . . . 1 2", "", "", "", tooFew},
		{"rounds of two or four, and both say the same", "1 2 . . 1 2", "", "", "", tooFew},
		{"a skipped server", "1 2 3 1 3 1 3", "", "", "", noRotation},
		{"two servers that alternate", "1 3 1 3", "", "1", "1 3", ""},
		{"others take turns in between", "1 3 2 1 3 2", "", "", "", noRotation},
		{"two clients at once, one of them", "3 1 3 2 1 3 2 1 3 2", "", "", "", noRotation},
		{"two clients at once, the other", "2 1 3 2 1 3 2 1 3 1", "", "", "", noRotation},
		{"always the same server is no rotation", "1 1 1", "", "", "", oneServer},
		{"an unnamed one may be anybody", "1 ? 1 ?", "", "", "", noName},
		{"at random", "1 1 2 3 2 1", "", "", "", noRotation},
		{"ten servers, counted as people do", "9 10 1 2 3 4 5 6 7 8 9", "", "10", "1 2 3 4 5 6 7 8 9 10", ""},
		{"names without numbers", "beta gamma alpha beta", "", "gamma", "alpha beta gamma", ""},
		{"numbers behind different names", "a1 b1 a1", "", "b1", "a1 b1", ""},
		{"an expected cycle needs one answer", ". 2", "1 2 3", "3", "1 2 3", ""},
		{"an expected cycle in its own order", "3 1 2", "3 1 2", "3", "1 2 3", ""},
		{"an expected cycle against the names", "3 2 1", "3 2 1", "3", "1 3 2", ""},
		{"an expected cycle that is broken", "1 3", "1 2 3", "", "", unexpected},
		{"an expected cycle and no answer", ". .", "1 2 3", "", "", tooFew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := OrderOf(readTurns(tt.turns), readTurns(tt.expected))
			if got := o.Next(); got != strings.Join(readTurns(tt.next), "") {
				t.Errorf("next is %q, want %q", got, tt.next)
			}
			if got := o.WhyNot(); tt.next == "" && got != tt.why {
				t.Errorf("why is %q, want %q", got, tt.why)
			}
			if got := o.Cycle(); !slices.Equal(got, readTurns(tt.cycle)) {
				t.Errorf("cycle is %q, want %q", got, tt.cycle)
			}
		})
	}
}

// TestNoRotationIsMisread drops answers from true rotations in every way and checks
// that whatever is claimed about them is true.
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
					next := OrderOf(turns, nil).Next()
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

func TestACycleIsReadFromItsNames(t *testing.T) {
	for text, want := range map[string]string{"a": "a", " a ,\tb": "a b", "": "", ",": "", "a,,b": "", "a,b,a": "", "a, a": ""} {
		var c Cycle
		err := c.UnmarshalText([]byte(text))
		if got := strings.Join(c, " "); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q (%v)", text, got, err)
		}
	}
}

func TestNamesAreOrderedAsPeopleCount(t *testing.T) {
	// server02 and server2 are the same number: the texts decide.
	want := []string{"alpha", "server", "server1", "server02", "server2", "server10", "server11", "web1", Unnamed}
	byServer := map[string]int64{}
	for _, name := range want {
		byServer[name] = 1
	}
	if got := Servers(byServer); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// FuzzOrder reads turns of servers with any names: what it claims of the next turn has
// to fit, and if it claims nothing it says why.
func FuzzOrder(f *testing.F) {
	for _, turns := range []string{
		"", ",,", "server1,server2,server3,server1", "server1,,server3,server1,,server3", "a,b,a,c", "?,a,?", "1,2,1", "server1,server1",
		"\x1b[2J,\xff,\x1b[2J", "server2,server02,server2", "9,10,9,,9", "server99999999999999999999,server1,server99999999999999999999",
	} {
		f.Add(turns, "")
		f.Add(turns, "server1,server2,server3")
		f.Add("", turns)
	}
	f.Fuzz(func(t *testing.T, text, expected string) {
		turns := strings.Split(text, ",")
		var c, again Cycle
		if len(turns) > 200 || expected != "" && c.UnmarshalText([]byte(expected)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(strings.Join(c, ","))); c != nil && (err != nil || !slices.Equal(c, again)) {
			t.Errorf("%q is %q, and that is %q (%v)", expected, c, again, err)
		}
		for i, server := range c {
			if next := OrderOf(c[:i+1], c).Next(); next != c[(i+1)%len(c)] {
				t.Errorf("after %q comes %q of %q", server, next, c)
			}
		}
		o := OrderOf(turns, c)
		switch next := o.Next(); {
		case next == "" && o.WhyNot() == "":
			t.Error("nobody is next, and it does not say why")
		case next == Unnamed && c == nil:
			t.Error("somebody unnamed is next")
		case next != "":
			after := OrderOf(append(slices.Clone(turns), next), c)
			if len(after.rotations) != len(o.rotations) {
				t.Errorf("%q was next, and with it %d rotations are %d", next, len(o.rotations), len(after.rotations))
			}
		}
		for i, server := range o.Cycle() {
			if server == "" || slices.Index(o.Cycle(), server) != i {
				t.Errorf("cycle %q", o.Cycle())
			}
		}
	})
}
