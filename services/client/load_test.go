package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// after answers in turn like roundRobin, each after so long.
func after(delay time.Duration, silent ...int) func(int, string) []datagram {
	return func(n int, request string) []datagram {
		answers := roundRobin(silent...)(n, request)
		for i := range answers {
			answers[i].after = delay
		}
		return answers
	}
}

func TestWhatALoadShows(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []datagram
		code   int
		want   string
	}{
		{
			name:   "every answer, with each server's share",
			args:   "-c 30 --window 3",
			answer: after(100 * ms),
			want: `
LOAD b (172.30.7.10:8888): 30 datagrams, 3 under way
--- b load statistics ---
30 sent, 30 received, 0 lost, 0% loss, time 1000 ms
30 answers a second
rtt min/avg/max = 100.000/100.000/100.000 ms
rtt p50/p90/p99/p99.9 = 100.000/100.000/100.000/100.000 ms
answered by  server1 ×10 (33.3%)  server2 ×10 (33.3%)  server3 ×10 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name:   "as many as fit the duration, and the answers to the last of them",
			args:   "--window 2 --duration 0.95",
			answer: after(100 * ms),
			want: `
LOAD b (172.30.7.10:8888): for 950ms, 2 under way
--- b load statistics ---
20 sent, 20 received, 0 lost, 0% loss, time 1000 ms
20 answers a second
rtt min/avg/max = 100.000/100.000/100.000 ms
rtt p50/p90/p99/p99.9 = 100.000/100.000/100.000/100.000 ms
answered by  server1 ×7 (35.0%)  server2 ×7 (35.0%)  server3 ×6 (30.0%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name:   "a rate, exactly",
			args:   "--rate 7 --duration 3s",
			answer: after(ms),
			want: `
LOAD b (172.30.7.10:8888): for 3s, 64 under way, 7 a second
--- b load statistics ---
21 sent, 21 received, 0 lost, 0% loss, time 3000 ms
7 answers a second, 7 wanted
rtt min/avg/max = 1.000/1.000/1.000 ms  (from when each was due)
rtt p50/p90/p99/p99.9 = 1.000/1.000/1.000/1.000 ms
answered by  server1 ×7 (33.3%)  server2 ×7 (33.3%)  server3 ×7 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name:   "a rate that the window does not allow counts the wait in",
			args:   "--rate 10 --window 1 --duration 1s",
			answer: after(240 * ms), // the n-th is due at n × 100 ms and answered at (n+1) × 240 ms
			want: `
LOAD b (172.30.7.10:8888): for 1s, 1 under way, 10 a second
--- b load statistics ---
5 sent, 5 received, 0 lost, 0% loss, time 1200 ms
4.17 answers a second, 10 wanted; 5 were due but never sent, the window was full
rtt min/avg/max = 240.000/520.000/800.000 ms  (from when each was due)
answered by  server1 ×2 (40.0%)  server2 ×2 (40.0%)  server3 ×1 (20.0%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name: "one that is lost makes room after the timeout",
			args: "-c 4 --window 1 -W 500ms",
			answer: func(n int, request string) []datagram {
				if n == 1 {
					return nil
				}
				return after(100*ms)(n, request)
			},
			want: `
LOAD b (172.30.7.10:8888): 4 datagrams, 1 under way
--- b load statistics ---
4 sent, 3 received, 1 lost, 25% loss, time 800 ms
3.75 answers a second
rtt min/avg/max = 100.000/100.000/100.000 ms
answered by  server1 ×2 (66.7%)  server3 ×1 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name: "late, twice and stray told apart",
			args: "-c 4 --window 2 -W 500ms",
			answer: func(n int, request string) []datagram {
				switch n {
				case 0: // late, and then once more
					return []datagram{{after: 600 * ms, payload: request + " server1"}, {after: 650 * ms, payload: request + " server1"}}
				case 1: // in time, and then once more
					return []datagram{{after: 100 * ms, payload: request + " server2"}, {after: 150 * ms, payload: request + " server2"}}
				case 2: // of another run, with a number nobody has sent, and nonsense
					return []datagram{
						{after: 10 * ms, payload: "PING 3 23:59:59.000 server3"}, {after: 10 * ms, payload: "PING 99 00:00:00.000 server3"},
						{after: 10 * ms, payload: "hello"}, {after: 450 * ms, payload: request + " server3"},
					}
				}
				return after(200*ms)(n, request)
			},
			want: `
LOAD b (172.30.7.10:8888): 4 datagrams, 2 under way
--- b load statistics ---
4 sent, 3 received, 1 lost, 1 of them late, 2 duplicates, 3 strays, 25% loss, time 700 ms
4.29 answers a second
rtt min/avg/max = 100.000/250.000/450.000 ms
answered by  server1 ×1 (33.3%)  server2 ×1 (33.3%)  server3 ×1 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name:   "no answer at all",
			args:   "--window 3 --duration 1s -W 400ms",
			answer: func(int, string) []datagram { return nil },
			code:   1,
			want: `
LOAD b (172.30.7.10:8888): for 1s, 3 under way
--- b load statistics ---
9 sent, 0 received, 9 lost, 100% loss, time 1200 ms
0 answers a second
`,
		},
		{
			name: "nobody there",
			args: "--window 2 --duration 1s -W 600ms",
			answer: func(int, string) []datagram {
				return []datagram{{after: ms, err: refusal}}
			},
			code: 1,
			want: `
LOAD b (172.30.7.10:8888): for 1s, 2 under way
--- b load statistics ---
4 sent, 0 received, 4 lost, 100% loss, time 1200 ms
0 answers a second
not delivered  refused ×4
`,
		},
		{
			name: "several clients, each answered at its own socket",
			args: "-c 6 --clients 3 --window 1",
			answer: func(n int, request string) []datagram {
				return []datagram{{after: 100 * ms, payload: request}}
			},
			want: `
LOAD b (172.30.7.10:8888): 6 datagrams, 3 under way of 3 clients
--- b load statistics ---
6 sent, 6 received, 0 lost, 0% loss, time 200 ms
30 answers a second
rtt min/avg/max = 100.000/100.000/100.000 ms
answered by  ? ×6 (100.0%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
		{
			name:   "quietly",
			args:   "-c 1 -q",
			answer: after(ms),
			want: `
--- b load statistics ---
1 sent, 1 received, 0 lost, 0% loss, time 1 ms
1000 answers a second
rtt min/avg/max = 1.000/1.000/1.000 ms
answered by  server1 ×1 (100.0%)
order        not told: of many under way, answers come back in another order than the turns
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLab(t, &lab{answer: tt.answer}, &session{args: "load b:8888 " + tt.args})
			s.check(t, tt.code, tt.want)
			if s.stderr != "" {
				t.Errorf("stderr: %s", s.stderr)
			}
		})
	}
}

