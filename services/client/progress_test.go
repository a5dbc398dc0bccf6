package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// shown is what a terminal has on its screen after it was sent this, with
// every line as it was when the next one began. An in-place line that was
// emptied is gone.
func shown(sent string) string {
	var lines []string
	for line := range strings.Lines(sent) {
		_, line = cutLast(line, toLineStart)
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

func cutLast(text, sep string) (before, after string) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+len(sep):]
}

func TestHowFarARunIsIsSaidInPlace(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     string
		terminal bool
		environ  []string
		silent   []int
		want     []string // what the line says in turn; nil: there is none
	}{
		{"a long quiet run", "-q -c 100 -i 5s b:1", true, []string{"TERM=xterm"}, nil, []string{
			"1 of 1 ping answered, 99 to go, 8 min 15 s left", "2 of 2 pings answered, 98 to go, 8 min 10 s left",
		}},
		{"a long run whose answers take their time", "-q -c 20 -i 0 -W 1.2s b:1", true, []string{"TERM=xterm"}, []int{0, 1, 2, 3, 4, 5, 6}, []string{
			"0 of 4 pings answered, 16 to go, 20 s left", "0 of 4 pings answered, 16 to go, 22 s left",
		}},
		{"a quiet run until Ctrl-C", "-q -c 0 -i 5s b:1", true, []string{"TERM=xterm"}, nil, []string{
			"1 of 1 ping answered, until Ctrl-C", "2 of 2 pings answered, until Ctrl-C",
		}},
		{"a run until Ctrl-C says itself how far it is", "-c 0 -i 5s b:1", true, []string{"TERM=xterm"}, nil, nil},
		{"a short run", "-q -c 10 b:1", true, []string{"TERM=xterm"}, []int{0, 1, 2}, nil},
		{"a load", "load --window 1 --duration 3s b:1", true, []string{"TERM=xterm"}, nil, []string{
			"2500 answers/s, 0% lost, 3 s left", "2500 answers/s, 0% lost, 2 s left",
		}},
		{"a load of so many", "load --window 1 -c 5000 b:1", true, []string{"TERM=xterm"}, nil, []string{
			"2500 answers/s, 0% lost, 3749 to go, 2 s left", "2500 answers/s, 0% lost, 2499 to go, 1 s left", "2500 answers/s, 0% lost, 1249 to go, 1 s left",
		}},
		{"a load until Ctrl-C", "load --rate 10 --duration 0 b:1", true, []string{"TERM=xterm"}, nil, []string{
			"10 answers/s, 0% lost, until Ctrl-C",
		}},
		{"a load that waits for the last answer", "load --duration 1s --window 1 -W 3s b:1", true, []string{"TERM=xterm"}, []int{0}, []string{
			"0 answers/s, 1 s left", "0 answers/s, waiting for the last answers",
		}},
		{"a pipe", "load --duration 3s --window 1 b:1", false, []string{"TERM=xterm"}, nil, nil},
		{"NO_COLOR", "load --duration 3s --window 1 b:1", true, []string{"TERM=xterm", "NO_COLOR=1"}, nil, nil},
		{"a dumb terminal", "load --duration 3s --window 1 b:1", true, []string{"TERM=dumb"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLabFor(t, 8*time.Second+100*time.Millisecond, &lab{answer: roundRobin(tt.silent...)}, &session{args: tt.args, environ: tt.environ, terminal: tt.terminal})
			var said []string
			for _, line := range strings.Split(s.stderr, toLineStart) {
				if line != "" && (len(said) == 0 || said[len(said)-1] != line) {
					said = append(said, line)
				}
			}
			if len(said) > len(tt.want) && tt.want != nil {
				said = said[:len(tt.want)]
			}
			if strings.Join(said, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("said in place\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(tt.want, "\n"))
			}
			if tt.want == nil && strings.Contains(s.stderr+s.stdout, "\x1b") {
				t.Errorf("escapes: %q %q", s.stderr, s.stdout)
			}
		})
	}
}

