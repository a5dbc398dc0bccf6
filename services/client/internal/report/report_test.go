package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"udplab/services/client/internal/fakenet"
	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
)

const ms = time.Millisecond

var began = time.Unix(0, 0).UTC()

// pings is everything that happens in a run of pings.
func pings(plan ping.Plan, answer fakenet.Answer) (events []any) {
	keep := func(event any) { events = append(events, event) }
	keep(ping.Started{Target: "b:8888", Addr: fakenet.Addr, Plan: plan})
	run := ping.NewRun(plan, keep)
	end := fakenet.Simulate(run, began, time.Hour, answer)
	keep(run.Status(end))
	keep(ping.Ended{Target: "b:8888", Results: run.Results(end), Exit: 1})
	return events
}

// loads is everything that happens in a load.
func loads(plan load.Plan, answer fakenet.Answer) []any {
	plan.Clients = max(plan.Clients, 1)
	run := load.NewRun(plan, began)
	end := fakenet.Simulate(run, began, time.Hour, answer)
	return []any{
		load.Started{Target: "b:8888", Addr: fakenet.Addr, Plan: plan}, run.Status(end),
		load.Ended{Target: "b:8888", Results: run.Results(end), Exit: 1},
	}
}

// show shows events in one of the ways there are.
func show(o Options, events []any) (out, err string) {
	var stdout, stderr bytes.Buffer
	o.Out, o.Err = &stdout, &stderr
	r := New(o)
	for _, event := range events {
		r.Show(event)
	}
	return stdout.String(), stderr.String()
}

// mixed is a network in which everything happens that can.
func mixed(n int, request string) []fakenet.Datagram {
	d := fakenet.Reply(request, []string{"server1", "server2", "server3"}[n%3])
	second := d
	second.After += ms
	switch n {
	case 2:
		d.After = 1718*ms + 200*time.Microsecond
	case 3:
		return []fakenet.Datagram{{Payload: "stray\x1b"}, d, second}
	case 4:
		d.After = 700 * ms
	case 5:
		return []fakenet.Datagram{{After: ms, Payload: request + "<\u009b>"}}
	case 6:
		return []fakenet.Datagram{{Err: fakenet.Refused}}
	}
	return []fakenet.Datagram{d}
}

var mixedPlan = ping.Plan{Count: 7, Interval: 200 * ms, Timeout: time.Second}

func TestPingsAsPeopleSeeThem(t *testing.T) {
	out, err := show(Options{}, pings(mixedPlan, mixed))
	fakenet.Same(t, "stdout", out, `
PING b (172.30.7.10:8888): 7 pings
server1  seq=1  0.400 ms  PING 1 00:00:00.000
server2  seq=2  0.400 ms  PING 2 00:00:00.200
REQUEST TIMED OUT  seq=3
stray  "stray\x1b" (answers no ping of this run)
server1  seq=4  0.400 ms  PING 4 00:00:01.400
server1  seq=4  1.400 ms  PING 4 00:00:01.400  (DUP!)
late server3 seq=3 1718 ms (already counted as lost)
server2  seq=5  700.000 ms  PING 5 00:00:01.600
?  seq=6  1.000 ms  "PING 6 00:00:02.300<\u009b>"
REQUEST TIMED OUT  seq=7  (refused)
--- b ping statistics ---
7 sent, 5 received, 1 late, 1 duplicate, 1 stray, 28.5714% loss, time 2500 ms
rtt min/avg/max/mdev = 0.400/140.440/700.000/279.780 ms
answered by  server1 ×2  server2 ×2  ? ×1
order        1 2 3  1 2 ?        a server does not say its name, so nobody can tell who is next
`)
	fakenet.Same(t, "stderr", err, "5 of 7 pings answered so far, rtt min/avg/max = 0.400/140.440/700.000 ms\n")
}

