package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
)

func TestATurnIsInPlaceOrItIsNot(t *testing.T) {
	for _, c := range []struct {
		name string
		turn lab.Turn
		want bool
	}{
		{"its server's, and answered by it", lab.Turn{Turn: 4, Place: 1, Server: "server1", Reply: "A server1", ReplyBytes: 9}, true},
		{"its server's, and not answered yet", lab.Turn{Turn: 8, Place: 2, Server: "server2"}, true},
		{"its server's, with a reply of which only the beginning is kept", lab.Turn{Turn: 4, Place: 1, Server: "server1", Reply: "A", ReplyBytes: 99}, true},
		{"another server's", lab.Turn{Turn: 4, Place: 2, Server: "server2"}, false},
		{"its server's, but answered by another", lab.Turn{Turn: 4, Place: 1, Server: "server1", Reply: "A server2", ReplyBytes: 9}, false},
	} {
		if got := inPlace(c.turn); got != c.want {
			t.Errorf("%s: in place %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMemoryIsFlatOrItIsNot(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name   string
		memory memory
		total  uint64
		flat   bool
		says   string
	}{
		{"level", memory{{2_000_000, 20 * mb}, {5_000_000, 21 * mb}, {9_000_000, 21 * mb}}, 1e7, true, "  ok "},
		{"a tenth more", memory{{2_000_000, 200 * mb}, {9_000_000, 220 * mb}}, 1e7, true, "  ok "},
		{"more than a tenth more", memory{{2_000_000, 200 * mb}, {9_000_000, 220*mb + 1}}, 1e7, false, "WRONG"},
		{"8 MiB more of little", memory{{2_000_000, 20 * mb}, {9_000_000, 28 * mb}}, 1e7, true, "  ok "},
		{"more than that", memory{{2_000_000, 20 * mb}, {9_000_000, 28*mb + 1}}, 1e7, false, "WRONG"},
		{"a high first sample, still warming up", memory{{500_000, 50 * mb}, {2_000_000, 20 * mb}, {9_000_000, 40 * mb}}, 1e7, false, "WRONG"},
		{"no samples", nil, 1e7, true, "not judged"},
		{"none in the second half", memory{{2_000_000, 20 * mb}}, 1e7, true, "not judged"},
		{"a run that only warms it up", memory{{100, 5 * mb}, {200_000, 50 * mb}}, warmAfter, true, "not judged"},
	} {
		if text, flat := c.memory.verdict(c.total); flat != c.flat || !strings.Contains(text, c.says) {
			t.Errorf("%s: flat %v, %q; want %v and %s", c.name, flat, text, c.flat, c.says)
		}
	}
}

func TestProgressSaysHowLongTheRestTakes(t *testing.T) {
	for want, got := range map[string]string{
		"0 of 1,000,000 (0.0 %)": progress(0, 1_000_000, 0, 0),
		"250,000 of 1,000,000 (25.0 %), 25,000 a second, about 30s left, balancer 20.0 MiB": progress(250_000, 1_000_000, 10*time.Second, 20<<20),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAPipeGetsLinesAndATerminalOneInPlace(t *testing.T) {
	var pipe, terminal bytes.Buffer
	for _, s := range []screen{newScreen(&pipe), {out: &terminal, inPlace: true}} {
		s.show("a long line")
		s.show("short")
		s.clear()
	}
	if got, want := pipe.String()+terminal.String(), "a long line\nshort\n"+"\r\x1b[Ka long line\r\x1b[Kshort\r\x1b[K"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestALogWithoutAServersCountIsRefused(t *testing.T) {
	for _, log := range []string{"", "panic: oh\n", `{"event":"request","name":"server2","received":1}`} {
		if got, err := stopped(log); err == nil {
			t.Errorf("stopped(%q) = %+v, want an error", log, got)
		}
	}
}
