package load

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"udplab/services/client/internal/fakenet"
	"udplab/services/client/internal/ping"
)

const ms = time.Millisecond

// began is when the loads of these tests begin.
var began = time.Unix(0, 0).UTC()

// start begins a load that is sent to nobody.
func (p Plan) start() *Run {
	p.Clients = max(p.Clients, 1)
	return NewRun(p, began)
}

// answer is the answer to a datagram of a load.
func (r *Run) answerTo(seq int64) string {
	return string(ping.AppendRequest(nil, seq, began.Add(r.at(seq).sentAt), r.Size)) + " server1"
}

func TestADatagramIsDueWhenItIsCounted(t *testing.T) {
	for _, rate := range []int64{1, 3, 7, 10, 999, 1000, 30_000, 999_999, 1_000_000} {
		p := Plan{Rate: rate}
		for _, seq := range []int64{1, 2, 3, 4, 1000, rate, rate + 1, 10*rate + 1, 1_000_000_007} {
			due := p.due(seq)
			if by := p.dueBy(due); by != seq {
				t.Errorf("%d a second: number %d is due at %v, but %d are by then", rate, seq, due, by)
			}
			if by := p.dueBy(due - 1); seq > 1 && by != seq-1 {
				t.Errorf("%d a second: %d are due just before %v, want %d", rate, by, due, seq-1)
			}
		}
	}
}

func TestClientsTakeTurns(t *testing.T) {
	r := Plan{Clients: 3, Window: 5, Timeout: time.Hour, Size: 22}.start()
	var sent []string
	r.Send(began.Add(1500*ms), func(client int, payload []byte) {
		sent = append(sent, fmt.Sprintf("%d:%s", client, payload))
	})
	got := strings.ReplaceAll(strings.Join(sent, " "), " 00:00:01.500 ..", "")
	if want := "0:PING 1 1:PING 2 2:PING 3 0:PING 4 1:PING 5"; got != want {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}
}

func TestWhatALoadMakesOfADatagram(t *testing.T) {
	const first = "PING 1 00:00:00.000 server1"
	type arrival struct {
		client  int
		payload string
		at      time.Duration
	}
	for _, tt := range []struct {
		name     string
		arrivals []arrival
		want     ping.Counts // of two datagrams
	}{
		{"nothing", nil, ping.Counts{Unfinished: 2}},
		{"an answer", []arrival{{0, first, ms}}, ping.Counts{Received: 1, Unfinished: 1}},
		{"an echo without a name", []arrival{{0, "PING 1 00:00:00.000", ms}}, ping.Counts{Received: 1, Unfinished: 1}},
		{"in the last moment", []arrival{{0, first, 100 * ms}}, ping.Counts{Received: 1, Unfinished: 1}},
		{"a moment too late, though nobody has looked", []arrival{{0, first, 100*ms + 1}}, ping.Counts{Late: 1, Unfinished: 1}},
		{"twice", []arrival{{0, first, ms}, {0, first, ms}}, ping.Counts{Received: 1, Duplicates: 1, Unfinished: 1}},
		{"late, and then once more", []arrival{{0, first, 200 * ms}, {0, first, 300 * ms}}, ping.Counts{Late: 1, Duplicates: 1, Unfinished: 1}},
		{"in the wrong order", []arrival{{1, "PING 2 00:00:00.000 server2", ms}, {0, first, ms}}, ping.Counts{Received: 2}},
		{"at another client's socket", []arrival{{1, first, ms}}, ping.Counts{Unmatched: 1, Unfinished: 2}},
		{"of a number that nobody has sent", []arrival{{0, "PING 3 00:00:00.000 server1", ms}}, ping.Counts{Unmatched: 1, Unfinished: 2}},
		{"of number nought", []arrival{{0, "PING 0 00:00:00.000 server1", ms}}, ping.Counts{Unmatched: 1, Unfinished: 2}},
		{"of a negative number", []arrival{{0, "PING -1 00:00:00.000 server1", ms}}, ping.Counts{Unmatched: 1, Unfinished: 2}},
		{"of another time, so of another run", []arrival{{0, "PING 1 00:00:00.001 server1", ms}}, ping.Counts{Unmatched: 1, Unfinished: 2}},
		{"nonsense", []arrival{{0, "", ms}, {0, "PING", ms}, {0, "\x00", ms}}, ping.Counts{Unmatched: 3, Unfinished: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Plan{Clients: 2, Window: 2, Timeout: 100 * ms}.start()
			r.Send(began, func(int, []byte) {})
			for _, a := range tt.arrivals {
				if a.at <= r.Timeout { // nothing is lost yet
					r.Expire(began.Add(a.at))
				}
				r.Receive(a.client, a.payload, began.Add(a.at))
			}
			tt.want.Sent = 2
			if r.Counts != tt.want {
				t.Errorf("%+v, want %+v", r.Counts, tt.want)
			}
		})
	}
}

