package turnlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/logging"
)

var (
	start  = time.Date(2026, 3, 2, 10, 4, 5, 0, time.UTC)
	client = netip.MustParseAddrPort("172.30.7.130:41730")
	names  = []string{"server1", "server2", "server3"}
)

func after(d time.Duration) time.Time { return start.Add(d) }

// scene is a ledger, what the data path would do to it, and what is told.
type scene struct {
	t       *testing.T
	out     bytes.Buffer
	ledger  *ledger.Ledger
	pending []ledger.Outstanding // one client's, by backend
	turns   uint64
	logger  *turnLogger
}

func newScene(t *testing.T, format logging.Format, whenDown balancing.WhenDown) *scene {
	s := &scene{t: t, ledger: ledger.New(names, time.Second, start), pending: make([]ledger.Outstanding, len(names))}
	for i := range names {
		s.ledger.BackendAt(start, i, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(2526+i)))
	}
	s.logger = newTurnLogger(Config{
		Ledger: s.ledger, Log: logging.Config{LogFormat: format}.Logger(&s.out),
		WhenDown: whenDown, AnswerTimeout: time.Second,
	}, start)
	return s
}

// receive takes n turns in order, all of one fate.
func (s *scene) receive(at time.Duration, n int, fate ledger.Disposition) {
	for range n {
		backend := int(s.turns % uint64(len(names)))
		s.ledger.Received(after(at), []ledger.Request{{
			Client: client, Bytes: 19, Disposition: fate, Turn: s.turns, Backend: backend, Outstanding: &s.pending[backend],
		}})
		s.turns++
	}
}

func (s *scene) reply(at time.Duration, backend int, payload string) {
	s.ledger.Replied(after(at), []ledger.Reply{{
		Backend: backend, Bytes: len(payload), Head: []byte(payload), Outstanding: &s.pending[backend],
	}})
}

// lose is a reply that the kernel would not take for the client.
func (s *scene) lose(at time.Duration, backend int) {
	s.ledger.Replied(after(at), []ledger.Reply{{Backend: backend, Outstanding: &s.pending[backend], Lost: true}})
}

var timeOfDay = regexp.MustCompile(`^\d\d:\d\d:\d\d `)

// lines returns what has been told since the last call, without the times.
func (s *scene) lines() (lines []string) {
	s.t.Helper()
	for line := range strings.Lines(s.out.String()) {
		if !timeOfDay.MatchString(line) || !strings.HasSuffix(line, "\n") {
			s.t.Errorf("not a line with a time: %q", line)
		}
		lines = append(lines, strings.TrimSuffix(timeOfDay.ReplaceAllString(line, ""), "\n"))
	}
	s.out.Reset()
	return lines
}

