package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestJSONIsTheDocumentedLinesAndNothingElse(t *testing.T) {
	const ms = time.Millisecond
	l := &lab{answer: func(n int, request string) []datagram {
		server := []string{"server1", "server2", "server3"}[n%3]
		switch n {
		case 2:
			return []datagram{{after: 1718*ms + 200*time.Microsecond, payload: request + " server3"}}
		case 3:
			second := reply(request, server)
			second.after += ms
			return []datagram{{payload: "stray"}, reply(request, server), second}
		case 5:
			return []datagram{{after: ms, payload: request + "<\u009b>"}}
		case 6:
			return []datagram{{err: refusal}}
		}
		d := reply(request, server)
		d.after += time.Duration(n) * 100 * time.Microsecond
		if n == 4 {
			d.after = 700 * ms
		}
		return []datagram{d}
	}}
	s := inLab(t, l, &session{args: "-c 7 --json balancer:8888", environ: []string{"CLIENT_EPILOGUE=again"}})
	s.check(t, 0, `
{"type":"start","target":"balancer:8888","addr":"172.30.7.10:8888","count":7,"timeout_ms":1000}
{"type":"reply","seq":1,"server":"server1","rtt_ms":0.4,"bytes":27,"message":"PING 1 00:00:00.000 server1"}
{"type":"reply","seq":2,"server":"server2","rtt_ms":0.5,"bytes":27,"message":"PING 2 00:00:00.200 server2"}
{"type":"timeout","seq":3}
{"type":"reply","seq":4,"server":"server1","rtt_ms":0.4,"bytes":27,"message":"PING 4 00:00:01.400 server1"}
{"type":"duplicate","seq":4,"server":"server1"}
{"type":"late","seq":3,"server":"server3","rtt_ms":1718.2}
{"type":"reply","seq":5,"server":"server2","rtt_ms":700,"bytes":27,"message":"PING 5 00:00:01.600 server2"}
{"type":"reply","seq":6,"server":null,"rtt_ms":1,"bytes":23,"message":"PING 6 00:00:02.300<\u009b>"}
{"type":"timeout","seq":7,"why":"refused"}
{"type":"summary","sent":7,"received":5,"late":1,"duplicates":1,"strays":1,"unfinished":0,"loss_pct":28.571,"time_ms":2500,"rtt_ms":{"min":0.4,"avg":140.46,"max":700,"mdev":279.77,"p50":0.5,"p95":null,"p99":null},"by_server":{"?":1,"server1":2,"server2":2},"next_expected":null,"out_of_turn":null,"exit":0}
`)
	same(t, "stderr", s.stderr, "client: stray \"stray\" answers no ping of this run\n")
}

func TestJSONIsValidWhenNothingIsAnswered(t *testing.T) {
	s := inLab(t, &lab{answer: roundRobin(0, 1)}, &session{args: "-c 2 --json -q balancer:8888"})
	s.check(t, 1, `
{"type":"summary","sent":2,"received":0,"late":0,"duplicates":0,"strays":0,"unfinished":0,"loss_pct":100,"time_ms":2000,"rtt_ms":{"min":null,"avg":null,"max":null,"mdev":null,"p50":null,"p95":null,"p99":null},"by_server":{},"next_expected":null,"out_of_turn":null,"exit":1}
`)
}

func TestJSONKnowsWhoIsNext(t *testing.T) {
	for args, want := range map[string]any{
		"-c 5":                                "server3", // server1 and server2 came round again
		"-c 3":                                nil,       // a fourth server may exist
		"-c 1 --expect-cycle server1,server2": "server2",
	} {
		s := inLab(t, &lab{answer: roundRobin()}, &session{args: args + " --json -q b:1"})
		var summary map[string]any
		if err := json.Unmarshal([]byte(s.stdout), &summary); err != nil {
			t.Fatalf("%v in %s", err, s.stdout)
		}
		if summary["next_expected"] != want {
			t.Errorf("%s: next expected %v, want %v", args, summary["next_expected"], want)
		}
	}
}