func TestWhenTheDatagramsOfALoadLeave(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		args   string
		answer func(n int, request string) []datagram
		want   []time.Duration
	}{
		{"at a rate, whatever the answers do", "-c 5 --rate 4", after(700 * ms), []time.Duration{0, 250 * ms, 500 * ms, 750 * ms, 1000 * ms}},
		{"as answers come", "-c 5 --window 2", after(300 * ms), []time.Duration{0, 0, 300 * ms, 300 * ms, 600 * ms}},
		{"what was held up leaves as soon as it can", "-c 4 --rate 10 --window 1", after(150*ms, 0), []time.Duration{0, 1000 * ms, 1150 * ms, 1300 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &lab{answer: tt.answer}
			inLab(t, l, &session{args: "load b:1 " + tt.args})
			var offsets []time.Duration
			for _, at := range l.times {
				offsets = append(offsets, at.Sub(l.times[0]).Truncate(ms))
			}
			if !slices.Equal(offsets, tt.want) {
				t.Errorf("sent at %v, want %v", offsets, tt.want)
			}
		})
	}
}

func TestALoadSendsThePingsOfTheAssignment(t *testing.T) {
	l := &lab{answer: roundRobin()}
	inLab(t, l, &session{args: "load b:1 -c 3 --window 1 -s 24"})
	want := []string{"PING 1 00:00:00.000 ....", "PING 2 00:00:00.000 ....", "PING 3 00:00:00.000 ...."}
	if !slices.Equal(l.requests, want) {
		t.Errorf("sent %q, want %q", l.requests, want)
	}
}

func TestALoadInJSON(t *testing.T) {
	s := inLab(t, &lab{answer: after(100*time.Millisecond, 3)}, &session{
		args:    "load balancer:8888 -c 30 --window 2 --clients 2 -W 500ms --json",
		environ: []string{"CLIENT_EPILOGUE=again", "CLIENT_COUNT=5"},
	})
	s.check(t, 0, `
{"type":"start","target":"balancer:8888","addr":"172.30.7.10:8888","count":30,"timeout_ms":500,"clients":2,"window":2,"rate":0,"duration_ms":0}
{"type":"summary","sent":30,"received":29,"lost":1,"late":0,"duplicates":0,"strays":0,"unfinished":0,"unsent":0,"loss_pct":3.333,"time_ms":900,"per_second":32.222,"rtt_ms":{"min":100,"avg":100,"max":100,"p50":100,"p90":100,"p99":100,"p99_9":100},"by_server":{"server1":9,"server2":10,"server3":10},"errors":{},"next_expected":null,"exit":0}
`)
}

