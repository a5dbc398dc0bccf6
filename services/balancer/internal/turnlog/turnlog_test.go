package turnlog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/kit/logging"
)

var (
	start  = time.Date(2026, 3, 2, 10, 4, 5, 0, time.UTC)
	client = netip.MustParseAddrPort("172.30.7.130:41730")
	names  = []string{"server1", "server2", "server3"}
)

// at is a time in milliseconds after the start.
func at(ms float64) time.Time { return start.Add(time.Duration(ms * float64(time.Millisecond))) }

// scene is a ledger, what the data path would do to it, and what is logged.
type scene struct {
	t       *testing.T
	out     bytes.Buffer
	ledger  *ledger.Ledger
	servers []membership.Backend
	pending ledger.Outstanding // one client's
	turns   uint64
	logger  *turnLogger
}

func newScene(t *testing.T, format logging.Format, whenDown balancing.WhenDown) *scene {
	s := &scene{t: t, ledger: ledger.New(time.Second, start)}
	for i, name := range names {
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(2526+i))
		s.servers = append(s.servers, membership.Backend{ID: membership.ID(i + 1), Name: name, Addr: addr})
	}
	s.apply()
	s.logger = newTurnLogger(Config{
		Ledger: s.ledger, Log: logging.Config{LogFormat: format}.Logger(&s.out),
		WhenDown: whenDown, AnswerTimeout: time.Second,
	}, start)
	return s
}

// apply tells the ledger how the servers are.
func (s *scene) apply() {
	s.ledger.Apply(start, membership.NewSnapshot(1, slices.Clone(s.servers)...), s.turns+1)
}

// receive takes n turns in order, all of one disposition.
func (s *scene) receive(ms float64, n int, disposition ledger.Disposition) {
	for range n {
		place := int(s.turns % uint64(len(names)))
		s.turns++
		turn := balancing.Turn{Number: s.turns, Step: balancing.Step{List: 1, Place: place}, Backend: &s.servers[place]}
		s.ledger.Received(at(ms), []ledger.Request{{
			Client: client, Bytes: 19, Disposition: disposition, Turn: turn, Outstanding: &s.pending,
		}})
	}
}

func (s *scene) reply(ms float64, backend int, payload string) {
	s.ledger.Replied(at(ms), []ledger.Reply{{
		Backend: s.servers[backend].ID, Bytes: len(payload), Head: []byte(payload), Outstanding: &s.pending,
	}})
}

// lose is a reply that the kernel would not take for the client.
func (s *scene) lose(ms float64, backend int) {
	s.ledger.Replied(at(ms), []ledger.Reply{{Backend: s.servers[backend].ID, Outstanding: &s.pending, Lost: true}})
}

func (s *scene) become(backend int, state membership.State) {
	s.servers[backend].State, s.servers[backend].Reason = state, "connection refused"
	s.apply()
}

// look logs what is new at some moments.
func (s *scene) look(ms ...float64) {
	for _, ms := range ms {
		s.logger.logNew(at(ms))
	}
}

var timeOfDay = regexp.MustCompile(`^\d\d:\d\d:\d\d `)

// lines returns what has been logged since the last call, without the times.
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