func TestJSONSaysWhichAnswerWasOutOfTurn(t *testing.T) {
	for cycle, want := range map[string]string{
		"server1,server2,server3": `"out_of_turn":null,"exit":0}`,
		"server1,server3,server2": `"out_of_turn":{"seq":2,"server":"server2","expected":"server3"},"exit":1}`,
		"x,y":                     `"out_of_turn":{"seq":1,"server":"server1","expected":null},"exit":1}`,
	} {
		s := inLab(t, &lab{answer: roundRobin()}, &session{args: "--json -q b:1 --expect-cycle " + cycle})
		if !strings.HasSuffix(s.stdout, want+"\n") {
			t.Errorf("%s: %s", cycle, s.stdout)
		}
	}
}

func TestPercentilesComeWithTwentyAnswers(t *testing.T) {
	answer := func(n int, request string) []datagram {
		d := reply(request, "server1")
		d.after = time.Duration(n+1) * time.Millisecond
		return []datagram{d}
	}
	s := inLab(t, &lab{answer: answer}, &session{args: "-q -c 19 b:1"})
	if strings.Contains(s.stdout, "p50") {
		t.Errorf("with 19 answers:\n%s", s.stdout)
	}
	s = inLab(t, &lab{answer: answer}, &session{args: "-q -c 20 b:1"})
	s.check(t, 0, `
--- b ping statistics ---
20 sent, 20 received, 0% loss, time 3820 ms
rtt min/avg/max/mdev = 1.000/10.500/20.000/5.766 ms
rtt p50/p95/p99 = 10.000/19.000/20.000 ms
answered by  server1 ×20
order        1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1        only one server has answered, which tells no order
`)
	s = inLab(t, &lab{answer: answer}, &session{args: "--json -q -c 20 b:1"})
	if !strings.Contains(s.stdout, `"p50":10,"p95":19,"p99":20}`) {
		t.Errorf("%s", s.stdout)
	}
}

func TestTheEpilogueFollowsTheSummary(t *testing.T) {
	environ := []string{"CLIENT_EPILOGUE=again: docker compose run --rm client\npage:  http://localhost:8080\n"}
	want := "order        1        too few answers to tell who is next\nagain: docker compose run --rm client\npage:  http://localhost:8080\n"
	s := inLab(t, &lab{answer: roundRobin()}, &session{args: "-c 1 b:1", environ: environ})
	if !strings.HasSuffix(s.stdout, want) {
		t.Errorf("%s", s.stdout)
	}
	s = inLab(t, &lab{answer: roundRobin(0)}, &session{args: "-c 1 b:1", environ: environ})
	if !strings.HasSuffix(s.stdout, "page:  http://localhost:8080\n") {
		t.Errorf("when nothing was answered:\n%s", s.stdout)
	}
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		environ  []string
		coloured bool
	}{
		{"a terminal", true, []string{"TERM=xterm"}, true},
		{"an empty NO_COLOR is none", true, []string{"TERM=xterm", "NO_COLOR="}, true},
		{"a pipe", false, []string{"TERM=xterm"}, false},
		{"NO_COLOR", true, []string{"TERM=xterm", "NO_COLOR=1"}, false},
		{"a dumb terminal", true, []string{"TERM=dumb"}, false},
		{"a terminal of no known kind", true, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inLab(t, &lab{answer: roundRobin(0)}, &session{args: "-c 2 b:1", environ: tt.environ, terminal: tt.terminal})
			if strings.Contains(s.stdout, "\x1b") != tt.coloured {
				t.Errorf("%q", s.stdout)
			}
			plain := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(s.stdout)
			if !strings.Contains(plain, "\nREQUEST TIMED OUT  seq=1\n") {
				t.Errorf("without colour it says %q", plain)
			}
		})
	}
}

func TestExcerptCutsBetweenCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"short":                       "short",
		strings.Repeat("a", 64):       strings.Repeat("a", 64),
		strings.Repeat("a", 65):       strings.Repeat("a", 64) + "…",
		strings.Repeat("a", 63) + "ä": strings.Repeat("a", 63) + "…",
		strings.Repeat("\x80", 70):    `"` + strings.Repeat(`\x80`, 60) + `"…`,
		"tab\there":                   `"tab\there"`,
	} {
		if got := excerpt(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
