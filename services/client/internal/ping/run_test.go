package ping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"udplab/services/client/internal/fakenet"
)

// began is when simulated runs begin.
var began = time.Unix(0, 0).UTC()

// brief is an event in a few words.
func brief(event any) string {
	switch e := event.(type) {
	case Replied:
		return fmt.Sprintf("reply %d %s %v", e.Seq, e.Server, e.RTT)
	case TimedOut:
		return strings.TrimSpace(fmt.Sprintf("timeout %d %s", e.Seq, e.Why))
	case Late:
		return fmt.Sprintf("late %d %s %v", e.Seq, e.Server, e.RTT)
	case Duplicate:
		return fmt.Sprintf("duplicate %d %s %v", e.Seq, e.Server, e.RTT)
	case Unmatched:
		return fmt.Sprintf("unmatched %q", e.Payload)
	}
	return ""
}

// simulate runs a plan over a network, and returns what happened and what came of it.
func simulate(plan Plan, limit time.Duration, answer fakenet.Answer) (events []string, found Results) {
	run := NewRun(plan, func(event any) {
		if text := brief(event); text != "" {
			events = append(events, text)
		}
	})
	end := fakenet.Simulate(run, began, limit, answer)
	return events, run.Results(end)
}

// sent is a datagram that comes after a while.
func sent(after time.Duration, payload string) fakenet.Datagram {
	return fakenet.Datagram{After: after, Payload: payload}
}

func TestWhatEachDatagramMeans(t *testing.T) {
	in := func(answers ...[]fakenet.Datagram) fakenet.Answer {
		return func(n int, _ string) []fakenet.Datagram { return answers[n] }
	}
	type all = []fakenet.Datagram
	const one, two, three = "PING 1 00:00:00.000 ", "PING 2 00:00:00.200 ", "PING 3 00:00:01.200 "
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		answer  fakenet.Answer // as many as there are pings
		pings   int64
		events  string
		counts  Counts
		elapsed time.Duration
		turns   string
	}{
		{"a late answer is late, not the answer to the next ping", time.Second,
			in(all{sent(1718*ms, one+"server2")}, all{sent(900*ms, "PING 2 00:00:01.000 server3")}), 2,
			"timeout 1, late 1 server2 1.718s, reply 2 server3 900ms",
			Counts{Sent: 2, Received: 1, Late: 1}, 1900 * ms, "server2 server3"},
		{"an answer at the last moment is in time", 500 * ms,
			in(all{sent(500*ms, one+"server1")}), 1,
			"reply 1 server1 500ms", Counts{Sent: 1, Received: 1}, 500 * ms, "server1"},
		{"the last ping is waited for no longer than its timeout", 500 * ms,
			in(all{sent(501*ms, one+"server1")}), 1,
			"timeout 1", Counts{Sent: 1}, 500 * ms, "-"},
		{"a second answer is a duplicate, also of a late one", time.Second,
			in(all{sent(ms, one+"a"), sent(2*ms, one+"a")}, all{sent(1100*ms, two+"a"), sent(1150*ms, two+"a")}, all{sent(300*ms, three+"a")}), 3,
			"reply 1 a 1ms, duplicate 1 a 2ms, timeout 2, late 2 a 1.1s, duplicate 2 a 1.15s, reply 3 a 300ms",
			Counts{Sent: 3, Received: 2, Late: 1, Duplicates: 2}, 1500 * ms, "a a a"},
		{"what answers no ping of this run is unmatched", time.Second,
			in(all{sent(1, "PING 1 23:59:59.000 s"), sent(2, "PING 2 00:00:00.000 s"), sent(3, "PING 0 00:00:00.000 s"), sent(4, "\x1b"), sent(5, ""), sent(6, one+"s")}), 1,
			`unmatched "PING 1 23:59:59.000 s", unmatched "PING 2 00:00:00.000 s", unmatched "PING 0 00:00:00.000 s", unmatched "\x1b", unmatched "", reply 1 s 6ns`,
			Counts{Sent: 1, Received: 1, Unmatched: 5}, 6, "s"},
		{"a refusal ends the wait and takes no turn", time.Second,
			in(all{sent(ms, one+"a")}, all{{After: ms, Err: fakenet.Refused}}, all{sent(ms, "PING 3 00:00:00.400 b")}), 3,
			"reply 1 a 1ms, timeout 2 refused, reply 3 b 1ms",
			Counts{Sent: 3, Received: 2}, 401 * ms, "a b"},
		{"a refusal of something else changes nothing", time.Second,
			in(all{sent(ms, one+"a"), {After: 2 * ms, Err: fakenet.Refused}}, all{sent(ms, two+"b")}), 2,
			"reply 1 a 1ms, reply 2 b 1ms", Counts{Sent: 2, Received: 2}, 201 * ms, "a b"},
		{"an answer to a refused ping is late and has no turn", time.Second,
			in(all{{Err: fakenet.Refused}, sent(ms, one+"c"), sent(2*ms, one+"d")}, all{sent(ms, two+"a")}), 2,
			"timeout 1 refused, late 1 c 1ms, duplicate 1 d 2ms, reply 2 a 1ms",
			Counts{Sent: 2, Received: 1, Late: 1, Duplicates: 1}, 201 * ms, "a"},
		{"two servers that answer one ping leave the order open", time.Second,
			in(all{sent(ms, one+"a"), sent(2*ms, one+"b")}, all{sent(ms, two+"b")}, all{sent(ms, "PING 3 00:00:00.400 a")}), 3,
			"reply 1 a 1ms, duplicate 1 b 2ms, reply 2 b 1ms, reply 3 a 1ms",
			Counts{Sent: 3, Received: 3, Duplicates: 1}, 401 * ms, "a b a; " + twoAnswers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := Plan{Count: tt.pings, Interval: 200 * ms, Timeout: tt.timeout}
			events, found := simulate(plan, time.Hour, tt.answer)
			if got := strings.Join(events, ", "); got != tt.events {
				t.Errorf("happened:\n%s\nwant\n%s", got, tt.events)
			}
			if found.Counts != tt.counts || found.Elapsed != tt.elapsed {
				t.Errorf("%+v in %v, want %+v in %v", found.Counts, found.Elapsed, tt.counts, tt.elapsed)
			}
			var turns []string
			for _, server := range found.Order.Turns {
				turns = append(turns, max(server, "-"))
			}
			want, why, _ := strings.Cut(tt.turns, "; ")
			if got := strings.Join(turns, " "); got != want || why != "" && found.Order.WhyNot() != why {
				t.Errorf("turns %s (%s), want %s", got, found.Order.WhyNot(), tt.turns)
			}
			var byServer int64
			for _, n := range found.ByServer {
				byServer += n
			}
			if byServer != found.Received || len(found.RoundTrips) != int(found.Received) || !slices.IsSorted(found.RoundTrips) {
				t.Errorf("%d received, by server %v, round trips %v", found.Received, found.ByServer, found.RoundTrips)
			}
		})
	}
}

func TestTwoPingsAreNeverOnTheWayAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		interval time.Duration
		after    time.Duration // until the answer
		want     []time.Duration
	}{
		{"answered within the interval: one an interval", 200 * ms, ms, []time.Duration{0, 200 * ms, 400 * ms}},
		{"answered after it: at the answer", 200 * ms, 300 * ms, []time.Duration{0, 300 * ms, 600 * ms}},
		{"not answered: at the timeout", 200 * ms, time.Hour, []time.Duration{0, 1000 * ms, 2000 * ms}},
		{"an interval longer than the timeout is kept", 3 * time.Second, time.Hour, []time.Duration{0, 3000 * ms, 6000 * ms}},
		{"no interval: as fast as answers come", 0, 5 * ms, []time.Duration{0, 5 * ms, 10 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := NewRun(Plan{Count: 3, Interval: tt.interval, Timeout: time.Second}, func(any) {})
			fakenet.Simulate(run, began, time.Hour, func(_ int, request string) []fakenet.Datagram {
				return []fakenet.Datagram{sent(tt.after, request+" server1")}
			})
			var at []time.Duration
			for _, r := range run.requests {
				at = append(at, r.sentAt.Sub(began))
			}
			if !slices.Equal(at, tt.want) {
				t.Errorf("sent at %v, want %v", at, tt.want)
			}
		})
	}
}