// expect fails the test unless exactly these lines have been logged.
func (s *scene) expect(want ...string) {
	s.t.Helper()
	if got := s.lines(); !slices.Equal(got, want) {
		s.t.Errorf("logged\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestWhatHappensIsLogged(t *testing.T) {
	const via1, via2 = " (via the load balancer, server port 2526)", " (via the load balancer, server port 2527)"
	tests := []struct {
		name string
		play func(s *scene)
		want []string
	}{
		{"answered", func(s *scene) {
			s.receive(0, 2, ledger.Forwarded)
			s.reply(0.41, 1, "PING 7 10:04:05.120 server2")
			s.look(50)
		}, []string{`#2 server2 answered 172.30.7.130:41730 in 0.41 ms: "PING 7 10:04:05.120 server2"` + via2}},
		{"waiting: nothing yet", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.look(999)
		}, nil},
		{"answered, and the system would not send it on", func(s *scene) {
			s.receive(0, 2, ledger.Forwarded)
			s.lose(0.41, 1)
			s.look(50, 1000)
			s.lose(1718, 0)
			s.look(1750, 3000)
		}, []string{
			`#2 server2 answered, but 172.30.7.130:41730 did not get it: the system would not send it`,
			`#1 server1 silent for 1 s, asked by 172.30.7.130:41730`,
			`#1 server1 answered, but 172.30.7.130:41730 did not get it: the system would not send it`,
		}},
		{"silent, and answered after all", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.look(50, 1000, 1500)
			s.reply(1718, 0, "PING 1 server1")
			s.look(1750, 3000)
		}, []string{
			`#1 server1 silent for 1 s, asked by 172.30.7.130:41730`,
			`#1 server1 answered 172.30.7.130:41730 late, after 1718 ms: "PING 1 server1"` + via1,
		}},
		{"answered late before anybody looked", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1000, 0, "PING 1 server1")
			s.look(1050)
		}, []string{`#1 server1 answered 172.30.7.130:41730 late, after 1000 ms: "PING 1 server1"` + via1}},
		{"a second answer to one turn is none", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(12.34, 0, "")
			s.reply(13, 0, "A")
			s.look(50)
		}, []string{`#1 server1 answered 172.30.7.130:41730 in 12.3 ms: ""` + via1}},
		{"a round trip that is not certain", func(s *scene) {
			s.receive(0, 4, ledger.Forwarded) // server1 has turns 1 and 4
			s.reply(1, 0, "A")
			s.reply(2, 0, "B")
			s.look(50)
		}, []string{
			`#1 server1 answered 172.30.7.130:41730 in about 2.00 ms: "B"` + via1,
			`#4 server1 answered 172.30.7.130:41730 in about 1.00 ms: "A"` + via1,
		}},
		{"a long reply is cut, and control bytes stay out of the terminal", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.reply(1, 0, "\x1b[2J\r\n\x00\xff\u202e\""+strings.Repeat("x", 65507))
			s.look(50)
		}, []string{`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "\x1b[2J\r\n\x00\xff\u202e\"` + strings.Repeat("x", 52) + `"…` + via1}},
		{"kept by a server that is down, and not sent", func(s *scene) {
			s.receive(0, 1, ledger.DroppedDown)
			s.receive(0, 1, ledger.SendFailed)
			s.receive(0, 1, ledger.NoSocket)
			s.look(50)
		}, []string{
			`#1 server1 got nothing from 172.30.7.130:41730: it is down and keeps its turn`,
			`#2 server2 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`,
			`#3 server3 got nothing from 172.30.7.130:41730: the system would not send it (no_socket)`,
		}},
		{"a turn that begins just before the second ends is not summed up as well", func(s *scene) {
			s.receive(980, 1, ledger.Forwarded)
			s.reply(981, 0, "A")
			s.look(1000, 2000)
		}, []string{`#1 server1 answered 172.30.7.130:41730 in 1.00 ms: "A"` + via1}},
		{"a turn without an answer at the stop", func(s *scene) {
			s.receive(0, 1, ledger.Forwarded)
			s.look(50)
			s.logger.logRest(at(60))
		}, []string{`#1 server1 had not answered 172.30.7.130:41730 when the balancer stopped`}},
		{"what happened just before the stop", func(s *scene) {
			s.receive(0, 51, ledger.SendFailed)
			s.ledger.Dropped(ledger.Shutdown, 1)
			s.logger.chosen = perSecond // this second has had its lines
			s.logger.logRest(at(10))
		}, []string{
			`51 more turns in the last second: server1 17, server2 17, server3 17`,
			`WARN 1 datagram dropped in the last second: shutdown 1`,
		}},
		{"turns before the first look", func(s *scene) {
			s.receive(0, 1, ledger.SendFailed)
			late := newTurnLogger(s.logger.Config, start)
			late.logNew(at(10))
		}, []string{`#1 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`}},
		{"turns of an earlier run are not logged again", func(s *scene) {
			s.ledger.Resume(17)
			s.turns = 17
			s.look(50)
			s.receive(0, 1, ledger.SendFailed)
			s.look(1000)
		}, []string{`#18 server3 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`}},
		{"a server goes down, moves and comes back", func(s *scene) {
			s.become(1, membership.Down)
			s.look(50)
			s.servers[1].Addr = netip.MustParseAddrPort("127.0.0.2:2527")
			s.become(1, membership.Up)
			s.look(100, 150)
		}, []string{
			"server2 down: connection refused; its turns go to the next server",
			"server2 moved to 127.0.0.2:2527",
			"server2 up",
		}},
		{"a server that keeps its turns goes down", func(s *scene) {
			s.logger.WhenDown = balancing.Hold
			s.become(1, membership.Down)
			s.look(50)
		}, []string{"server2 down: connection refused; its turns are kept and lost"}},
		{"fifty turns have their lines, and the rest of the second is summed up", func(s *scene) {
			s.receive(0, 50, ledger.SendFailed)
			s.look(50)
			if n := len(s.lines()); n != 50 {
				s.t.Errorf("%d lines for 50 turns", n)
			}
			s.receive(0, 1207, ledger.SendFailed)
			s.look(100)
			s.expect() // this second has had its lines
			s.look(1000)
			s.receive(0, 1, ledger.SendFailed)
			s.look(1050, 2000)
		}, []string{
			"1,207 more turns in the last second: server1 402, server2 402, server3 403",
			"#1258 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)",
		}},
		{"drops without a turn are summed up once a second", func(s *scene) {
			s.ledger.Dropped(ledger.NoBackend, 1500)
			s.receive(0, 1, ledger.DroppedDown) // has its own line
			s.look(50)
			s.ledger.Dropped(ledger.Stranger, 2)
			s.look(1000, 2000)
			s.ledger.Dropped(ledger.Loop, 1)
			s.look(3000)
		}, []string{
			`#1 server1 got nothing from 172.30.7.130:41730: it is down and keeps its turn`,
			"WARN 1,502 datagrams dropped in the last second: no_backend 1,500, stranger 2",
			"WARN 1 datagram dropped in the last second: loop 1",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, "pretty", balancing.Skip)
			test.play(s)
			s.expect(test.want...)
		})
	}
}

