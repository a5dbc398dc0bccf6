package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"udplab/services/client/internal/fakenet"
	"udplab/services/client/internal/transport"
	"udplab/services/kit/program"
)

// asClient is a variable that makes this test's binary the client itself.
const asClient = "UDPLAB_TEST_AS_CLIENT"

func TestMain(m *testing.M) {
	if os.Getenv(asClient) != "" {
		main()
	}
	time.Local = time.UTC
	goleak.VerifyTestMain(m)
}

// session is one start of the client.
type session struct {
	args     string // split at spaces
	environ  []string
	stdin    string
	keyboard io.Reader // instead of stdin
	terminal bool      // stdin, stdout and stderr are one
	piped    string    // but for this one of them
	dial     transport.Dialer
	room     int // how many writes stdout takes; 0: any number

	stdout, stderr string
	code           int
	err            error
}

// run starts the client and waits for its end.
func (s *session) run(ctx context.Context) *session {
	stdout, stderr := &limited{room: s.room}, &limited{}
	c := client{
		stdin: strings.NewReader(s.stdin), stdout: stdout, stderr: stderr,
		environ: s.environ, dial: s.dial,
	}
	if s.args != "" {
		c.args = strings.Split(s.args, " ")
	}
	if s.keyboard != nil {
		c.stdin = s.keyboard
	}
	files := map[string]any{"stdin": c.stdin, "stdout": stdout, "stderr": stderr}
	c.isTerminal = func(file any) bool { return s.terminal && file != files[s.piped] }
	s.err = c.run(ctx)
	s.stdout, s.stderr, s.code = stdout.String(), stderr.String(), program.ExitCode(s.err)
	return s
}

// limited takes so many writes, and no more; any number if room is 0.
type limited struct {
	bytes.Buffer
	room, writes int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.writes++; l.room > 0 && l.writes > l.room {
		return 0, errors.New("no space left")
	}
	return l.Buffer.Write(p)
}

// inBubble runs the client over a network in memory, in a bubble of its own time, with a Ctrl-C
// after a while.
func (s *session) inBubble(t *testing.T, l *fakenet.Network, ctrlC time.Duration) *session {
	t.Helper()
	s.dial = l.Dial
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), ctrlC)
		defer cancel()
		s.run(ctx)
	})
	return s
}

// never is a Ctrl-C that no run waits for.
const never = 1000 * time.Hour

func (s *session) check(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	fakenet.Same(t, "stdout", s.stdout, stdout)
	fakenet.Same(t, "stderr", s.stderr, stderr)
	if s.code != code {
		t.Errorf("exit code %d (%v), want %d", s.code, s.err, code)
	}
}

func TestTenPingsThroughTheBalancer(t *testing.T) {
	l := &fakenet.Network{Answer: func(n int, request string) []fakenet.Datagram {
		return fakenet.RoundRobin(3)(n+1, request) // the balancer has had one turn
	}}
	s := &session{args: "balancer 8888", environ: []string{"CLIENT_EPILOGUE=again: docker compose run --rm client\npage:  http://localhost:8080\n"}}
	s.inBubble(t, l, never).check(t, 0, `
PING balancer (172.30.7.10:8888): 10 pings
server2  seq=1  0.400 ms  PING 1 00:00:00.000
server3  seq=2  0.400 ms  PING 2 00:00:00.200
REQUEST TIMED OUT  seq=3
server2  seq=4  0.400 ms  PING 4 00:00:01.400
server3  seq=5  0.400 ms  PING 5 00:00:01.600
server1  seq=6  0.400 ms  PING 6 00:00:01.800
server2  seq=7  0.400 ms  PING 7 00:00:02.000
server3  seq=8  0.400 ms  PING 8 00:00:02.200
server1  seq=9  0.400 ms  PING 9 00:00:02.400
server2  seq=10  0.400 ms  PING 10 00:00:02.600
--- balancer ping statistics ---
10 sent, 9 received, 10% loss, time 2600 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×2  server2 ×4  server3 ×3
order        2 3  · 2 3  1 2 3  1 2        the balancer keeps counting: the next turn is expected to be server3's
again: docker compose run --rm client
page:  http://localhost:8080
`, "")
}

