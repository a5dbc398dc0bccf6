package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/client/internal/fakenet"
	"udplab/services/client/internal/transport"
)

const menuText = `What would you like to do?
  1) Ask the servers a question
  2) Send ten pings
  3) Send pings my way             (how many? how fast? how long to wait?)
  4) Whose turn is it?
  5) Load test
  6) Break something               (what to type to stop, pause or slow a server)
  0) Quit
Your choice [2]: `

// onlyAnswers takes the menu itself out of a transcript.
func onlyAnswers(transcript string) string { return strings.ReplaceAll(transcript, menuText, "> ") }

// everyOption is what the menu shows to somebody who tries everything; with the menu
// itself as >.
const everyOption = `
> 7
There is no option "7": type one of the numbers above, Enter for 2, or ? for what they do.
Your choice [2]: "\x1b[A"
There is no option "\x1b[A": type one of the numbers above, Enter for 2, or ? for what they do.
Your choice [2]: ?4
  4) Sends one ping to find out, which takes that turn, and says who should be next.
Your choice [2]: ?
  1) Sends your words to whoever has the turn; a server answers in capitals, with its name.
  2) Sends ten pings one after the other, each to the next server, and a summary.
  3) Does the same, but first asks how many, how far apart, and how long to wait for an answer.
  4) Sends one ping to find out, which takes that turn, and says who should be next.
  5) Keeps many datagrams under way for a while: how many answers a second, who gave them, how long they took.
  6) Does nothing itself: prints commands for another terminal.
  0) Leaves; so does the end of input.
  Your pings go to b:1.
Your choice [2]: 1
Your question [hello]: hello there
HELLO THERE
answered by server1 in 0.400 ms

> 4
The turn shows only by being taken: sending one ping.
It was server2's turn, and this ping has taken it. The order of the servers is not known yet: option 2 shows it.

> 3
How many pings (0: until Ctrl-C, which also quits)? [3]: many
"many" does not do: give a whole number from 0 to 2147483647, or Enter for 3.
How many pings (0: until Ctrl-C, which also quits)? [3]: 2
How long from one to the next? [200ms]: 0.1
How long to wait for an answer? [1s]: 0
"0" does not do: give a duration such as 200ms, 1.5s or 0.2 (seconds) from 1ms up, or Enter for 1s.
How long to wait for an answer? [1s]: 500ms
PING b (172.30.7.10:8888): 2 pings
server3  seq=1  0.400 ms  PING 1 00:00:00.000
REQUEST TIMED OUT  seq=2
--- b ping statistics ---
2 sent, 1 received, 50% loss, time 600 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server3 ×1
order        3 ·        too few answers to tell who is next

> 5
LOAD b (172.30.7.10:8888): for 500µs, 2 under way
--- b load statistics ---
4 sent, 4 received, 0 lost, 0% loss, time 1 ms
5000 answers a second
rtt min/avg/max = 0.400/0.400/0.400 ms
answered by  server1 ×1 (25.0%)  server2 ×2 (50.0%)  server3 ×1 (25.0%)
order        not told: of many under way, answers come back in another order than the turns

> ` + `
PING b (172.30.7.10:8888): 10 pings
server3  seq=1  0.400 ms  PING 1 00:00:00.601
`

func TestTheMenuAnswersWhateverIsTyped(t *testing.T) {
	const askedWhoseTurn = "> 4\nThe turn shows only by being taken: sending one ping.\n"
	for _, tt := range []struct {
		name     string
		args     string
		stdin    string
		answer   fakenet.Answer
		requests int
		code     int
		want     string // the beginning
	}{
		{"everything", "-c 3 --window 2 --duration 0.5ms", "7\n\x1b[A\n?4\n?\n1\nhello there\n4\n3\nmany\n2\n0.1\n0\n500ms\n5\n\n0\n", fakenet.RoundRobin(3), 18, 0, everyOption},
		{"quit by its letter", "", "q\n2\n", fakenet.RoundRobin(), 0, 0, "> q\n"},
		{"no question of one's own", "", "1\n\n0\n", fakenet.RoundRobin(), 1, 0, "> 1\nYour question [hello]: \nHELLO\nanswered by server1 in 0.400 ms\n\n> 0\n"},
		{"the end of the input instead of a question", "", "1\n", fakenet.RoundRobin(), 0, 0, "> 1\nYour question [hello]: \n"},
		{"whose turn, the order given", "--expect-cycle server1,server2", "4", fakenet.RoundRobin(), 1, 0, askedWhoseTurn +
			"It was server1's turn, and this ping has taken it. The next turn is expected to be server2's.\n"},
		{"whose turn, the order from a run before", "-q", "2\n4\n", fakenet.RoundRobin(), 11, 0, `
> 2
--- b ping statistics ---
10 sent, 10 received, 0% loss, time 1800 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×4  server2 ×3  server3 ×3
order        1 2 3  1 2 3  1 2 3  1        the balancer keeps counting: the next turn is expected to be server2's

` + askedWhoseTurn + "It was server2's turn, and this ping has taken it. The next turn is expected to be server3's.\n"},
		{"whose turn, no answer", "", "4\n", fakenet.RoundRobin(0), 1, 1, askedWhoseTurn +
			"REQUEST TIMED OUT: if the ping got there, it took a turn, but nobody said whose.\n\n> \n"},
		{"the exit code is that of the latest run", "", "4\n1\n\n", fakenet.RoundRobin(0), 2, 0, askedWhoseTurn},
		{"a load that nobody answers", "--window 1 --duration 1s", "1\n\n5\n", fakenet.RoundRobin(1), 2, 1, "> 1\n"},
		{"whose turn, of an unnamed server", "", "4\n", fakenet.Always(fakenet.Datagram{}), 1, 0, askedWhoseTurn +
			"It was answered by a server that does not say its name, so nobody can tell who is next.\n"},
		{"whose turn, not delivered", "", "4\n", fakenet.Always(fakenet.Datagram{Err: fakenet.Refused}), 1, 1, askedWhoseTurn +
			"REQUEST TIMED OUT  (refused): the ping did not get there and took no turn.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &fakenet.Network{Answer: tt.answer}
			s := (&session{args: strings.TrimSpace("menu b:1 " + tt.args), stdin: tt.stdin}).inBubble(t, l, never)
			shown, want := onlyAnswers(s.stdout), strings.TrimPrefix(tt.want, "\n")
			fakenet.Same(t, "the beginning of stdout", shown[:min(len(shown), len(want))], want)
			if s.code != tt.code || s.stderr != "" || len(l.Requests) != tt.requests || s.err != nil && s.err.Error() != "" {
				t.Errorf("exit code %d, %d requests, said %v, %s", s.code, len(l.Requests), s.err, s.stderr)
			}
		})
	}
}