func TestEventsThatWereMissedAreSaid(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	for range 200 {
		s.become(1, membership.Down)
		s.become(1, membership.Up)
	}
	s.look(50)
	if lines := s.lines(); lines[0] != "WARN 144 more changes of servers, too many to list" || len(lines) != 1+256 {
		t.Errorf("%d lines, the first is %q", len(lines), lines[0])
	}
}

func TestTurnsAfterTheSnapshotWaitForTheNextLook(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 5, ledger.Forwarded)
	s.logger.choose(start, 2)
	if s.logger.chosen != 2 || s.logger.last != 2 {
		t.Errorf("%d turns chosen, %d looked at: want 2 and 2", s.logger.chosen, s.logger.last)
	}
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
		for _, disposition := range []ledger.Disposition{ledger.SendFailed, ledger.Forwarded} {
			s := newScene(t, "json", balancing.Skip)
			now := 0.0
			for _, n := range burst {
				s.receive(now, n, disposition)
				now += interval.Seconds() * 1000
				s.look(now)
			}
			s.logger.logRest(at(now))
			byServer := map[string]int{} // turns with a line of their own or in summaries
			for decoder := json.NewDecoder(&s.out); decoder.More(); {
				var line struct {
					Server  string
					Servers map[string]int
				}
				if err := decoder.Decode(&line); err != nil {
					t.Fatal(err)
				}
				byServer[line.Server]++
				for server, n := range line.Servers {
					byServer[server] += n
				}
			}
			for i, server := range names {
				if want := (int(s.turns) + len(names) - 1 - i) / len(names); byServer[server] != want {
					t.Errorf("%s, %v: told and summed up %d turns of %d of %s", name, disposition, byServer[server], want, server)
				}
			}
		}
	}
}

func TestJSONSaysItAgainInAttributes(t *testing.T) {
	s := newScene(t, "json", balancing.Skip)
	s.receive(0, 1, ledger.Forwarded)
	s.reply(0.412, 0, "PING 1 server1")
	s.receive(0, 1, ledger.DroppedDown)
	s.become(2, membership.Down)
	s.look(50)
	s.receive(0, 3000, ledger.SendFailed)
	s.ledger.Dropped(ledger.NoBackend, 4)
	s.logger.chosen = perSecond
	s.look(1000)
	s.servers = append(s.servers, membership.Backend{ID: 4, Name: "server4"}) // its name has not been found yet
	s.apply()
	s.become(3, membership.Down)
	s.look(1050)
	want := []string{
		`{"event":"down","server":"server3","reason":"connection refused","addr":"127.0.0.1:2528"}`,
		`{"turn":1,"server":"server1","client":"172.30.7.130:41730","bytes":19,"outcome":"answered","rtt_ms":0.412,"rtt_exact":true,"reply":"PING 1 server1","reply_bytes":14,"server_port":2526}`,
		`{"turn":2,"server":"server2","client":"172.30.7.130:41730","bytes":19,"outcome":"dropped","reason":"held"}`,
		`{"turns":3000,"servers":{"server1":1000,"server2":1000,"server3":1000}}`,
		`{"dropped":4,"reasons":{"no_backend":4}}`,
		`{"event":"added","server":"server4"}`,
		`{"event":"down","server":"server4","reason":"connection refused"}`,
	}
	got := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), s.out.String())
	}
	for i := range want {
		if !json.Valid([]byte(got[i])) || !strings.HasPrefix(got[i], `{"time":"`) || !strings.Contains(got[i], `,"level":"`) || !strings.Contains(got[i], `,"msg":"`) {
			t.Errorf("not a line of a log: %s", got[i])
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
		s.expect(`#1 server1 got nothing from 172.30.7.130:41730: the system would not send it (send_failed)`)

		s.receive(0, 60, ledger.SendFailed)
		stop()
		<-done
		lines := s.lines()
		if want := "11 more turns in the last second: server1 4, server2 3, server3 4"; len(lines) != 49+1 || lines[49] != want {
			t.Errorf("60 turns told in %d lines, want 49 and %q: %q", len(lines), want, lines)
		}
	})
}

// A class may leave thousands of turns silent. They must not cost the data path
// anything for ever.
func TestSilentTurnsAreNotAskedAboutForEver(t *testing.T) {
	s := newScene(t, "pretty", balancing.Skip)
	s.receive(0, 3, ledger.Forwarded)
	s.look(1000)
	if len(s.logger.open) != 3 {
		t.Fatalf("%d are followed, want 3", len(s.logger.open))
	}
	s.reply(59_000, 0, "A")
	s.look(59_000)
	if lines := s.lines(); len(lines) != 4 || !strings.Contains(lines[3], "#1 server1 answered 172.30.7.130:41730 late, after 59000 ms") {
		t.Errorf("told %q", lines)
	}
	s.look(62_000)
	if len(s.logger.open) != 0 {
		t.Errorf("%d are followed after a minute", len(s.logger.open))
	}
}
