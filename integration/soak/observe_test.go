package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTurnsOutOfPlaceAreCounted(t *testing.T) {
	const turn = `{"turn":4,"server":"server1","place":1,"reply":"SOAK 1 server1","reply_bytes":14}` + "\n"
	for _, c := range []struct {
		name, ledger       string
		looked, outOfPlace uint64
	}{
		{"nothing", "", 0, 0},
		{"only what is forgotten", `{"missed":3}` + "\n", 0, 0},
		{"a turn in its place", turn, 1, 0},
		{"two in their places, with a gap", turn + `{"missed":3}` + "\n" + `{"turn":8,"server":"server2","place":2}` + "\n", 2, 0},
		{"another server's turn", `{"turn":4,"server":"server2","place":2}`, 1, 1},
		{"another server's answer", strings.Replace(turn, "1 server1", "1 server2", 1), 1, 1},
		{"an answer of which only the beginning is kept", `{"turn":4,"server":"server1","place":1,"reply":"SOAK 1 AB","reply_bytes":99}`, 1, 0},
	} {
		var o order
		if err := o.read(strings.NewReader(c.ledger)); err != nil || o.looked != c.looked || o.outOfPlace != c.outOfPlace {
			t.Errorf("%s: looked at %d, %d out of place (%v), want %d and %d", c.name, o.looked, o.outOfPlace, err, c.looked, c.outOfPlace)
		}
	}
	if err := new(order).read(strings.NewReader(turn + "half a li")); err == nil {
		t.Error("half a line is no error")
	}
}

func TestMemoryIsFlatOrItIsNot(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name   string
		memory memory
		flat   bool
		says   string
	}{
		{"level", memory{{2_000_000, 20 * mb}, {5_000_000, 21 * mb}, {9_000_000, 21 * mb}}, true, "  ok "},
		{"a tenth more", memory{{2_000_000, 20 * mb}, {9_000_000, 22 * mb}}, true, "  ok "},
		{"more than a tenth more", memory{{2_000_000, 20 * mb}, {9_000_000, 22*mb + 1}}, false, "WRONG"},
		{"a leak", memory{{2_000_000, 20 * mb}, {4_000_000, 24 * mb}, {6_000_000, 28 * mb}, {8_000_000, 32 * mb}, {10_000_000, 36 * mb}}, false, "WRONG"},
		{"less than before", memory{{2_000_000, 40 * mb}, {9_000_000, 20 * mb}}, true, "  ok "},
		{"growth while it warms up", memory{{500_000, 5 * mb}, {2_000_000, 20 * mb}, {9_000_000, 20 * mb}}, true, "  ok "},
		{"a high first sample, still warming up", memory{{500_000, 50 * mb}, {2_000_000, 20 * mb}, {9_000_000, 40 * mb}}, false, "WRONG"},
		{"no samples", nil, true, "not judged"},
		{"none in the second half", memory{{2_000_000, 20 * mb}}, true, "not judged"},
	} {
		if text, flat := c.memory.verdict(10_000_000); flat != c.flat || !strings.Contains(text, c.says) {
			t.Errorf("%s: flat %v, %q; want %v and %s", c.name, flat, text, c.flat, c.says)
		}
	}
	leak := memory{{100, 5 * mb}, {200_000, 50 * mb}}
	if text, flat := leak.verdict(warmAfter); !flat || !strings.Contains(text, "not judged") {
		t.Errorf("a run that only warms it up: flat %v, %q; want no verdict", flat, text)
	}
}

func TestProgressSaysHowLongTheRestTakes(t *testing.T) {
	for _, c := range []struct {
		done, total uint64
		after       time.Duration
		memory      int64
		want        string
	}{
		{0, 1000, 0, 0, "0 of 1,000 (0.0 %)"},
		{250_000, 1_000_000, 10 * time.Second, 20 << 20, "250,000 of 1,000,000 (25.0 %), 25,000 a second, about 30s left, balancer 20.0 MiB"},
		{1_000_000, 1_000_000, 40 * time.Second, 0, "1,000,000 of 1,000,000 (100.0 %), 25,000 a second, about 0s left"},
	} {
		if got := progress(c.done, c.total, c.after, c.memory); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestAPipeGetsLinesAndATerminalOneInPlace(t *testing.T) {
	var pipe, terminal bytes.Buffer
	for _, s := range []*screen{newScreen(&pipe), {out: &terminal, inPlace: true}} {
		s.show("a long line")
		s.show("short")
		s.clear()
	}
	if got, want := pipe.String(), "a long line\nshort\n"; got != want {
		t.Errorf("the pipe got %q, want %q", got, want)
	}
	if got, want := terminal.String(), "\ra long line\rshort      \r     \r"; got != want {
		t.Errorf("the terminal got %q, want %q", got, want)
	}
	if strings.Contains(terminal.String(), "\x1b") {
		t.Errorf("the terminal got escapes: %q", &terminal)
	}
}

func TestAServersLastWordIsItsCount(t *testing.T) {
	const last = `{"level":"INFO","msg":"server2 stops: …","event":"stopped","name":"server2","received":7,"answered":3,"lost":2,"failed":1,"dropped":1}`
	want := server{Name: "server2", Received: 7, Answered: 3, Lost: 2, Failed: 1, Dropped: 1}
	if got, err := lastWord("an end of a line\n" + last + "\n"); err != nil || got != want {
		t.Errorf("lastWord = %+v, %v, want %+v", got, err, want)
	}
	for _, log := range []string{"", "panic: oh\n", `{"event":"request","name":"server2","received":1}`} {
		if got, err := lastWord(log); err == nil {
			t.Errorf("lastWord(%q) = %+v, want an error", log, got)
		}
	}
}
