package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"udplab/integration/lab"
	"udplab/integration/lab/labtest"
	"udplab/services/kit/program"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

func TestAShortSoakBalances(t *testing.T) {
	stack := labtest.Start(t, lab.Config{Balancer: balancer})
	var stdout, stderr bytes.Buffer
	if err := soak(t.Context(), 20_000, stack, &stdout, &stderr); err != nil {
		t.Fatalf("exit %d: %v\n%s%s", program.ExitCode(err), err, &stdout, &stderr)
	}
	for _, want := range []string{
		"  ok  sent 20,000 + sent by strangers 0 = ",
		"  ok  turns 20,000 = turns of server1 6,667 + turns of server2 6,667 + turns of server3 6,666\n",
		"  ok  turns out of order 0\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
	if regexp.MustCompile(`(?m)^WRONG|at 0 turns`).MatchString(stdout.String()) || strings.Count(stdout.String(), "  ok  ") != 19 {
		t.Errorf("want 19 lines that hold\n%s", &stdout)
	}
}

func TestAnEarlyEndBalancesToo(t *testing.T) {
	stack := labtest.Start(t, lab.Config{Balancer: balancer})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var stdout bytes.Buffer
	err := soak(ctx, 1e9, stack, &stdout, io.Discard)
	if program.ExitCode(err) != 1 || err.Error() != "" {
		t.Fatalf("exit %d, %v, want 1 and no word\n%s", program.ExitCode(err), err, &stdout)
	}
	if text := stdout.String(); strings.Contains(text, "WRONG") || !strings.Contains(text, " of 1,000,000,000 in ") || !strings.Contains(text, "  ok  sent ") {
		t.Errorf("want a sheet whose lines hold\n%s", text)
	}
}

func TestWrongFlagsAreNamedAndNothingStarts(t *testing.T) {
	for args, want := range map[string]string{
		"--fast":        `flag="--fast": want `,
		"--datagrams=0": `--datagrams="0": want a whole number from 1 to `,
		"7":             `argument="7": want `,
	} {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), []string{args}, &stdout, &stderr)
		if program.ExitCode(err) != 2 || stdout.Len() > 0 || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: exit %d, %q, stdout %q; want 2 and one line %s…", args, program.ExitCode(err), err, &stdout, want)
		}
	}
}

// goodFigures is a run of 1,000 datagrams in which a few were lost at every
// place where some can be. 991 come, one of them a stranger's; 1 is refused for
// want of room, and 989 take turns, of which 2 are not sent.
func goodFigures(t *testing.T) figures {
	t.Helper()
	f := figures{
		"sent": 1000, "in time": 961, "late": 2, "lost": 39, "answered twice": 0, "replies to another client": 0, "replies to nothing": 0,
		"dropped before the clients": 4, "dropped before the balancer": 10, "dropped before the sessions": 3, "turns out of place": 0,
		"dropped before server1": 1, "dropped before server2": 7, "dropped before server3": 6,
	}
	var b lab.Status
	err := json.Unmarshal([]byte(`{"received":991,"forwarded":987,"replied":967,"turns":989,
		"dropped":{"session_limit":1,"send_failed":2,"loop":0,"stranger":1},
		"backends":[{"name":"server1","turns":330,"forwarded":330},
			{"name":"server2","turns":330,"forwarded":329},{"name":"server3","turns":329,"forwarded":328}]}`), &b)
	if err != nil {
		t.Fatal(err)
	}
	f.count(b)
	for name, log := range map[string]string{
		"server1": `{"event":"request"}` + "\n" + `{"event":"stopped","received":329,"answered":326,"lost":1,"failed":1,"dropped":1}` + "\n",
		"server2": `{"event":"stopped","received":322,"answered":322}`,
		"server3": `{"event":"stopped","received":322,"answered":322}`,
	} {
		if err := f.stopped(name, log); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestOneDatagramTooFewOrTooManyShows(t *testing.T) {
	good := goodFigures(t)
	var text strings.Builder
	if !good.sheet(&text) {
		t.Fatalf("these lines do not hold:\n%s", &text)
	}
	for _, want := range []string{
		"  ok  received 991 = forwarded 987 + dropped as send_failed 2 + dropped as session_limit 1 + dropped as stranger 1\n",
		"  ok  forwarded to server2 329 = received by server2 322 + dropped before server2 7\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the sheet lacks %q:\n%s", want, &text)
		}
	}
	for name := range good {
		for _, by := range []uint64{1, ^uint64(0)} { // one more, one less
			f := maps.Clone(good)
			f[name] += by
			text.Reset()
			if f.sheet(&text) || !strings.Contains(text.String(), "WRONG ") {
				t.Errorf("%s %+d: every line holds all the same", name, int64(by))
			}
		}
	}
}