func TestPingsAsProgramsSeeThem(t *testing.T) {
	out, err := show(Options{JSON: true}, pings(mixedPlan, mixed))
	fakenet.Same(t, "stdout", out, `
{"type":"start","target":"b:8888","addr":"172.30.7.10:8888","count":7,"timeout_ms":1000}
{"type":"reply","seq":1,"server":"server1","rtt_ms":0.4,"bytes":27,"message":"PING 1 00:00:00.000 server1"}
{"type":"reply","seq":2,"server":"server2","rtt_ms":0.4,"bytes":27,"message":"PING 2 00:00:00.200 server2"}
{"type":"timeout","seq":3}
{"type":"reply","seq":4,"server":"server1","rtt_ms":0.4,"bytes":27,"message":"PING 4 00:00:01.400 server1"}
{"type":"duplicate","seq":4,"server":"server1"}
{"type":"late","seq":3,"server":"server3","rtt_ms":1718.2}
{"type":"reply","seq":5,"server":"server2","rtt_ms":700,"bytes":27,"message":"PING 5 00:00:01.600 server2"}
{"type":"reply","seq":6,"server":null,"rtt_ms":1,"bytes":23,"message":"PING 6 00:00:02.300<\u009b>"}
{"type":"timeout","seq":7,"why":"refused"}
{"type":"summary","sent":7,"received":5,"late":1,"duplicates":1,"strays":1,"unfinished":0,"loss_pct":28.571,"time_ms":2500,"rtt_ms":{"min":0.4,"avg":140.44,"max":700,"mdev":279.78,"p50":0.4,"p95":null,"p99":null},"by_server":{"?":1,"server1":2,"server2":2},"next_expected":null,"out_of_turn":null,"exit":1}
`)
	fakenet.Same(t, "stderr", err, `
client: stray "stray\x1b" answers no ping of this run
5 of 7 pings answered so far, rtt min/avg/max = 0.400/140.440/700.000 ms
`)
}