func TestTheLineInPlaceIsInNobodysWay(t *testing.T) {
	var screen bytes.Buffer
	s := inLab(t, &lab{answer: roundRobin(1)}, &session{
		args: "-c 4 -i 4s -W 1.1s b:1", terminal: true, environ: []string{"TERM=xterm"}, screen: &screen,
	})
	if n := strings.Count(s.stderr, toLineStart); n < 20 {
		t.Errorf("only %d times in place: %q", n, s.stderr)
	}
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(screen.String())
	same(t, "the screen", shown(plain), `
PING b (172.30.7.10:8888): 4 pings
server1  seq=1  0.400 ms  PING 1 00:00:00.000
REQUEST TIMED OUT  seq=2
server3  seq=3  0.400 ms  PING 3 00:00:08.000
server1  seq=4  0.400 ms  PING 4 00:00:12.000
--- b ping statistics ---
4 sent, 3 received, 25% loss, time 12000 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×2  server3 ×1
order        1 · 3  1        the next server has not answered yet, so its name is not known
`)
}

func TestTheLineInPlaceComesBackBelowWhatIsPrinted(t *testing.T) {
	var screen bytes.Buffer
	p := client{stderr: &screen, isTerminal: func(any) bool { return true }, environ: []string{"TERM=xterm"}}
	show, _ := p.inPlace(func(event) { screen.WriteString("line\n") }, false)
	answered := 1
	progress := progressed{func() string { return fmt.Sprintf("%d of 9", answered) }}
	for _, step := range []struct {
		event    event
		answered int
		want     string
	}{
		{started{}, 0, "line\n"},
		{progress, 1, toLineStart + "1 of 9"},
		{replied{}, 2, toLineStart + "line\n" + toLineStart + "2 of 9"},
		{asked{}, 3, toLineStart + "line\n" + toLineStart + "3 of 9"},
		{progress, 4, toLineStart + "4 of 9"},
		{ended{}, 4, toLineStart + "line\n"},
	} {
		answered = step.answered
		screen.Reset()
		show(step.event)
		if got := screen.String(); got != step.want {
			t.Errorf("%T: %q, want %q", step.event, got, step.want)
		}
	}
}

func TestAQuietRunLeavesTheLineInPlaceAlone(t *testing.T) {
	var screen bytes.Buffer
	p := client{stderr: &screen, isTerminal: func(any) bool { return true }, environ: []string{"TERM=xterm"}}
	show, _ := p.inPlace(func(e event) {
		switch e.(type) {
		case asked, ended:
			screen.WriteString("line\n")
		}
	}, true)
	for _, e := range []event{started{}, progressed{func() string { return "far" }}, replied{}, timedOut{}, asked{}, ended{}} {
		show(e)
	}
	same(t, "the screen", screen.String(), toLineStart+"far"+toLineStart+"line\n"+toLineStart+"far"+toLineStart+"line\n")
}

func TestEachOfStdoutAndStderrIsATerminalOrNot(t *testing.T) {
	for _, tt := range []struct {
		piped           string
		colour, inPlace bool
	}{{"", true, true}, {"stdout", false, true}, {"stderr", true, false}, {"stdin", true, true}} {
		s := inLab(t, &lab{answer: roundRobin(1)}, &session{
			args: "-c 3 -i 4s b:1", terminal: true, environ: []string{"TERM=xterm"}, piped: tt.piped,
		})
		if colour := strings.Contains(s.stdout, "\x1b"); colour != tt.colour {
			t.Errorf("%q piped: colour %v on stdout: %q", tt.piped, colour, s.stdout)
		}
		if inPlace := strings.Contains(s.stderr, "\x1b"); inPlace != tt.inPlace {
			t.Errorf("%q piped: in place %v on stderr: %q", tt.piped, inPlace, s.stderr)
		}
		if strings.Contains(s.stdout, toLineStart) {
			t.Errorf("%q piped: in place on stdout: %q", tt.piped, s.stdout)
		}
	}
}

func TestTimesLeftAreSaidAsPeopleDo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1 s", time.Second: "1 s", 59*time.Second + 1: "1 min 0 s", 61 * time.Second: "1 min 1 s",
		time.Hour: "1 h 0 min", 25*time.Hour + 30*time.Minute: "25 h 30 min",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