func TestATimeoutMayBeAsLongAsTimesGet(t *testing.T) {
	r := Plan{Window: 1, Timeout: math.MaxInt64}.start()
	r.add(5)
	hour := began.Add(time.Hour)
	r.Expire(hour)
	if next, _ := r.Next(hour); r.Lost() != 0 || !next.After(hour) {
		t.Errorf("%d lost, next at %v", r.Lost(), next)
	}
	r.Receive(0, r.answerTo(1), hour)
	if r.Received != 1 {
		t.Error("the answer came too late")
	}
}

func TestAServerThatStallsCannotHideIt(t *testing.T) {
	r := Plan{Window: 1, Rate: 100, Timeout: time.Hour, Duration: time.Second}.start()
	// The first answer takes half a second, each of the others a millisecond.
	end := fakenet.Simulate(r, began, time.Hour, func(n int, request string) []fakenet.Datagram {
		took := ms
		if n == 0 {
			took = 500 * ms
		}
		return []fakenet.Datagram{{After: took, Payload: request}}
	})
	found := r.Results(end)
	if found.Sent != 100 || found.Received != 100 {
		t.Fatalf("%d sent, %d received", found.Sent, found.Received)
	}
	// The second was due at 10 ms and answered at 501, and so on: more than half of
	// them were kept waiting. Counted from when they left, p99 were 1 ms.
	if p50, p90 := found.Latency.Percentile(50), found.Latency.Percentile(90); p50 < 10*ms || p90 < 400*ms {
		t.Errorf("p50 is %v, p90 %v", p50, p90)
	}
}

func TestTheLatestDatagramsAreRemembered(t *testing.T) {
	r := Plan{Window: 10, Timeout: time.Hour}.start()
	r.memory = 4
	r.add(0) // never answered, and soon forgotten
	for range 3 {
		r.Receive(0, r.answerTo(r.add(1)), began.Add(1))
	}
	latest := r.add(1)
	if want := (ping.Counts{Sent: 5, Received: 3, Unfinished: 1}); r.Counts != want {
		t.Fatalf("%+v, want %+v", r.Counts, want)
	}
	r.Receive(0, "PING 1 00:00:00.000 server1", began.Add(1))
	r.Receive(0, r.answerTo(2), began.Add(1))
	r.Receive(0, r.answerTo(latest), began.Add(1))
	if want := (ping.Counts{Sent: 5, Received: 4, Duplicates: 1, Unmatched: 1}); r.Counts != want {
		t.Errorf("a forgotten one, the oldest remembered, the latest: %+v, want %+v", r.Counts, want)
	}
	for range 9 { // round and round, some answered, some not
		if seq := r.add(2); seq%2 == 0 {
			r.Receive(0, r.answerTo(seq), began.Add(2))
		}
	}
	r.Expire(began.Add(2 * time.Hour))
	if r.Sent != 14 || r.Unfinished != 0 {
		t.Errorf("after the timeout: %+v", r.Counts)
	}
}

func TestTheResultsOfALoad(t *testing.T) {
	for _, tt := range []struct {
		name      string
		plan      Plan
		limit     time.Duration
		answer    fakenet.Answer
		counts    ping.Counts
		unsent    int64
		elapsed   time.Duration
		perSecond float64
	}{
		{"a count, as answers come", Plan{Window: 3, Count: 30}, time.Hour, fakenet.After(100 * ms),
			ping.Counts{Sent: 30, Received: 30}, 0, 1000 * ms, 30},
		{"a duration, and the answers to the last", Plan{Window: 2, Duration: 950 * ms}, time.Hour, fakenet.After(100 * ms),
			ping.Counts{Sent: 20, Received: 20}, 0, 1000 * ms, 20},
		{"a large window", Plan{Window: 197, Count: 197}, time.Hour, fakenet.After(100 * ms),
			ping.Counts{Sent: 197, Received: 197}, 0, 100 * ms, 1970},
		{"a rate, exactly", Plan{Window: 64, Rate: 7, Duration: 3 * time.Second}, time.Hour, fakenet.After(ms),
			ping.Counts{Sent: 21, Received: 21}, 0, 3 * time.Second, 7},
		{"a rate and a count", Plan{Window: 64, Rate: 10, Count: 5}, time.Hour, fakenet.After(150 * ms),
			ping.Counts{Sent: 5, Received: 5}, 0, 550 * ms, 5 / 0.55},
		{"a rate, a count and too small a window", Plan{Window: 1, Rate: 10, Count: 8}, 470 * ms, fakenet.After(240 * ms),
			ping.Counts{Sent: 2, Received: 1, Unfinished: 1}, 1, 470 * ms, 1 / 0.47},
		{"one that is lost makes room after the timeout", Plan{Window: 1, Count: 4}, time.Hour, fakenet.After(100*ms, 1),
			ping.Counts{Sent: 4, Received: 3}, 0, 800*ms + 1, 3 / 0.8},
		{"no answer at all", Plan{Window: 3, Duration: time.Second}, time.Hour, fakenet.Always(),
			ping.Counts{Sent: 6}, 0, 1000*ms + 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.plan.Timeout = 500 * ms
			r := tt.plan.start()
			found := r.Results(fakenet.Simulate(r, began, tt.limit, tt.answer))
			if found.Counts != tt.counts || found.Unsent != tt.unsent || found.Elapsed != tt.elapsed {
				t.Errorf("%+v, %d unsent in %v\nwant %+v, %d in %v", found.Counts, found.Unsent, found.Elapsed, tt.counts, tt.unsent, tt.elapsed)
			}
			if got := found.PerSecond; math.Abs(got-tt.perSecond) > 1e-6 {
				t.Errorf("%v answers a second, want %v", got, tt.perSecond)
			}
		})
	}
}