func TestWhatEndsARunAndWithWhichExitCode(t *testing.T) {
	broken := func(n int, request string) []fakenet.Datagram {
		if n == 0 {
			return []fakenet.Datagram{fakenet.Reply(request, "server1")}
		}
		return []fakenet.Datagram{{After: time.Millisecond, Err: context.DeadlineExceeded}} // nothing a UDP socket should say
	}
	nobody := fakenet.Always()
	for _, tt := range []struct {
		name   string
		args   string
		answer fakenet.Answer
		ctrlC  time.Duration
		code   int
		want   string // on stdout
		said   string
	}{
		{"any answer is enough", "-c 4", fakenet.RoundRobin(0, 1, 3), never, 0, "4 sent, 1 received", ""},
		{"no answer is not", "-c 2", nobody, never, 1, "2 sent, 0 received, 100% loss", ""},
		{"loss above the limit", "-c 4 --max-loss 24.9", fakenet.RoundRobin(2), never, 1, "25% loss", "25% loss: more than the 24.9% allowed"},
		{"the expected cycle", "--expect-cycle server1,server2,server3", fakenet.RoundRobin(), never, 0, "10 received", ""},
		{"an answer out of turn", "--expect-cycle server1,server3,server2", fakenet.RoundRobin(), never, 1, "2 sent, 2 received", "out of turn: seq=2 was answered by server2, expected server3"},
		{"a socket that fails", "-W 5", broken, never, 2, "2 sent, 1 received, 1 unfinished, 0% loss", "target b:1: context deadline exceeded"},
		{"Ctrl-C between two pings", "-c 0", fakenet.RoundRobin(), 500 * time.Millisecond, 0, "3 sent, 3 received, 0% loss, time 500 ms\n", ""},
		{"Ctrl-C while one waits breaks no limit", "-c 0 --max-loss 0", fakenet.RoundRobin(1), 500 * time.Millisecond, 0, "2 sent, 1 received, 1 unfinished, 0% loss, time 500 ms\n", ""},
		{"Ctrl-C while the first waits", "-c 0", nobody, 100 * time.Millisecond, 1, "1 sent, 0 received, 1 unfinished, time 100 ms\n", ""},
		{"Ctrl-C before anything was sent", "-c 0", nobody, 0, 1, "0 sent, 0 received, time 0 ms\n", ""},
		{"a load", "load -c 4 --window 2", fakenet.RoundRobin(), never, 0, "4 sent, 4 received, 0 lost, 0% loss, time 1 ms\n", ""},
		{"a load that nobody answers", "load --window 3 --duration 1s -W 400ms", nobody, never, 1, "9 sent, 0 received, 9 lost, 100% loss, time 1200 ms\n0 answers a second\n", ""},
		{"a load on a socket that fails", "load --window 1", broken, never, 2, "2 sent, 1 received, 0 lost, 1 unfinished, 0% loss", "target b:1: context deadline exceeded"},
		{"Ctrl-C in a load", "load --duration 0 --window 2", fakenet.After(200 * time.Millisecond), 690 * time.Millisecond, 0, "8 sent, 6 received, 0 lost, 2 unfinished, 0% loss, time 690 ms\n8.7 answers a second\n", ""},
		{"a load has a usual duration and a usual window", "load", fakenet.After(100 * time.Millisecond), never, 0, "3200 sent, 3200 received", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// How many pings a variable asks for is no limit for a load.
			s := (&session{args: tt.args + " b:1"}).inBubble(t, &fakenet.Network{Answer: tt.answer}, tt.ctrlC)
			said := ""
			if s.err != nil {
				said = s.err.Error()
			}
			if s.code != tt.code || said != tt.said || !strings.Contains(s.stdout, tt.want) {
				t.Errorf("exit code %d, said %q\n%s", s.code, said, s.stdout)
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	for _, tt := range []struct {
		args, environ string
		want          string
	}{
		{"-c 2 b:1", "", "PING 1 00:00:00.000|PING 2 00:00:00.200"},
		{"-c 2 -s 24 -i 1 b:1", "", "PING 1 00:00:00.000 ....|PING 2 00:00:01.000 ...."},
		{"b:1", "CLIENT_COUNT=1", "PING 1 00:00:00.000"},
		{"load b:1 -c 2 --window 1 -s 24", "CLIENT_COUNT=1", "PING 1 00:00:00.000 ....|PING 2 00:00:00.000 ...."},
		{"ask Who goes there?", "CLIENT_SIZE=100", "Who goes there?"}, // padding is for pings
		{"ask --json -- -1 ?", "CLIENT_COUNT=5", "-1 ?"},
	} {
		l := &fakenet.Network{Answer: fakenet.RoundRobin()}
		s := (&session{args: tt.args, environ: []string{tt.environ}}).inBubble(t, l, never)
		if got := strings.Join(l.Requests, "|"); got != tt.want || s.code != 0 {
			t.Errorf("%s: sent %s, want %s (%v)", tt.args, got, tt.want, s.err)
		}
	}
}

func TestAPingThatTheSystemDoesNotTake(t *testing.T) {
	s := (&session{args: "-c 2 b:1"}).inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin(), RefuseWrites: 2}, never)
	if !strings.Contains(s.stdout, "REQUEST TIMED OUT  seq=1  (refused)\nserver1  seq=2") {
		t.Errorf("%s", s.stdout)
	}
}

func TestTheEpilogueIsForPeople(t *testing.T) {
	for args, want := range map[string]bool{
		"-c 1 b:1": true, "-c 1 -q b:1": true, "load -c 1 b:1": true,
		"-c 1 --json b:1": false, "load -c 1 --json b:1": false, "ask hello": false, "menu b:1": false, "-h": false,
	} {
		for _, silent := range []int{-1, 0} { // answered, and not
			s := &session{args: args, environ: []string{"CLIENT_EPILOGUE=again"}}
			s.inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin(silent)}, never)
			if got := strings.HasSuffix(s.stdout, "\nagain\n"); got != want {
				t.Errorf("%s: epilogue %v\n%s", args, got, s.stdout)
			}
		}
	}
}