func TestSummariesOfPings(t *testing.T) {
	slower := func(n int, request string) []fakenet.Datagram { // 1, 2, 3 … ms
		return []fakenet.Datagram{{After: time.Duration(n+1) * ms, Payload: request + " server1"}}
	}
	cycle := func(names string) ping.Plan {
		return ping.Plan{Count: 5, Interval: 100 * ms, Timeout: time.Second, Cycle: strings.Split(names, ",")}
	}
	for _, tt := range []struct {
		name       string
		plan       ping.Plan
		answer     fakenet.Answer
		text, json string
	}{
		{"nothing answered", ping.Plan{Count: 2, Timeout: time.Second}, fakenet.RoundRobin(0, 1), `
--- b ping statistics ---
2 sent, 0 received, 100% loss, time 2000 ms
`, `"loss_pct":100,"time_ms":2000,"rtt_ms":{"min":null,"avg":null,"max":null,"mdev":null,"p50":null,"p95":null,"p99":null},"by_server":{},"next_expected":null,"out_of_turn":null,"exit":1}`},
		{"the next is known", ping.Plan{Count: 5, Interval: ms, Timeout: time.Second}, fakenet.RoundRobin(), `
--- b ping statistics ---
5 sent, 5 received, 0% loss, time 4 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×2  server2 ×2  server3 ×1
order        1 2 3  1 2        the balancer keeps counting: the next turn is expected to be server3's
`, `"by_server":{"server1":2,"server2":2,"server3":1},"next_expected":"server3","out_of_turn":null,"exit":1}`},
		{"19 answers", ping.Plan{Count: 19, Interval: 200 * ms, Timeout: time.Second}, slower, `
--- b ping statistics ---
19 sent, 19 received, 0% loss, time 3619 ms
rtt min/avg/max/mdev = 1.000/10.000/19.000/5.477 ms
answered by  server1 ×19
order        1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1        only one server has answered, which tells no order
`, `"p50":10,"p95":null,"p99":null}`},
		{"percentiles come with twenty", ping.Plan{Count: 20, Interval: 200 * ms, Timeout: time.Second}, slower, `
--- b ping statistics ---
20 sent, 20 received, 0% loss, time 3820 ms
rtt min/avg/max/mdev = 1.000/10.500/20.000/5.766 ms
rtt p50/p95/p99 = 10.000/19.000/20.000 ms
answered by  server1 ×20
order        1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1        only one server has answered, which tells no order
`, `"p50":10,"p95":19,"p99":20}`},
		{"an expected cycle is broken", cycle("server1,server3,server2"), fakenet.RoundRobin(), `
--- b ping statistics ---
2 sent, 2 received, 0% loss, time 100 ms
rtt min/avg/max/mdev = 0.400/0.400/0.400/0.000 ms
answered by  server1 ×1  server2 ×1
order        1 2        this is not the expected order
`, `"next_expected":null,"out_of_turn":{"seq":2,"server":"server2","expected":"server3"},"exit":1}`},
		{"nobody of the cycle", cycle("x,y"), fakenet.Always(fakenet.Datagram{}), `
--- b ping statistics ---
1 sent, 1 received, 0% loss, time 0 ms
rtt min/avg/max/mdev = 0.000/0.000/0.000/0.000 ms
answered by  ? ×1
order        ?        this is not the expected order
`, `"out_of_turn":{"seq":1,"server":null,"expected":null},"exit":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := pings(tt.plan, tt.answer)
			out, _ := show(Options{Quiet: true}, events)
			fakenet.Same(t, "stdout", out, tt.text)
			out, _ = show(Options{Quiet: true, JSON: true}, events)
			if !strings.Contains(out, tt.json) || strings.Count(out, "\n") != 1 || !json.Valid([]byte(out)) {
				t.Errorf("no %s in %s", tt.json, out)
			}
		})
	}
}

func TestLoadsAsPeopleAndProgramsSeeThem(t *testing.T) {
	for _, tt := range []struct {
		name               string
		plan               load.Plan
		answer             fakenet.Answer
		text, status, json string
	}{
		{"every answer, with each server's share", load.Plan{Window: 4, Clients: 2, Count: 30, Timeout: time.Second}, fakenet.After(100 * ms), `
LOAD b (172.30.7.10:8888): 30 datagrams, 4 under way of 2 clients
--- b load statistics ---
30 sent, 30 received, 0 lost, 0% loss, time 800 ms
37.5 answers a second
rtt min/avg/max = 100.000/100.000/100.000 ms
rtt p50/p90/p99/p99.9 = 100.000/100.000/100.000/100.000 ms
answered by  server1 ×10 (33.3%)  server2 ×10 (33.3%)  server3 ×10 (33.3%)
order        not told: of many under way, answers come back in another order than the turns
`, "30 of 30 datagrams answered so far, 37.5 a second, rtt p50/p99 = 100.000/100.000 ms", `
{"type":"start","target":"b:8888","addr":"172.30.7.10:8888","count":30,"timeout_ms":1000,"clients":2,"window":2,"rate":0,"duration_ms":0}
{"type":"summary","sent":30,"received":30,"lost":0,"late":0,"duplicates":0,"strays":0,"unfinished":0,"unsent":0,"loss_pct":0,"time_ms":800,"per_second":37.5,"rtt_ms":{"min":100,"avg":100,"max":100,"p50":100,"p90":100,"p99":100,"p99_9":100},"by_server":{"server1":10,"server2":10,"server3":10},"errors":{},"next_expected":null,"exit":1}
`},
		{"a rate that the window does not allow", load.Plan{Window: 1, Rate: 10, Duration: time.Second, Timeout: time.Second}, fakenet.After(240 * ms), `
LOAD b (172.30.7.10:8888): for 1s, 1 under way, 10 a second
--- b load statistics ---
5 sent, 5 received, 0 lost, 0% loss, time 1200 ms
4.17 answers a second, 10 wanted; 5 were due but never sent, the window was full
rtt min/avg/max = 240.000/520.000/800.000 ms  (from when each was due)
answered by  server1 ×2 (40.0%)  server2 ×2 (40.0%)  server3 ×1 (20.0%)
order        not told: of many under way, answers come back in another order than the turns
`, "5 of 5 datagrams answered so far, 4.17 a second, rtt p50/p99 = 520.094/800.000 ms", `
{"type":"start","target":"b:8888","addr":"172.30.7.10:8888","count":0,"timeout_ms":1000,"clients":1,"window":1,"rate":10,"duration_ms":1000}
{"type":"summary","sent":5,"received":5,"lost":0,"late":0,"duplicates":0,"strays":0,"unfinished":0,"unsent":5,"loss_pct":0,"time_ms":1200,"per_second":4.167,"rtt_ms":{"min":240,"avg":520,"max":800,"p50":520.094,"p90":null,"p99":null,"p99_9":null},"by_server":{"server1":2,"server2":2,"server3":1},"errors":{},"next_expected":null,"exit":1}
`},
		{"late, twice, stray and refused", load.Plan{Window: 2, Count: 5, Timeout: time.Second}, func(n int, request string) []fakenet.Datagram {
			switch n {
			case 0: // late, and then once more
				return []fakenet.Datagram{{After: 1100 * ms, Payload: request + " server1"}, {After: 1150 * ms, Payload: request + " server1"}}
			case 1: // twice, and what answers nothing
				return []fakenet.Datagram{{After: 100 * ms, Payload: request}, {After: 150 * ms, Payload: request}, {Payload: "hello"}, {Payload: "PING 9 00:00:00.000 x"}}
			case 2:
				return []fakenet.Datagram{{After: ms, Err: fakenet.Refused}}
			}
			return []fakenet.Datagram{{After: 200 * ms, Payload: request}}
		}, `
LOAD b (172.30.7.10:8888): 5 datagrams, 2 under way
--- b load statistics ---
5 sent, 3 received, 2 lost, 1 of them late, 2 duplicates, 2 strays, 40% loss, time 1300 ms
2.31 answers a second
not delivered  refused ×1
rtt min/avg/max = 100.000/166.667/200.000 ms
answered by  ? ×3 (100.0%)
order        not told: of many under way, answers come back in another order than the turns
`, "3 of 5 datagrams answered so far, 2.31 a second, rtt p50/p99 = 200.000/200.000 ms", `
{"type":"start","target":"b:8888","addr":"172.30.7.10:8888","count":5,"timeout_ms":1000,"clients":1,"window":2,"rate":0,"duration_ms":0}
{"type":"summary","sent":5,"received":3,"lost":2,"late":1,"duplicates":2,"strays":2,"unfinished":0,"unsent":0,"loss_pct":40,"time_ms":1300,"per_second":2.308,"rtt_ms":{"min":100,"avg":166.667,"max":200,"p50":200,"p90":null,"p99":null,"p99_9":null},"by_server":{"?":3},"errors":{"refused":1},"next_expected":null,"exit":1}
`},
		{"nobody there", load.Plan{Window: 3, Timeout: 2 * time.Hour}, fakenet.Always(), `
LOAD b (172.30.7.10:8888): until Ctrl-C, 3 under way
--- b load statistics ---
3 sent, 0 received, 0 lost, 3 unfinished, time 3600000 ms
0 answers a second
`, "0 of 0 datagrams answered so far, 0 a second", `
{"type":"start","target":"b:8888","addr":"172.30.7.10:8888","count":0,"timeout_ms":7200000,"clients":1,"window":3,"rate":0,"duration_ms":0}
{"type":"summary","sent":3,"received":0,"lost":0,"late":0,"duplicates":0,"strays":0,"unfinished":3,"unsent":0,"loss_pct":null,"time_ms":3600000,"per_second":0,"rtt_ms":{"min":null,"avg":null,"max":null,"p50":null,"p90":null,"p99":null,"p99_9":null},"by_server":{},"errors":{},"next_expected":null,"exit":1}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := loads(tt.plan, tt.answer)
			out, err := show(Options{}, events)
			fakenet.Same(t, "stdout", out, tt.text)
			fakenet.Same(t, "stderr", err, tt.status+"\n")
			_, summary, _ := strings.Cut(strings.TrimPrefix(tt.text, "\n"), "\n")
			out, _ = show(Options{Quiet: true}, events)
			fakenet.Same(t, "stdout, quietly", out, summary)
			out, err = show(Options{JSON: true}, events)
			fakenet.Same(t, "JSON", out, tt.json)
			fakenet.Same(t, "stderr", err, tt.status+"\n")
		})
	}
}