func TestTurnsAreDealtEvenlyOrTheyAreNot(t *testing.T) {
	for _, tt := range []struct {
		turns  [3]uint64
		unfair uint64
	}{
		{[3]uint64{0, 0, 0}, 0},
		{[3]uint64{4, 3, 3}, 0},
		{[3]uint64{4, 4, 3}, 0},
		{[3]uint64{3, 4, 3}, 2},
		{[3]uint64{1, 5, 3}, 4},
	} {
		var b lab.Status
		for i, n := range tt.turns {
			b.Turns += n
			b.Backends = append(b.Backends, lab.Backend{Name: servers[i], Turns: n})
		}
		f := figures{}
		if f.count(b); f["turns dealt unfairly"] != tt.unfair {
			t.Errorf("%v: %d are unfair, want %d", tt.turns, f["turns dealt unfairly"], tt.unfair)
		}
	}
}

func TestALogWithoutAServersCountIsRefused(t *testing.T) {
	for _, log := range []string{"", "panic: oh\n", `{"event":"request","name":"server2","received":1}`} {
		if err := (figures{}).stopped("server2", log); err == nil {
			t.Errorf("%q has a count", log)
		}
	}
}

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
	type sample struct {
		done  uint64
		bytes int64
	}
	for _, c := range []struct {
		name    string
		samples []sample
		total   uint64
		flat    bool
		says    string
	}{
		{"level", []sample{{2_000_000, 20 * mb}, {5_000_000, 21 * mb}, {9_000_000, 21 * mb}}, 1e7, true, "  ok "},
		{"a tenth more", []sample{{2_000_000, 200 * mb}, {9_000_000, 220 * mb}}, 1e7, true, "  ok "},
		{"more than a tenth more", []sample{{2_000_000, 200 * mb}, {9_000_000, 220*mb + 1}}, 1e7, false, "WRONG"},
		{"8 MiB more of little", []sample{{2_000_000, 20 * mb}, {9_000_000, 28 * mb}}, 1e7, true, "  ok "},
		{"more than that", []sample{{2_000_000, 20 * mb}, {9_000_000, 28*mb + 1}}, 1e7, false, "WRONG"},
		{"a high first sample, still warming up", []sample{{999_999, 50 * mb}, {1_000_000, 20 * mb}, {9_000_000, 40 * mb}}, 1e7, false, "WRONG"},
		{"high in the middle, at the end of the first half", []sample{{5_499_999, 40 * mb}, {5_500_000, 40 * mb}}, 1e7, true, "  ok "},
		{"no samples", nil, 1e7, true, "not judged"},
		{"none in the second half", []sample{{2_000_000, 20 * mb}}, 1e7, true, "not judged"},
		{"a run that only warms it up", []sample{{100, 5 * mb}, {200_000, 50 * mb}}, warmAfter, true, "not judged"},
	} {
		m := memory{total: c.total}
		for _, s := range c.samples {
			m.sample(s.done, s.bytes)
		}
		if text, flat := m.verdict(); flat != c.flat || !strings.Contains(text, c.says) {
			t.Errorf("%s: flat %v, %q; want %v and %s", c.name, flat, text, c.flat, c.says)
		}
	}
}