func TestOutputThatCannotBeWrittenIsNoSuccess(t *testing.T) {
	for _, tt := range []struct {
		args     string
		stdin    string
		room     int
		requests int // at most: nobody pings on for results that nobody gets
	}{
		{"-c 0 b:1", "", 3, 3},
		{"-c 1 --json b:1", "", 2, 1}, // but for the summary
		{"-c 0 --json b:1", "", 2, 2},
		{"load b:1 --window 1 --duration 0 -c 3", "", 1, 3},
		{"ask hello --json", "", 1, 1},
		{"menu b:1", "2\n2\n0\n", 3, 0},
		{"menu b:1", "2\n2\n2\n", 13, 10},
		{"-h", "", 1, 0},
	} {
		l := &fakenet.Network{Answer: fakenet.RoundRobin()}
		s := (&session{args: tt.args, stdin: tt.stdin, room: tt.room}).inBubble(t, l, never)
		if s.code != 2 || s.err.Error() != "output: no space left" || s.stderr != "" {
			t.Errorf("%s, room for %d writes: exit code %d, said %v %s", tt.args, tt.room, s.code, s.err, s.stderr)
		}
		if len(l.Requests) > tt.requests {
			t.Errorf("%s, room for %d writes: %d requests", tt.args, tt.room, len(l.Requests))
		}
	}
}

func TestColourAndProgressAreForTerminalsThatWantThem(t *testing.T) {
	for _, tt := range []struct {
		name            string
		terminal        bool
		piped           string
		environ         string
		colour, inPlace bool
	}{
		{"a terminal", true, "", "TERM=xterm", true, true},
		{"stdout is a pipe", true, "stdout", "TERM=xterm", false, true},
		{"stderr is a pipe", true, "stderr", "TERM=xterm", true, false},
		{"an empty NO_COLOR is none", true, "", "TERM=xterm NO_COLOR=", true, true},
		{"NO_COLOR", true, "", "TERM=xterm NO_COLOR=1", false, false},
		{"a dumb terminal", true, "", "TERM=dumb", false, false},
		{"the last of two counts", true, "", "TERM=xterm TERM=dumb", false, false},
		{"no terminal", false, "", "TERM=xterm", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{args: "-c 3 -i 4s b:1", environ: strings.Fields(tt.environ), terminal: tt.terminal, piped: tt.piped}
			s.inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin(1)}, never)
			if colour := strings.Contains(s.stdout, "\x1b[31mREQUEST TIMED OUT\x1b[0m  seq=2"); colour != tt.colour || colour != strings.Contains(s.stdout, "\x1b") {
				t.Errorf("colour %v: %q", colour, s.stdout)
			}
			if inPlace := strings.Contains(s.stderr, "\r\x1b[K1 of 2 pings answered, 1 to go, "); inPlace != tt.inPlace || inPlace != strings.Contains(s.stderr, "\x1b") {
				t.Errorf("in place %v: %q", inPlace, s.stderr)
			}
		})
	}
}

func TestProgressComesTwiceASecond(t *testing.T) {
	s := &session{args: "load --duration 1.8s --window 1 b:1", environ: []string{"TERM=xterm"}, terminal: true}
	s.inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin()}, never)
	if !regexp.MustCompile(`^(\r\x1b\[K2[45]\d\d answers/s, 0% lost, [12] s left){3}\r\x1b\[K$`).MatchString(s.stderr) {
		t.Errorf("%q", s.stderr)
	}
}

func TestWithoutArgumentsATerminalGetsTheMenuAndAPipeTenPings(t *testing.T) {
	for _, tt := range []struct {
		args     string
		terminal bool
		want     string
	}{{"", true, "What would you like to do?\n"}, {"", false, "10 sent, 10 received"}, {"-c 2", true, "2 sent, 2 received"}} {
		s := (&session{args: tt.args, terminal: tt.terminal, stdin: "0\n"}).inBubble(t, &fakenet.Network{Answer: fakenet.RoundRobin()}, never)
		if !strings.Contains(s.stdout, tt.want) {
			t.Errorf("%q, terminal %v:\n%s", tt.args, tt.terminal, s.stdout)
		}
	}
}