// told fails the test unless exactly these lines have been told.
func (s *scene) told(want ...string) {
	s.t.Helper()
	if got := s.lines(); !slices.Equal(got, want) {
		s.t.Errorf("told\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestOneTurnOneLine(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		play func(s *scene)
		want []string
	}{
		{"answered", func(s *scene) {
			s.receive(0, 2, ledger.Forwarded)
			s.reply(410*time.Microsecond, 1, "PING 7 10:04:05.120 server2")
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#2 server2 answered 172.30.7.130:41730 in 0.41 ms: "PING 7 10:04:05.120 server2" (via the load balancer, server port 2527)`,
		}},
		{"waiting: nothing yet", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.logger.logNew(after(999 * ms))
		}, nil},
		{"answered, and the system would not send it on", func(s *scene) {
			s.receive(0, 2, ledger.Forwarded)
			s.lose(410*time.Microsecond, 1)
			s.logger.logNew(after(50 * ms))
			s.logger.logNew(after(1000 * ms))
			s.lose(1718*ms, 0)
			s.logger.logNew(after(1750 * ms))
			s.logger.logNew(after(3000 * ms))
		}, []string{
			`#2 server2 answered, but 172.30.7.130:41730 did not get it: the system would not send it`,
			`#1 server1 silent for 1 s, asked by 172.30.7.130:41730`,
			`#1 server1 answered, but 172.30.7.130:41730 did not get it: the system would not send it`,
		}},
		{"silent", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.logger.logNew(after(50 * ms))
			s.logger.logNew(after(1000 * ms))
			s.logger.logNew(after(2000 * ms))
		}, []string{
			`#1 server1 silent for 1 s, asked by 172.30.7.130:41730`,
		}},
		{"silent, and answered after all", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.logger.logNew(after(1000 * ms))
			s.reply(1718*ms, 0, "PING 1 server1")
			s.logger.logNew(after(1750 * ms))
			s.logger.logNew(after(3000 * ms))
		}, []string{
			`#1 server1 silent for 1 s, asked by 172.30.7.130:41730`,
			`#1 server1 answered 172.30.7.130:41730 late, after 1718 ms: "PING 1 server1" (via the load balancer, server port 2526)`,
		}},
		{"answered late before anybody looked", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1000*ms, 0, "PING 1 server1")
			s.logger.logNew(after(1050 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 late, after 1000 ms: "PING 1 server1" (via the load balancer, server port 2526)`,
		}},
		{"a second answer to one turn is none", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(12340*time.Microsecond, 0, "A")
			s.reply(13*ms, 0, "A")
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in 12.3 ms: "A" (via the load balancer, server port 2526)`,
		}},
		{"a round trip that is not certain", func(s *scene) {
			s.receive(0, 4, ledger.Forwarded) // server1 has turns 1 and 4
			s.reply(1*ms, 0, "A")
			s.reply(2*ms, 0, "B")
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in about 2.00 ms: "B" (via the load balancer, server port 2526)`,
			`#4 server1 answered 172.30.7.130:41730 in about 1.00 ms: "A" (via the load balancer, server port 2526)`,
		}},
		{"an empty reply", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1*ms, 0, "")
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "" (via the load balancer, server port 2526)`,
		}},
		{"a long reply is cut", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1*ms, 0, strings.Repeat("x", 65507))
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "` + strings.Repeat("x", 64) + `"… (via the load balancer, server port 2526)`,
		}},
		{"control bytes stay out of the terminal", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1*ms, 0, "\x1b[2J\r\n\x00\xff\u202e\"")
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "\x1b[2J\r\n\x00\xff\u202e\"" (via the load balancer, server port 2526)`,
		}},
		{"held", func(s *scene) {
			s.receive(0, 1, ledger.DroppedDown)
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 got nothing from 172.30.7.130:41730: it is down and keeps its turn`,
		}},
		{"not sent", func(s *scene) {
			s.receive(0, 1, ledger.SendFailed)
			s.receive(0, 1, ledger.NoSocket)
			s.logger.logNew(after(50 * ms))
		}, []string{
			`#1 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`,
			`#2 server2 got nothing from 172.30.7.130:41730: the system would not send it (no_socket)`,
		}},
		{"a turn that begins just before the second ends is not summed up as well", func(s *scene) {
			s.receive(980*ms, 1, ledger.Forwarded)
			s.reply(981*ms, 0, "A")
			s.logger.logNew(after(1000 * ms))
			s.logger.logNew(after(2000 * ms))
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "A" (via the load balancer, server port 2526)`,
		}},
		{"what nobody answered before the stop", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.logger.logNew(after(50 * ms))
			s.logger.logRest(after(60 * ms))
		}, []string{
			`#1 server1 had not answered 172.30.7.130:41730 when the balancer stopped`,
		}},
		{"what happened just before the stop", func(s *scene) {
			s.receive(0, 51, ledger.SendFailed)
			s.lines()
			s.ledger.Dropped(ledger.Shutdown, 1)
			s.logger.chosen = perSecond // this second has had its lines
			s.logger.logRest(after(10 * ms))
		}, []string{
			`51 more turns in the last second: server1 17, server2 17, server3 17`,
			`WARN 1 datagram dropped in the last second: shutdown 1`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "pretty", balancing.Skip)
			test.play(s)
			s.told(test.want...)
		})
	}
}