func TestAServerThatSaysSomethingElseEachTimeHasNoName(t *testing.T) {
	r := Plan{Window: 64, Count: 1000, Timeout: time.Second}.start()
	end := fakenet.Simulate(r, began, time.Hour, func(n int, request string) []fakenet.Datagram {
		return []fakenet.Datagram{{Payload: fmt.Sprintf("%s at-%d", request, n)}} // a counter, say
	})
	found := r.Results(end)
	if len(found.ByServer) != mostServers+1 || found.ByServer[ping.Unnamed] != 1000-mostServers {
		t.Errorf("%d names, %d without", len(found.ByServer), found.ByServer[ping.Unnamed])
	}
}

func TestProgressSaysHowFastItWasLately(t *testing.T) {
	r := Plan{Window: 1, Timeout: time.Second}.start()
	for _, step := range []struct {
		at       time.Duration
		received int64
		want     float64
	}{{500 * ms, 1000, 2000}, {600 * ms, 5000, 2000}, {1000 * ms, 1500, 1000}} {
		r.Received = step.received
		if p := r.Progress(began.Add(step.at)).(Progress); p.PerSecond != step.want || p.Elapsed != step.at || p.Received != step.received {
			t.Errorf("at %v: %+v, want %v a second", step.at, p, step.want)
		}
	}
}

func TestLatenciesAreExactToThreeDigits(t *testing.T) {
	l := newLatency()
	for i := range 1000 {
		l.Add(time.Duration(i+1) * ms)
	}
	l.Add(math.MaxInt64 / 2)
	if l.Percentile(0) != ms || l.Percentile(100) != math.MaxInt64/2 || l.Mean() != (500500*ms+math.MaxInt64/2)/1001 {
		t.Errorf("min %v, mean %v, max %v", l.Percentile(0), l.Mean(), l.Percentile(100))
	}
	for p, want := range map[float64]time.Duration{50: 501 * ms, 90: 901 * ms, 99: 991 * ms} {
		if got := l.Percentile(p); got < want*999/1000 || got > want*1001/1000 {
			t.Errorf("p%v is %v, want about %v", p, got, want)
		}
	}
	one := newLatency()
	one.Add(100 * ms)
	if got := one.Percentile(99.9); got != 100*ms {
		t.Errorf("p99.9 of one is %v", got)
	}
}

func FuzzALoadCountsEveryDatagramOnce(f *testing.F) {
	f.Add("PING 1 00:00:00.000 server1", "PING 2 00:00:00.000", int64(1))
	f.Add("PING 1 00:00:00.000 server1", "PING 1 00:00:00.000 server1", int64(time.Second))
	f.Add("", "\xff\x00", int64(3))
	f.Fuzz(func(t *testing.T, one, two string, at int64) {
		r := Plan{Window: 2, Timeout: ms}.start()
		r.Send(began, func(int, []byte) {})
		now := began.Add(time.Duration(max(at, 0)))
		r.Receive(0, one, now)
		r.Receive(0, two, now)
		if n := r.Received + r.Late + r.Duplicates + r.Unmatched; n != 2 {
			t.Errorf("%q and %q were counted %d times", one, two, n)
		}
		if r.Sent != 2 || r.Lost() < r.Late || r.Unfinished < 0 {
			t.Errorf("%q and %q: %+v", one, two, r.Counts)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	for _, size := range []int{0, 1400} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			r := Plan{Window: 1, Timeout: time.Hour, Size: size}.start()
			var reply []byte
			send := func(_ int, payload []byte) { reply = append(append(reply[:0], payload...), " server1"...) }
			for b.Loop() {
				r.Send(began, send)
				r.Receive(0, string(reply), began)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/datagram")
		})
	}
}
