package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTenPingsThroughTheBalancer(t *testing.T) {
	s := inLab(t, &lab{answer: func(n int, request string) []datagram {
		return roundRobin(3)(n+1, request) // the balancer has had one turn
	}}, &session{args: "balancer 8888"})
	s.check(t, 0, `
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
`)
	if s.stderr != "" {
		t.Errorf("stderr: %s", s.stderr)
	}
}

func TestWhatEachAnswerMeans(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []datagram
		code   int
		want   string
	}{
		{
			name: "a late answer is late, not the answer to the next ping",
			args: "-c 2 -i 0.2 -W 1",
			answer: func(n int, request string) []datagram {
				if n == 0 {
					return []datagram{{after: 1718 * ms, payload: request + " server2"}}
				}
				return []datagram{{after: 900 * ms, payload: request + " server3"}}
			},
			want: `
late server2 seq=1 1718 ms (already counted as lost)
server3  seq=2  900.000 ms  PING 2 00:00:01.000
2 sent, 1 received, 1 late, 50% loss, time 1900 ms
rtt min/avg/max/mdev = 900.000/900.000/900.000/0.000 ms
answered by  server3 ×1
order        2 3        too few answers to tell who is next
`,
		},
		{
			name: "an answer at the last moment is in time",
			args: "-c 1 -W 500ms",
			answer: func(_ int, request string) []datagram {
				return []datagram{{after: 500*ms - 1, payload: request + " server1"}}
			},
			want: `
server1  seq=1  500.000 ms  PING 1 00:00:00.000
1 sent, 1 received, 0% loss, time 500 ms
rtt min/avg/max/mdev = 500.000/500.000/500.000/0.000 ms
answered by  server1 ×1
order        1        too few answers to tell who is next
`,
		},
		{
			name: "the last ping is waited for no longer than its own timeout",
			args: "-c 1 -i 10 -W 500ms",
			code: 1,
			answer: func(_ int, request string) []datagram {
				return []datagram{{after: 501 * ms, payload: request + " server1"}}
			},
			want: `
1 sent, 0 received, 100% loss, time 500 ms
`,
		},
		{
			name: "a second answer is a duplicate, also of a late one",
			args: "-c 3 -W 1",
			answer: func(n int, request string) []datagram {
				d := reply(request, "server1")
				switch n {
				case 0:
					d.after += ms
					return []datagram{reply(request, "server1"), d}
				case 1:
					first, second := d, d
					first.after, second.after = 1100*ms, 1150*ms
					return []datagram{first, second}
				}
				d.after = 300 * ms
				return []datagram{d}
			},
			want: `
server1  seq=1  0.400 ms  PING 1 00:00:00.000
server1  seq=1  1.400 ms  PING 1 00:00:00.000  (DUP!)
late server1 seq=2 1100 ms (already counted as lost)
server1  seq=2  1150.000 ms  PING 2 00:00:00.200  (DUP!)
server1  seq=3  300.000 ms  PING 3 00:00:01.200
3 sent, 2 received, 1 late, 2 duplicates, 33.3333% loss, time 1500 ms
rtt min/avg/max/mdev = 0.400/150.200/300.000/149.800 ms
answered by  server1 ×2
order        1 1 1        only one server has answered, which tells no order
`,
		},
		{
			name: "what answers no ping of this run is a stray",
			args: "-c 2",
			answer: func(n int, request string) []datagram {
				if n == 1 {
					return []datagram{reply(request, "server2")}
				}
				return []datagram{
					{after: 1 * ms, payload: "PING 1 23:59:59.000 server3"}, // of an earlier run
					{after: 2 * ms, payload: "PING 7 00:00:00.000 server3"}, // not sent yet
					{after: 3 * ms, payload: "\x1b[2Jgarbage"},
					{after: 4 * ms, payload: ""},
					{after: 5 * ms, payload: request + " server1"},
				}
			},
			want: `
stray  "PING 1 23:59:59.000 server3" (answers no ping of this run)
stray  "PING 7 00:00:00.000 server3" (answers no ping of this run)
stray  "\x1b[2Jgarbage" (answers no ping of this run)
stray  "" (answers no ping of this run)
server1  seq=1  5.000 ms  PING 1 00:00:00.000
server2  seq=2  0.400 ms  PING 2 00:00:00.200
2 sent, 2 received, 4 strays, 0% loss, time 200 ms
rtt min/avg/max/mdev = 0.400/2.700/5.000/2.300 ms
answered by  server1 ×1  server2 ×1
order        1 2        too few answers to tell who is next
`,
		},
		{
			name: "a server that does not name itself is a question mark",
			args: "-c 4",
			answer: func(n int, request string) []datagram {
				tail := []string{"", " server1", "", " via the balancer"}[n]
				return []datagram{{payload: upper(request) + tail}}
			},
			want: `
?  seq=1  0.000 ms  PING 1 00:00:00.000
server1  seq=2  0.000 ms  PING 2 00:00:00.200
?  seq=3  0.000 ms  PING 3 00:00:00.400
?  seq=4  0.000 ms  PING 4 00:00:00.600 via the balancer
4 sent, 4 received, 0% loss, time 600 ms
rtt min/avg/max/mdev = 0.000/0.000/0.000/0.000 ms
answered by  server1 ×1  ? ×3
order        ?  1 ? ?        a server does not say its name, so nobody can tell who is next
`,
		},
		{
			name: "a refusal is no answer, ends the wait and takes no turn",
			args: "-c 6 -i 0.5",
			answer: func(n int, request string) []datagram {
				if n == 2 {
					return []datagram{{after: ms, err: refusal}}
				}
				if n > 2 {
					n--
				}
				return roundRobin()(n, request)
			},
			want: `
server1  seq=1  0.400 ms  PING 1 00:00:00.000
server2  seq=2  0.400 ms  PING 2 00:00:00.500
REQUEST TIMED OUT  seq=3  (refused)
server3  seq=4  0.400 ms  PING 4 00:00:01.500
server1  seq=5  0.400 ms  PING 5 00:00:02.000
server2  seq=6  0.400 ms  PING 6 00:00:02.500
6 sent, 5 received, 16.6667% loss, time 2500 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×2  server2 ×2  server3 ×1
order        1 2 3  1 2        the balancer keeps counting: the next turn is expected to be server3's
`,
		},
		{
			name: "what servers send cannot steer the terminal",
			args: "-c 2",
			answer: func(n int, request string) []datagram {
				return []datagram{{payload: request + []string{" \x1b]0;x\a", "\u202e\u009b2J"}[n]}}
			},
			want: `
"\x1b]0;x\a"  seq=1  0.000 ms  PING 1 00:00:00.000
?  seq=2  0.000 ms  "PING 2 00:00:00.200\u202e\u009b2J"
2 sent, 2 received, 0% loss, time 200 ms
rtt min/avg/max/mdev = 0.000/0.000/0.000/0.000 ms
answered by  "\x1b]0;x\a" ×1  ? ×1
order        "\x1b]0;x\a" ?        a server does not say its name, so nobody can tell who is next
`,
		},
		{
			name: "padding comes back and a long message is cut on the screen",
			args: "-c 2 -s 60000",
			answer: func(n int, request string) []datagram {
				if n == 1 {
					request = request[:1024] // as the assignment's programs do
				}
				return []datagram{reply(request, "server1")}
			},
			want: `
server1  seq=1  0.400 ms  PING 1 00:00:00.000 ............................................…
server1  seq=2  0.400 ms  PING 2 00:00:00.200 ............................................…
2 sent, 2 received, 0% loss, time 200 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×2
order        1 1        only one server has answered, which tells no order
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLab(t, &lab{answer: tt.answer}, &session{args: tt.args + " b:8888"})
			lines := slices.DeleteFunc(strings.SplitAfter(s.stdout, "\n"), func(line string) bool {
				return strings.HasPrefix(line, "PING b ") || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "REQUEST TIMED OUT") && !strings.Contains(line, "(")
			})
			s.stdout = strings.Join(lines, "")
			s.check(t, tt.code, tt.want)
		})
	}
}

func TestTwoPingsAreNeverOnTheWayAtOnce(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		args  string
		after time.Duration // until the answer
		want  []time.Duration
	}{
		{"answered within the interval: one an interval", "-i 200ms", ms, []time.Duration{0, 200 * ms, 400 * ms}},
		{"answered after it: at the answer", "-i 200ms", 300 * ms, []time.Duration{0, 300 * ms, 600 * ms}},
		{"not answered: at the timeout", "-i 200ms", time.Hour, []time.Duration{0, 1000 * ms, 2000 * ms}},
		{"an interval longer than the timeout is kept", "-i 3s", time.Hour, []time.Duration{0, 3000 * ms, 6000 * ms}},
		{"no interval: as fast as answers come", "-i 0", 5 * ms, []time.Duration{0, 5 * ms, 10 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &lab{answer: func(_ int, request string) []datagram {
				return []datagram{{after: tt.after, payload: request + " server1"}}
			}}
			inLab(t, l, &session{args: "-c 3 b:1 " + tt.args})
			var offsets []time.Duration
			for _, at := range l.times {
				offsets = append(offsets, at.Sub(l.times[0]))
			}
			if !slices.Equal(offsets, tt.want) {
				t.Errorf("sent at %v, want %v", offsets, tt.want)
			}
		})
	}
}

func TestAnErrorOfAnEarlierDatagramCostsNoPing(t *testing.T) {
	l := &lab{answer: roundRobin(), refuseWrites: 1}
	s := inLab(t, l, &session{args: "-c 3 -q b:1"})
	if s.code != 0 || len(l.requests) != 3 || !strings.Contains(s.stdout, "3 sent, 3 received") {
		t.Errorf("%d requests, exit code %d\n%s", len(l.requests), s.code, s.stdout)
	}
}

func TestAPingTheSystemDoesNotTakeIsNoAnswer(t *testing.T) {
	l := &lab{answer: roundRobin(), refuseWrites: 2}
	s := inLab(t, l, &session{args: "-c 2 b:1"})
	if !strings.Contains(s.stdout, "REQUEST TIMED OUT  seq=1  (refused)\n") || !strings.Contains(s.stdout, "2 sent, 1 received, 50% loss") {
		t.Errorf("%s", s.stdout)
	}
}

func TestASocketThatFailsEndsTheRunWithItsSummary(t *testing.T) {
	s := inLab(t, &lab{answer: func(n int, request string) []datagram {
		if n == 0 {
			return []datagram{reply(request, "server1")}
		}
		return []datagram{{err: context.DeadlineExceeded}} // nothing a UDP socket should say
	}}, &session{args: "b:1"})
	if s.code != 2 || !strings.Contains(s.stdout, "2 sent, 1 received, 1 unfinished, 0% loss") {
		t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
	}
}

func TestCtrlCEndsTheRunWithItsSummary(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration
		silent []int
		code   int
		want   string
	}{
		{"between two pings", 500 * time.Millisecond, nil, 0, "3 sent, 3 received, 0% loss, time 500 ms\n"},
		{"while one waits", 500 * time.Millisecond, []int{1}, 0, "2 sent, 1 received, 1 unfinished, 0% loss, time 500 ms\n"},
		{"while the first waits", 100 * time.Millisecond, []int{0}, 1, "1 sent, 0 received, 1 unfinished, time 100 ms\n"},
		{"before anything was sent", 0, nil, 1, "0 sent, 0 received, time 0 ms\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{args: "-c 0 b:1", dial: (&lab{answer: roundRobin(tt.silent...)}).dial}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.after)
				defer cancel()
				s.run(ctx)
			})
			if s.code != tt.code || !strings.HasPrefix(s.stdout, "PING b (172.30.7.10:8888): until Ctrl-C\n") || !strings.Contains(s.stdout, tt.want) {
				t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
			}
		})
	}
}

func TestCtrlCWhileAPingWaitsBreaksNoLimit(t *testing.T) {
	for _, args := range []string{"-c 0 --max-loss 0 b:1", "-c 0 --max-loss 0 --json -q b:1"} {
		s := inLabFor(t, 500*time.Millisecond, &lab{answer: roundRobin(2)}, &session{args: args})
		if s.code != 0 || !strings.Contains(s.stdout, "1 unfinished, 0% loss") && !strings.Contains(s.stdout, `"unfinished":1,"loss_pct":0,`) {
			t.Errorf("%s: exit code %d (%v)\n%s", args, s.code, s.err, s.stdout)
		}
	}
}

func TestLimitsDecideTheExitCode(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   string
		silent []int
		code   int
		said   string
	}{
		{"any answer is enough", "-c 4", []int{0, 1, 3}, 0, ""},
		{"no answer is not", "-c 2", []int{0, 1}, 1, ""},
		{"loss at the limit", "-c 4 --max-loss 25", []int{2}, 0, ""},
		{"loss above it", "-c 4 --max-loss 24.9", []int{2}, 1, "25% loss: more than the 24.9% allowed"},
		{"the expected cycle", "--expect-cycle server1,server2,server3", nil, 0, ""},
		{"the cycle may begin anywhere", "--expect-cycle server3,server1,server2", nil, 0, ""},
		{"a lost answer has had its turn", "--expect-cycle server1,server2,server3", []int{1, 2, 6}, 0, ""},
		{"the wrong way round", "--expect-cycle server1,server3,server2", nil, 1, "out of turn: seq=2 was answered by server2, expected server3"},
		{"one too few in the cycle", "--expect-cycle server1,server2", nil, 1, "out of turn: seq=3 was answered by server3, expected server1"},
		{"nobody of the cycle", "--expect-cycle x,y", nil, 1, "out of turn: seq=1 was answered by server1, expected one of x, y"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLab(t, &lab{answer: roundRobin(tt.silent...)}, &session{args: tt.args + " b:1"})
			said := ""
			if s.err != nil {
				said = s.err.Error()
			}
			if s.code != tt.code || said != tt.said {
				t.Errorf("exit code %d, said %q\n%s", s.code, said, s.stdout)
			}
		})
	}
}

func TestTheFirstAnswerOutOfTurnEndsTheRun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(n int, request string) []datagram
		sent   int
	}{
		{"a reply", func(n int, request string) []datagram {
			return []datagram{reply(request, []string{"server1", "server2", "server2"}[n])}
		}, 3},
		{"a late one, in the turn of its own ping", func(n int, request string) []datagram {
			if n == 1 {
				return []datagram{{after: 1100 * time.Millisecond, payload: request + " server3"}}
			}
			return roundRobin(2)(n, request)
		}, 3},
		{"a second one from another server", func(n int, request string) []datagram {
			answers := roundRobin()(n, request)
			if n == 1 {
				answers = append(answers, datagram{after: time.Millisecond, payload: request + " server3"})
			}
			return answers
		}, 2},
		{"an unnamed one", func(n int, request string) []datagram {
			return []datagram{{payload: request}}
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &lab{answer: tt.answer}
			s := inLab(t, l, &session{args: "--expect-cycle server1,server2,server3 b:1"})
			if s.code != 1 || len(l.requests) != tt.sent || !strings.Contains(s.stdout, fmt.Sprintf("\n%d sent, ", tt.sent)) {
				t.Errorf("exit code %d (%v) after %d requests, want %d\n%s", s.code, s.err, len(l.requests), tt.sent, s.stdout)
			}
			if strings.Contains(s.stdout, "keeps counting") {
				t.Errorf("claims to know who is next:\n%s", s.stdout)
			}
		})
	}
}

func TestTheRunContinuesTheOrderOfTheOneBefore(t *testing.T) {
	l := &lab{answer: roundRobin()}
	for _, want := range []string{
		"1 2 3  1 2 3  1 2 3  1        the balancer keeps counting: the next turn is expected to be server2's",
		"2 3  1 2 3  1 2 3  1 2        the balancer keeps counting: the next turn is expected to be server3's",
		"3  1 2 3  1 2 3  1 2 3        the balancer keeps counting: the next turn is expected to be server1's",
	} {
		if s := inLab(t, l, &session{args: "-q b:1"}); !strings.Contains(s.stdout, "order        "+want+"\n") {
			t.Errorf("%s", s.stdout)
		}
	}
}

func TestTheTimeOfArrivalDecidesNotTheTimeItIsSeen(t *testing.T) {
	sentAt := time.Date(2026, 1, 2, 10, 4, 5, 0, time.UTC)
	deadline := sentAt.Add(time.Second)
	const payload = "PING 1 10:04:05.000 server1"
	for _, tt := range []struct {
		name     string
		arrivals []arrival
		want     string
		left     int // arrivals that are not looked at yet
	}{
		{"in time, seen after the timer", []arrival{{at: deadline, payload: payload}}, "main.replied", 0},
		{"late, seen with the timer", []arrival{{at: deadline.Add(1), payload: payload}}, "main.timedOut main.cameLate", 0},
		{"a flood does not hold up the timer", []arrival{{at: deadline.Add(1)}, {at: deadline.Add(2)}}, "main.timedOut main.strayed", 1},
		{"nothing", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var shown []string
			r := &runner{
				tally:    newTally(pings, 0, time.Second),
				arrivals: make(chan arrival, len(tt.arrivals)),
				show:     func(e event) { shown = append(shown, fmt.Sprintf("%T", e)) },
			}
			r.tally.send(sentAt)
			for _, a := range tt.arrivals {
				r.arrivals <- a
			}
			if err := r.drain(deadline); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(shown, " "); got != tt.want || len(r.arrivals) != tt.left {
				t.Errorf("%s with %d left, want %s with %d", got, len(r.arrivals), tt.want, tt.left)
			}
		})
	}
}

func TestAnAnswerInTimeWinsOverTheTimer(t *testing.T) {
	// Both are there when wait looks, and select takes either.
	for range 100 {
		r := &runner{tally: newTally(pings, 0, time.Second), arrivals: make(chan arrival, 1), show: func(event) {}}
		_, payload := r.tally.send(time.Now().Add(-time.Minute))
		r.arrivals <- arrival{at: r.tally.deadline(), payload: payload}
		if err := r.wait(t.Context(), r.tally.deadline(), r.tally.waiting); err != nil {
			t.Fatal(err)
		}
		if r.tally.waiting() {
			t.Fatal("the answer was not seen")
		}
	}
}

func TestAnAnswerToARefusedPingIsHeldAgainstNoTurn(t *testing.T) {
	s := inLab(t, &lab{answer: func(n int, request string) []datagram {
		if n == 1 { // a refusal of something else, then the answer after all
			return []datagram{{err: refusal}, {after: time.Millisecond, payload: request + " server3"}}
		}
		return roundRobin()(max(n-1, 0), request)
	}}, &session{args: "-c 3 --expect-cycle server1,server2,server3 b:1"})
	if s.code != 0 || !strings.Contains(s.stdout, "late server3 seq=2") || !strings.Contains(s.stdout, "order        1 2 ") {
		t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
	}
}

func TestTheReasonIsShort(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{refusal, "refused"},
		{fmt.Errorf("write udp: %w", os.NewSyscallError("sendto", syscall.EPERM)), syscall.EPERM.Error()},
		{errors.New("anything else"), "anything else"},
	} {
		if got := reason(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