func TestALoadInJSONIsValidWhenNothingIsAnswered(t *testing.T) {
	s := inLab(t, &lab{answer: func(int, string) []datagram { return nil }}, &session{args: "load b:1 -q --json -c 2"})
	s.check(t, 1, `
{"type":"summary","sent":2,"received":0,"lost":2,"late":0,"duplicates":0,"strays":0,"unfinished":0,"unsent":0,"loss_pct":100,"time_ms":1000,"per_second":0,"rtt_ms":{"min":null,"avg":null,"max":null,"p50":null,"p90":null,"p99":null,"p99_9":null},"by_server":{},"errors":{},"next_expected":null,"exit":1}
`)
	s = inLab(t, &lab{answer: roundRobin()}, &session{args: "load b:1 -q --json -c 19"})
	var summary struct {
		RTTMS map[string]*float64 `json:"rtt_ms"`
	}
	if err := json.Unmarshal([]byte(s.stdout), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.RTTMS["p50"] == nil || summary.RTTMS["p99_9"] != nil {
		t.Errorf("with 19 answers: %s", s.stdout)
	}
}

func TestThePercentilesOfALoad(t *testing.T) {
	const ms = time.Millisecond
	l := &lab{answer: func(n int, request string) []datagram { // 1 to 2000 ms
		return []datagram{{after: time.Duration(n+1) * ms, payload: request}}
	}}
	s := inLab(t, l, &session{args: "load b:1 -q --json -c 2000 --window 2000 -W 1h"})
	var summary summary
	if err := json.Unmarshal([]byte(s.stdout), &summary); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"min": 1, "avg": 1000.5, "max": 2000, "p50": 1000, "p90": 1800, "p99": 1980, "p99_9": 1998}
	for name, ms := range want {
		if got := summary.RTTMS[name]; got == nil || math.Abs(*got-ms) > ms/1000 {
			t.Errorf("%s is not about %v in %s", name, ms, s.stdout)
		}
	}
	// The same, as text.
	l.requests = nil
	s = inLab(t, l, &session{args: "load b:1 -q -c 2000 --window 2000 -W 1h"})
	if !regexp.MustCompile(`\nrtt p50/p90/p99/p99\.9 = 1000\.\d{3}/180\d\.\d{3}/198\d\.\d{3}/199\d\.\d{3} ms\n`).MatchString(s.stdout) {
		t.Errorf("%s", s.stdout)
	}
}

func TestALoadKeepsTheLimitOfLoss(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		said string
	}{
		{"--max-loss 25", 0, ""},
		{"--max-loss 24.9", 1, "25% loss: more than the 24.9% allowed"},
	} {
		s := inLab(t, &lab{answer: roundRobin(2)}, &session{args: "load b:1 -c 4 " + tt.args})
		said := ""
		if s.err != nil {
			said = s.err.Error()
		}
		if s.code != tt.code || said != tt.said {
			t.Errorf("%s: exit code %d, said %q", tt.args, s.code, said)
		}
	}
}

func TestCtrlCEndsALoadWithItsSummary(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		args  string
		delay time.Duration
		code  int
		want  string
	}{
		{"between answers", "--duration 0 --window 2", 200 * ms, 0,
			"8 sent, 6 received, 0 lost, 2 unfinished, 0% loss, time 700 ms\n8.57 answers a second\n"},
		{"before any", "--window 2", time.Hour, 1,
			"2 sent, 0 received, 0 lost, 2 unfinished, time 700 ms\n0 answers a second\n"},
		{"while the window is full", "--rate 10 --window 1", 500 * ms, 0,
			"2 sent, 1 received, 0 lost, 1 unfinished, 0% loss, time 700 ms\n1.43 answers a second, 10 wanted; 5 were due but never sent, the window was full\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{args: "load b:1 " + tt.args, dial: (&lab{answer: after(tt.delay)}).dial}
			synctest.Test(t, func(t *testing.T) {
				// Not while anything else happens, and less than a glance before
				// the end of one.
				ctx, cancel := context.WithTimeout(t.Context(), 690*ms)
				defer cancel()
				s.run(ctx)
			})
			if s.code != tt.code || !strings.Contains(s.stdout, tt.want) {
				t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
			}
		})
	}
}

func TestASocketThatFailsEndsALoadWithItsSummary(t *testing.T) {
	s := inLab(t, &lab{answer: func(n int, request string) []datagram {
		if n == 0 {
			return []datagram{reply(request, "server1")}
		}
		return []datagram{{after: time.Millisecond, err: context.DeadlineExceeded}} // nothing a UDP socket should say
	}}, &session{args: "load b:1 --window 1"})
	if s.code != 2 || !strings.Contains(s.stdout, "2 sent, 1 received, 0 lost, 1 unfinished, 0% loss") {
		t.Errorf("exit code %d (%v)\n%s", s.code, s.err, s.stdout)
	}
}

func TestALoadOfAServerThatHasNoNameOfItsOwn(t *testing.T) {
	l := &lab{answer: func(n int, request string) []datagram {
		return []datagram{{payload: fmt.Sprintf("%s at-%d", request, n)}} // a counter, say
	}}
	s := inLab(t, l, &session{args: "load b:1 -q --json -c 1000"})
	var summary struct {
		ByServer map[string]int `json:"by_server"`
	}
	if err := json.Unmarshal([]byte(s.stdout), &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.ByServer) != mostServers+1 || summary.ByServer[unnamed] != 1000-mostServers {
		t.Errorf("%d names, %d without", len(summary.ByServer), summary.ByServer[unnamed])
	}
}