func TestTheTimeOfArrivalDecidesNotTheTimeItIsSeen(t *testing.T) {
	const payload = "PING 1 00:00:00.000 server1"
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{{time.Second, "reply 1 server1 1s"}, {time.Second + 1, "timeout 1, late 1 server1 1.000000001s"}} {
		var events []string
		run := NewRun(Plan{Count: 1, Timeout: time.Second}, func(event any) {
			if text := brief(event); text != "" {
				events = append(events, text)
			}
		})
		run.Send(began, func(int, []byte) {})
		run.Expire(began.Add(time.Second - 1))
		run.Receive(0, payload, began.Add(tt.at))
		run.Expire(began.Add(time.Minute))
		if got := strings.Join(events, ", "); got != tt.want {
			t.Errorf("at %v: %s, want %s", tt.at, got, tt.want)
		}
	}
}

func TestTheFirstAnswerOutOfTurnEndsTheRun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		turns string // who answers; - nobody, +x also x, ~x too late
		cycle string
		sent  int64
		said  string
	}{
		{"the expected cycle", "1 2 3 1", "1 2 3", 4, ""},
		{"the cycle may begin anywhere", "1 2 3 1", "3 1 2", 4, ""},
		{"a lost answer has had its turn", "1 - - 1", "1 2 3", 4, ""},
		{"a late one in the turn of its own ping", "1 ~2 3 1", "1 2 3", 4, ""},
		{"the wrong way round", "1 2 3 1", "1 3 2", 2, "out of turn: seq=2 was answered by 2, expected 3"},
		{"one too few in the cycle", "1 2 3 1", "1 2", 3, "out of turn: seq=3 was answered by 3, expected 1"},
		{"nobody of the cycle", "1 2", "x y", 1, "out of turn: seq=1 was answered by 1, expected one of x, y"},
		{"a late one", "1 ~3 - 1", "1 2 3", 3, "out of turn: seq=2 was answered by 3, expected 2"},
		{"a second one from another server", "1 2+3 3", "1 2 3", 2, "out of turn: seq=2 was answered by 3, expected 2"},
		{"an unnamed one", "?", "1 2 3", 1, "out of turn: seq=1 was answered by ?, expected one of 1, 2, 3"},
		{"one with a strange name", "\x1b", "1 2", 1, `out of turn: seq=1 was answered by "\x1b", expected one of 1, 2`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			servers := strings.Split(tt.turns, " ")
			_, found := simulate(Plan{Count: int64(len(servers)), Interval: ms, Timeout: time.Second, Cycle: strings.Fields(tt.cycle)}, time.Hour,
				func(n int, request string) (answers []fakenet.Datagram) {
					for i, server := range strings.Split(servers[n], "+") {
						after := time.Duration(i) * ms / 2
						if late, ok := strings.CutPrefix(server, "~"); ok {
							server, after = late, time.Second+ms/2
						}
						if server == "?" {
							answers = append(answers, sent(after, request))
						} else if server != "-" {
							answers = append(answers, sent(after, request+" "+server))
						}
					}
					return answers
				})
			said := ""
			if err := found.Verdict(100); err != nil {
				said = err.Error()
			}
			if said != tt.said || found.Sent != tt.sent {
				t.Errorf("said %q after %d, want %q after %d", said, found.Sent, tt.said, tt.sent)
			}
			if next := found.Order.Next(); said != "" && next != "" {
				t.Errorf("claims that %s is next", next)
			}
		})
	}
}

func TestAVerdictNamesWhatBrokeTheCycleBeforeTheLoss(t *testing.T) {
	broken := Results{Counts: Counts{Sent: 2, Received: 1}, OutOfTurn: &OutOfTurn{Seq: 1}}
	var outOfTurn *OutOfTurn
	if err := broken.Verdict(0); !errors.As(err, &outOfTurn) {
		t.Errorf("verdict %v", err)
	}
}

func TestProgressAndStatusSayHowFarItIs(t *testing.T) {
	run := NewRun(Plan{Count: 3, Interval: ms, Timeout: time.Second}, func(any) {})
	fakenet.Simulate(run, began, time.Hour, fakenet.RoundRobin())
	now := began.Add(time.Second)
	if p := run.Progress(now).(Progress); p.Plan.Count != 3 || p.Received != 3 || p.Elapsed != time.Second {
		t.Errorf("progress %+v", p)
	}
	if s := run.Status(now).(Status); s.Received != 3 || s.Elapsed != time.Second {
		t.Errorf("status %+v", s)
	}
}