func TestTurnsBeforeTheFirstLookAreToldToo(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 1, ledger.SendFailed)
	late := newTurnLogger(s.logger.Config, start)
	late.logNew(after(10 * time.Millisecond))
	s.told(`#1 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`)
}

func TestTurnsOfAnEarlierRunAreNotToldAgain(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.ledger.Resume(17)
	s.turns = 17
	s.logger.logNew(after(50 * time.Millisecond))
	s.receive(0, 1, ledger.SendFailed)
	s.logger.logNew(after(time.Second))
	s.told(`#18 server3 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`)
}

func TestWhatHappensToServersIsTold(t *testing.T) {
	play := func(s *scene) {
		s.ledger.BackendDown(start, 1, ledger.Evidence{Reason: "connection refused"})
		s.logger.logNew(after(50 * time.Millisecond))
		s.ledger.BackendAt(start, 1, netip.MustParseAddrPort("127.0.0.2:2527"))
		s.ledger.BackendUp(start, 1)
		s.logger.logNew(after(100 * time.Millisecond))
		s.logger.logNew(after(150 * time.Millisecond))
	}
	for whenDown, fate := range map[balancing.WhenDown]string{
		balancing.Skip: "go to the next server",
		balancing.Hold: "are kept and lost",
	} {
		t.Run(whenDown.String(), func(t *testing.T) {
			s := newScene(t, "pretty", whenDown)
			play(s)
			s.told(
				"server2 down: connection refused; its turns "+fate,
				"server2 moved to 127.0.0.2:2527",
				"server2 up",
			)
		})
	}
}

func TestAServerThatNeverHadAnAddressIsToldWithoutOne(t *testing.T) {
	s := newScene(t, "json", balancing.Skip)
	s.ledger = ledger.New(names, time.Second, start)
	s.logger.Ledger = s.ledger
	s.ledger.BackendDown(start, 1, ledger.Evidence{Reason: "its name does not resolve: no such host"})
	s.logger.logNew(after(50 * time.Millisecond))
	want := `"msg":"server2 down: its name does not resolve: no such host; its turns go to the next server","event":"down","server":"server2","reason":"its name does not resolve: no such host"}` + "\n"
	if got := s.out.String(); !strings.HasSuffix(got, want) {
		t.Errorf("told %s", got)
	}
}

func TestEventsThatWereMissedAreSaid(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	for range 200 {
		s.ledger.BackendDown(start, 1, ledger.Evidence{Reason: "connection refused"})
		s.ledger.BackendUp(start, 1)
	}
	s.logger.logNew(after(50 * time.Millisecond))
	lines := s.lines()
	if lines[0] != "WARN 144 more ups, downs and moves of servers" || len(lines) != 1+256 {
		t.Errorf("%d lines, the first is %q", len(lines), lines[0])
	}
}

func TestFiftyTurnsASecondHaveLinesAndTheRestIsSummedUp(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 50, ledger.SendFailed)
	s.logger.logNew(after(50 * time.Millisecond))
	if n := len(s.lines()); n != 50 {
		t.Errorf("%d lines for 50 turns", n)
	}
	s.receive(0, 1207, ledger.SendFailed)
	s.logger.logNew(after(100 * time.Millisecond))
	s.told() // this second has had its lines
	s.logger.logNew(after(1000 * time.Millisecond))
	s.told("1,207 more turns in the last second: server1 402, server2 402, server3 403")
	s.receive(0, 1, ledger.SendFailed)
	s.logger.logNew(after(1050 * time.Millisecond))
	s.told("#1258 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)")
	s.logger.logNew(after(2000 * time.Millisecond))
	s.told()
}