func TestATerminalShowsWhatIsTypedByItself(t *testing.T) {
	s := &session{args: "menu b:1", stdin: "0\n", terminal: true}
	s.inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin()}, never).check(t, 0, menuText, "")
}

func TestTheMenuGoesOnAfterARunThatCannotStart(t *testing.T) {
	s := (&session{args: "menu bad..name 8888", stdin: "2\n6\n1\n" + strings.Repeat("x", 65508) + "\n", dial: transport.Dial}).run(t.Context())
	if s.code != 2 || strings.Count(s.stdout, menuText) != 4 || !strings.Contains(s.stdout, "docker compose pause server2") || !strings.Contains(s.stdout, "want a text of at most 65507 bytes") {
		t.Errorf("exit code %d\n%s", s.code, s.stdout)
	}
	fakenet.Same(t, "stderr", s.stderr, "client: target bad..name:8888: lookup bad..name: no such host\n")
}

func TestCtrlCLeavesTheMenuFromAnywhere(t *testing.T) {
	for name, typed := range map[string]string{"at the prompt": "", "in a question": "1\n", "in a run": "2\n"} {
		t.Run(name, func(t *testing.T) {
			l := &fakenet.Network{Answer: fakenet.RoundRobin()}
			s := &session{args: "menu b:1", dial: l.Dial}
			synctest.Test(t, func(t *testing.T) {
				stdin, keyboard := io.Pipe()
				s.keyboard = stdin
				ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
				defer cancel()
				go io.WriteString(keyboard, typed)
				s.run(ctx)
				keyboard.Close() // the read that the terminal would never end
			})
			if s.code != 0 || typed == "2\n" && !strings.Contains(s.stdout, "5 sent, 5 received") {
				t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
			}
		})
	}
}

// FuzzMenu types anything into the menu. The servers answer slowly enough that nothing
// takes many pings before Ctrl-C.
func FuzzMenu(f *testing.F) {
	for _, typed := range []string{
		"", "\n", "2\n0\n", "?\n?4\n? 9\n", "1\nhello\n1\n\n1\n\x1b[A\n", "3\n2\n0\n1\n0\n", "3\n0\n1ms\n9h\n", "3\nx\n-1\n1\n", "4\n2\n4\n",
		"5\n6\n5", "7\r\nquit\n", "2\n2\n2\n2\n2\n2\n", "\x00\n\xff\n", "99999999999\n", "3\n2147483647\n0\n0.001\n",
	} {
		f.Add(typed, uint8(0))
		f.Add(typed, uint8(3))
	}
	f.Fuzz(func(t *testing.T, typed string, silent uint8) {
		if len(typed) > 1000 {
			return
		}
		l := &fakenet.Network{Answer: fakenet.After(50*time.Millisecond, int(silent)-1)}
		s := (&session{args: "menu b:1 --window 4 --duration 1s", stdin: typed}).inBubble(t, l, 10*time.Second)
		if s.code > 1 || s.err != nil && s.err.Error() != "" {
			t.Errorf("exit code %d (%v)", s.code, s.err)
		}
		if s.code == 1 && len(l.Requests) == 0 {
			t.Error("failed without having asked")
		}
		if len(l.Requests) > 2000+10000 { // a timeout of a millisecond or so allows the more
			t.Errorf("%d requests", len(l.Requests))
		}
		fakenet.Harmless(t, "the screen", s.stdout+s.stderr)
	})
}