func TestTheAnswerToAQuestion(t *testing.T) {
	for _, tt := range []struct {
		name              string
		answer            fakenet.Answer
		text              string
		quiet, quietError string
	}{
		{"from one of our servers", fakenet.RoundRobin(), "WHO?\nanswered by server1 in 0.400 ms\n", "WHO?\n", ""},
		{"from one without a name", fakenet.Always(fakenet.Datagram{}), "who?\nanswered by a server that does not say its name in 0.000 ms\n", "who?\n", ""},
		{"that never comes", fakenet.RoundRobin(0), "REQUEST TIMED OUT\n", "", "client: REQUEST TIMED OUT\n"},
		{"that cannot come", fakenet.Always(fakenet.Datagram{Err: fakenet.Refused}), "REQUEST TIMED OUT  (refused)\n", "", "client: REQUEST TIMED OUT  (refused)\n"},
	} {
		events := pings(ping.Plan{Timeout: time.Second, Question: new("who?")}, tt.answer)
		out, err := show(Options{Answer: true}, events)
		fakenet.Same(t, tt.name, out+err, tt.text)
		out, err = show(Options{Answer: true, Quiet: true}, events)
		fakenet.Same(t, tt.name+", quietly", out, tt.quiet)
		fakenet.Same(t, tt.name+", quietly on stderr", err, tt.quietError)
	}
}