func TestOneTurnTooManyIsOneMoreTurn(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 51, ledger.SendFailed)
	s.logger.logNew(after(50 * time.Millisecond))
	s.lines()
	s.logger.logNew(after(1000 * time.Millisecond))
	s.told("1 more turn in the last second: server1 0, server2 0, server3 1")
}

func TestWhatIsSummedUpAtTheFirstLookIsNotToldAtTheNext(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 60, ledger.SendFailed)
	s.logger.logNew(after(1000 * time.Millisecond))
	lines := s.lines()
	if len(lines) != 51 || lines[50] != "10 more turns in the last second: server1 3, server2 3, server3 4" {
		t.Errorf("told %q", lines)
	}
	s.logger.logNew(after(1050 * time.Millisecond))
	s.told()
}

func TestTurnsAfterTheSnapshotWaitForTheNextLook(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 5, ledger.Forwarded)
	s.logger.choose(start, 2)
	if s.logger.chosen != 2 || s.logger.next != 2 {
		t.Errorf("%d turns chosen, the next is turn %d: want 2 and 2", s.logger.chosen, s.logger.next)
	}
}

// sum adds up what lines tell: turns with a line of their own, and turns in
// summaries, in total and by server.
func sum(t *testing.T, lines []string) (total int, byServer map[string]int) {
	t.Helper()
	number := func(text string) int {
		n, err := strconv.Atoi(strings.ReplaceAll(text, ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	byServer = map[string]int{}
	for _, line := range lines {
		if strings.HasPrefix(line, "#") {
			total++
			byServer[strings.Fields(line)[1]]++
			continue
		}
		count, shares, ok := strings.Cut(line, " more turn")
		if !ok {
			t.Fatalf("unexpected line %q", line)
		}
		total += number(count)
		_, shares, _ = strings.Cut(shares, ": ")
		for share := range strings.SplitSeq(shares, ", ") {
			name, n, _ := strings.Cut(share, " ")
			byServer[name] += number(n)
		}
	}
	return total, byServer
}

func TestToldAndSummedUpAreAllTurns(t *testing.T) {
	bursts := map[string][]int{ // turns before each look, 20 looks a second
		"a few":                                {1, 0, 2, 0, 0, 3},
		"fifty exactly, again and again":       {50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50, 0, 50},
		"a steady stream":                      slices.Repeat([]int{7}, 70),
		"beyond the ring at once":              {3*ledger.Size + 17},
		"beyond the ring, again and again":     slices.Repeat([]int{ledger.Size + 1}, 45),
		"a burst after the lines were used up": {60, 2 * ledger.Size, 1, 0, 5},
		"a burst while fifty turns wait":       {50, 5 * ledger.Size},
		"a burst over the end of a second":     slices.Concat(slices.Repeat([]int{1}, 19), []int{9000, 9000, 3}),
	}
	for name, burst := range bursts {
		for _, fate := range []ledger.Disposition{ledger.SendFailed, ledger.Forwarded} {
			t.Run(fmt.Sprintf("%s, %v", name, fate), func(t *testing.T) {
				s := newScene(t, "pretty", balancing.Skip)
				now := time.Duration(0)
				for _, n := range burst {
					s.receive(now, n, fate)
					now += interval
					s.logger.logNew(after(now))
				}
				s.logger.logRest(after(now))
				total, byServer := sum(t, s.lines())
				if total != int(s.turns) {
					t.Errorf("told and summed up %d turns of %d", total, s.turns)
				}
				for i, name := range names {
					if want := (int(s.turns) + len(names) - 1 - i) / len(names); byServer[name] != want {
						t.Errorf("%s: told and summed up %d turns of %d", name, byServer[name], want)
					}
				}
			})
		}
	}
}

func TestDropsWithoutATurnAreSummedUpOnceASecond(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.ledger.Dropped(ledger.NoBackend, 1500)
	s.receive(0, 1, ledger.DroppedDown) // has its own line
	s.logger.logNew(after(50 * time.Millisecond))
	s.told(`#1 server1 got nothing from 172.30.7.130:41730: it is down and keeps its turn`)
	s.ledger.Dropped(ledger.Stranger, 2)
	s.logger.logNew(after(1000 * time.Millisecond))
	s.told("WARN 1,502 datagrams dropped in the last second: no_backend 1,500, stranger 2")
	s.logger.logNew(after(2000 * time.Millisecond))
	s.told()
	s.ledger.Dropped(ledger.Loop, 1)
	s.logger.logNew(after(3000 * time.Millisecond))
	s.told("WARN 1 datagram dropped in the last second: loop 1")
}

func TestJSONSaysItAgainInAttributes(t *testing.T) {
	s := newScene(t, "json", balancing.Skip)
	s.receive(0, 1, ledger.Forwarded)
	s.reply(412*time.Microsecond, 0, "PING 1 server1")
	s.receive(0, 1, ledger.DroppedDown)
	s.ledger.BackendDown(start, 2, ledger.Evidence{Reason: "connection refused"})
	s.logger.logNew(after(50 * time.Millisecond))
	s.receive(0, 3000, ledger.SendFailed)
	s.ledger.Dropped(ledger.NoBackend, 4)
	s.logger.chosen = perSecond
	s.logger.logNew(after(1000 * time.Millisecond))
	want := []string{
		`{"event":"down","server":"server3","reason":"connection refused","addr":"127.0.0.1:2528"}`,
		`{"turn":1,"server":"server1","client":"172.30.7.130:41730","bytes":19,"outcome":"answered","rtt_ms":0.412,"rtt_exact":true,"reply":"PING 1 server1","reply_bytes":14,"server_port":2526}`,
		`{"turn":2,"server":"server2","client":"172.30.7.130:41730","bytes":19,"outcome":"dropped","fate":"held"}`,
		`{"turns":3000,"servers":{"server1":1000,"server2":1000,"server3":1000}}`,
		`{"dropped":4,"reasons":{"no_backend":4}}`,
	}
	got := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), s.out.String())
	}
	for i := range want {
		var line map[string]any
		if err := json.Unmarshal([]byte(got[i]), &line); err != nil {
			t.Fatal(err)
		}
		for _, usual := range []string{"time", "level", "msg"} {
			if line[usual] == nil {
				t.Errorf("no %s in %s", usual, got[i])
			}
		}
		if attributes := "," + want[i][1:]; !strings.HasSuffix(got[i], attributes) {
			t.Errorf("line %s\nwant …%s", got[i], attributes)
		}
	}
}

func TestRunTellsTheRestWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "pretty", balancing.Skip)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); Run(ctx, s.logger.Config) }()

		s.receive(0, 1, ledger.SendFailed)
		time.Sleep(2 * interval)
		synctest.Wait()
		s.told(`#1 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`)

		s.receive(0, 60, ledger.SendFailed)
		stop()
		<-done
		lines := s.lines()
		if total, _ := sum(t, lines); total != 60 || len(lines) != 49+1 {
			t.Errorf("%d turns told in %d lines, want 60 in 50", total, len(lines))
		}
	})
}

// A class may leave thousands of turns silent. They must not cost the data path
// anything for ever.
func TestSilentTurnsAreNotAskedAboutForEver(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 3, ledger.Forwarded)
	s.logger.logNew(after(time.Second))
	if len(s.logger.silent) != 3 {
		t.Fatalf("%d are followed, want 3", len(s.logger.silent))
	}
	s.reply(59*time.Second, 0, "A")
	s.logger.logNew(after(59 * time.Second))
	if lines := s.lines(); len(lines) != 4 || !strings.Contains(lines[3], "#1 server1 answered 172.30.7.130:41730 late, after 59000 ms") {
		t.Errorf("told %q", lines)
	}
	s.logger.logNew(after(62 * time.Second))
	if len(s.logger.silent) != 0 {
		t.Errorf("%d are followed after a minute", len(s.logger.silent))
	}
}