func TestTheOrderIsDrawn(t *testing.T) {
	long := make([]string, 100)
	for i := range long {
		long[i] = fmt.Sprintf("server%d", i%3+1)
	}
	for _, tt := range []struct {
		turns []string
		want  string
	}{
		{nil, ""},
		{[]string{"", ""}, ""},
		{[]string{"server2", "server3", "", "server2", "server3", "server1"}, "2 3  · 2 3  1"},
		{[]string{"server1", "server2", "", "server1"}, "1 2 ·  1"},
		{[]string{"server1", "server1"}, "1 1"},
		{[]string{"server1", "?", "server1"}, "1 ?  1"},
		{[]string{"?", "?"}, "? ?"},
		{[]string{"beta", "gamma", "alpha", "beta"}, "beta gamma  alpha beta"},
		{[]string{"a1", "b1", "a1"}, "a1 b1  a1"},
		{[]string{"\x1b1", "\x1b2"}, "1 2"},
		{[]string{"\x1b", "a"}, `"\x1b" a`},
		{long[:60], strings.TrimSpace(strings.Repeat(" 1 2 3 ", 20))},
		{long, "… 2 3 " + strings.Repeat(" 1 2 3 ", 19) + " 1"},
	} {
		if got := drawTurns(ping.OrderOf(tt.turns, nil)); got != tt.want {
			t.Errorf("%q is drawn as\n%s, want\n%s", tt.turns, got, tt.want)
		}
	}
}

func TestLongMessagesAreCutBetweenCharacters(t *testing.T) {
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

func TestHowFarARunIs(t *testing.T) {
	pings := func(count, sent, received int64, interval, elapsed time.Duration) ping.Progress {
		return ping.Progress{Plan: ping.Plan{Count: count, Interval: interval}, Counts: ping.Counts{Sent: sent, Received: received, Unfinished: 1}, Elapsed: elapsed}
	}
	loads := func(plan load.Plan, counts ping.Counts, elapsed time.Duration) load.Progress {
		return load.Progress{Plan: plan, Counts: counts, Elapsed: elapsed, PerSecond: 2500}
	}
	for _, tt := range []struct {
		name  string
		event any
		quiet bool
		want  string
	}{
		{"a long run", pings(100, 2, 1, 5*time.Second, 5*time.Second), false, "1 of 1 ping answered, 99 to go, 8 min 15 s left"},
		{"a run whose answers take their time", pings(20, 5, 0, 0, 5*time.Second), false, "0 of 4 pings answered, 16 to go, 20 s left"},
		{"a run that is just long enough", pings(50, 2, 1, 200*ms, time.Second), false, "1 of 1 ping answered, 49 to go, 49 s left"},
		{"a short run", pings(49, 2, 1, 200*ms, 4999*ms), false, ""},
		{"nothing decided yet", pings(100, 1, 0, time.Second, time.Second), false, "0 of 0 pings answered, 100 to go, 1 min 40 s left"},
		{"a run until Ctrl-C says itself how far it is", pings(0, 2, 1, time.Second, time.Hour), false, ""},
		{"but not quietly", pings(0, 2, 1, time.Second, time.Second), true, "1 of 1 ping answered, until Ctrl-C"},
		{"a load", loads(load.Plan{Duration: 3 * time.Second}, ping.Counts{Sent: 9, Received: 8, Unfinished: 1}, 500*ms), false, "2500 answers/s, 0% lost, 3 s left"},
		{"of so many", loads(load.Plan{Count: 5000}, ping.Counts{Sent: 1250, Received: 1249}, 500*ms), false, "2500 answers/s, 0.08% lost, 3750 to go, 2 s left"},
		{"of which none is sent", loads(load.Plan{Count: 5}, ping.Counts{}, 500*ms), false, "2500 answers/s, 5 to go"},
		{"until Ctrl-C", loads(load.Plan{}, ping.Counts{Sent: 1, Unfinished: 1}, 500*ms), false, "2500 answers/s, until Ctrl-C"},
		{"that is all sent", loads(load.Plan{Count: 5}, ping.Counts{Sent: 5, Unfinished: 5}, 500*ms), false, "2500 answers/s, waiting for the last answers"},
		{"whose time is over", loads(load.Plan{Duration: 500 * ms}, ping.Counts{Sent: 5, Unfinished: 5}, 500*ms), false, "2500 answers/s, waiting for the last answers"},
		{"for a day and an hour", loads(load.Plan{Duration: 25*time.Hour + 30*time.Minute}, ping.Counts{}, 0), false, "2500 answers/s, 25 h 30 min left"},
		{"for almost a minute", loads(load.Plan{Duration: 59*time.Second + 1}, ping.Counts{}, 0), false, "2500 answers/s, 1 min 0 s left"},
		{"for almost nothing", loads(load.Plan{Duration: 1}, ping.Counts{}, 0), false, "2500 answers/s, 1 s left"},
		{"another event", ping.Replied{}, false, ""},
	} {
		if got := progressLine(tt.event, tt.quiet); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTheLineInPlaceStandsBelowAllOthers(t *testing.T) {
	far := ping.Progress{Plan: ping.Plan{Count: 100, Interval: time.Second}, Counts: ping.Counts{Sent: 1, Received: 1}}
	const line = toLineStart + "1 of 1 ping answered, 99 to go, 1 min 39 s left"
	reply, status := ping.Replied{Seq: 1, Server: "a"}, ping.Status{}
	for _, tt := range []struct {
		name   string
		o      Options
		events []any
		want   string
	}{
		{"what is printed removes it, the next progress brings it back", Options{InPlace: true}, []any{reply, far, reply, far, far, status},
			"a  seq=1  0.000 ms  \n" + line + toLineStart + "a  seq=1  0.000 ms  \n" + line + line + toLineStart + "0 of 0 pings answered so far\n"},
		{"a quiet run leaves it alone", Options{InPlace: true, Quiet: true}, []any{far, reply, ping.TimedOut{}}, line},
		{"beside JSON too", Options{InPlace: true, JSON: true}, []any{far, ping.TimedOut{Seq: 1}}, line + toLineStart + `{"type":"timeout","seq":1}` + "\n"},
		{"the end of a run removes it", Options{InPlace: true, Answer: true, Quiet: true}, []any{far, ping.Ended{}, ping.Ended{}}, line + toLineStart},
		{"elsewhere there is none", Options{}, []any{far, status}, "0 of 0 pings answered so far\n"},
	} {
		var screen bytes.Buffer
		tt.o.Out, tt.o.Err = &screen, &screen
		r := New(tt.o)
		for _, event := range tt.events {
			r.Show(event)
		}
		if screen.String() != tt.want {
			t.Errorf("%s:\n%q, want\n%q", tt.name, screen.String(), tt.want)
		}
	}
}

func TestColourMarksWhatIsLostOrStrange(t *testing.T) {
	for event, want := range map[any]string{
		ping.TimedOut{Seq: 1}:               "\x1b[31mREQUEST TIMED OUT\x1b[0m  seq=1",
		ping.Late{Seq: 1, Server: "a"}:      "\x1b[33mlate\x1b[0m a seq=1 0 ms (already counted as lost)",
		ping.Duplicate{Seq: 1, Server: "a"}: "a  seq=1  0.000 ms    \x1b[33m(DUP!)\x1b[0m",
	} {
		if got := New(Options{Colour: true}).text(event); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got, _ := New(Options{Colour: true}).answer(ping.TimedOut{}); got != "\x1b[31mREQUEST TIMED OUT\x1b[0m\n" {
		t.Errorf("a question: %q", got)
	}
}

// FuzzAnswers lets anybody answer a ping or any question: what comes is taken for the
// answer only if it begins as the request did, and no way to show it lets it steer a
// terminal.
func FuzzAnswers(f *testing.F) {
	for _, payload := range []string{"PING 1 00:00:00.000 server1", "PING 1 00:00:00.000 ..... server1", "PING 2", "\xff\x00"} {
		f.Add(false, "", payload)
	}
	for _, question := range []string{"", "hello", "Grün?", "\xff", "PING 1", strings.Repeat("ä", 40)} {
		for _, payload := range []string{"", question, strings.ToUpper(question) + " server1", question + " \x1b[2J", question[:len(question)/2]} {
			f.Add(true, question, payload)
		}
	}
	f.Add(true, "0", "0\u0558") // which nobody has assigned, so it is not printable
	f.Fuzz(func(t *testing.T, asks bool, question, payload string) {
		plan := ping.Plan{Count: 1, Size: 25, Timeout: time.Second}
		if asks {
			plan.Question = &question
		}
		request := ""
		events := pings(plan, func(_ int, sent string) []fakenet.Datagram {
			request = sent
			return []fakenet.Datagram{{After: ms, Payload: payload}}
		})
		switch e := events[1].(type) { // behind Started
		case ping.Unmatched:
		case ping.Replied:
			if !strings.HasPrefix(strings.ToUpper(payload), strings.ToUpper(request[:min(len(request), 64)])) {
				t.Errorf("%q was taken for the answer to %q", payload, request)
			}
			if e.Message+" "+e.Server != payload && (e.Server != ping.Unnamed || e.Message != payload) {
				t.Errorf("%q was split into %q and %q", payload, e.Message, e.Server)
			}
		default:
			t.Errorf("%q: %+v", payload, e)
		}
		for _, o := range []Options{{}, {Answer: true}, {Answer: true, Quiet: true}, {JSON: true}, {JSON: true, Quiet: true}} {
			out, err := show(o, events)
			fakenet.Harmless(t, "stderr", err)
			if !o.JSON {
				fakenet.Harmless(t, "stdout", out)
				continue
			}
			for line := range strings.Lines(out) {
				if !json.Valid([]byte(line)) || strings.ContainsFunc(line, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
					t.Errorf("line %q", line)
				}
			}
		}
	})
}
