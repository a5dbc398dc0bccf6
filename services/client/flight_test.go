package main

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// at is a plan that is started at no particular time.
func (p plan) at() *flight {
	p.clients = max(p.clients, 1)
	return newFlight(p, time.Unix(0, 0).UTC())
}

// answerTo is the answer to a datagram of a flight.
func (f *flight) answerTo(seq int) string {
	return pingText(seq, f.began.Add(f.passage(seq).sentAt)) + " server1"
}

func TestADatagramIsDueWhenItIsCounted(t *testing.T) {
	for _, rate := range []int{1, 3, 7, 10, 999, 1000, 30_000, 999_999, 1_000_000} {
		f := plan{rate: rate}.at()
		for _, seq := range []int{1, 2, 3, 4, 1000, rate, rate + 1, 10*rate + 1, 1_000_000_007} {
			due := f.due(seq)
			if by := f.dueBy(due); by != seq {
				t.Errorf("%d a second: number %d is due at %v, but %d are by then", rate, seq, due, by)
			}
			if seq > 1 {
				if by := f.dueBy(due - 1); by != seq-1 {
					t.Errorf("%d a second: %d are due just before %v, want %d", rate, by, due, seq-1)
				}
			}
		}
	}
}

func TestADurationHasExactlyItsDatagrams(t *testing.T) {
	for _, tt := range []struct {
		rate     int
		duration time.Duration
		want     int
	}{
		{1000, 5 * time.Second, 5000}, {30, 100 * time.Millisecond, 3}, {3, time.Second, 3},
		{7, 10 * time.Second, 70}, {1, 500 * time.Millisecond, 1}, {1_000_000, 24 * time.Hour, 86_400_000_000},
	} {
		if got := (plan{rate: tt.rate, duration: tt.duration}).at().dueBy(48 * time.Hour); got != tt.want {
			t.Errorf("%d a second for %v: %d, want %d", tt.rate, tt.duration, got, tt.want)
		}
	}
}

func TestHowMuchIsSentAtATime(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		plan     plan
		sent     int
		answered int
		now      time.Duration
		want     int
		closed   bool
	}{
		{"an empty window is filled", plan{window: 8}, 0, 0, 0, 8, false},
		{"an answer makes room for one", plan{window: 8}, 8, 1, ms, 1, false},
		{"a full window has no room", plan{window: 8}, 8, 0, ms, 0, false},
		{"no more than the count", plan{window: 8, count: 10}, 8, 6, ms, 2, false},
		{"no more than is due", plan{window: 8, rate: 1000}, 1, 0, 3 * ms, 3, false},
		{"nothing is due yet", plan{window: 8, rate: 1000}, 4, 4, 3 * ms, 0, false},
		{"no more than there is room for, whatever is due", plan{window: 8, rate: 1000}, 8, 2, 100 * ms, 2, false},
		{"nothing when the duration is over", plan{window: 8, duration: 10 * ms}, 8, 8, 10 * ms, 0, true},
		{"but what was due in it", plan{window: 8, rate: 1000, duration: 10 * ms}, 8, 8, 12 * ms, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.plan.timeout = time.Hour
			f := tt.plan.at()
			for range tt.sent {
				f.send(0)
			}
			for seq := range tt.answered {
				f.receive(0, f.answerTo(seq+1), 0)
			}
			if got := f.room(tt.now); got != tt.want || f.closed != tt.closed {
				t.Errorf("room for %d, closed %v; want %d, %v", got, f.closed, tt.want, tt.closed)
			}
			if again := f.room(tt.now); tt.closed && again != 0 {
				t.Errorf("room for %d after the end", again)
			}
		})
	}
}

func TestWhatALoadMakesOfADatagram(t *testing.T) {
	const ms = time.Millisecond
	const first = "PING 1 00:00:00.000 server1"
	type counts struct{ received, lost, late, duplicates, strays, underWay int }
	type arrival struct {
		client  int
		payload string
		at      time.Duration
	}
	for _, tt := range []struct {
		name     string
		arrivals []arrival
		want     counts
	}{
		{"nothing", nil, counts{underWay: 2}},
		{"an answer", []arrival{{0, first, ms}}, counts{received: 1, underWay: 1}},
		{"an echo without a name", []arrival{{0, "PING 1 00:00:00.000", ms}}, counts{received: 1, underWay: 1}},
		{"in the last moment", []arrival{{0, first, 100 * ms}}, counts{received: 1, underWay: 1}},
		{"a moment too late, though nobody has looked", []arrival{{0, first, 100*ms + 1}}, counts{lost: 1, late: 1, underWay: 1}},
		{"twice", []arrival{{0, first, ms}, {0, first, ms}}, counts{received: 1, duplicates: 1, underWay: 1}},
		{"late, and then once more", []arrival{{0, first, 200 * ms}, {0, first, 300 * ms}}, counts{lost: 1, late: 1, duplicates: 1, underWay: 1}},
		{"in the wrong order", []arrival{{1, "PING 2 00:00:00.000 server2", ms}, {0, first, ms}}, counts{received: 2}},
		{"at another client's socket", []arrival{{1, first, ms}}, counts{strays: 1, underWay: 2}},
		{"of a number that nobody has sent", []arrival{{0, "PING 3 00:00:00.000 server1", ms}}, counts{strays: 1, underWay: 2}},
		{"of number nought", []arrival{{0, "PING 0 00:00:00.000 server1", ms}}, counts{strays: 1, underWay: 2}},
		{"of a negative number", []arrival{{0, "PING -1 00:00:00.000 server1", ms}}, counts{strays: 1, underWay: 2}},
		{"of another time, so of another run", []arrival{{0, "PING 1 00:00:00.001 server1", ms}}, counts{strays: 1, underWay: 2}},
		{"nonsense", []arrival{{0, "", ms}, {0, "PING", ms}, {0, "\x00", ms}}, counts{strays: 3, underWay: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := plan{clients: 2, window: 2, timeout: 100 * ms}.at()
			f.send(0)
			f.send(0)
			for _, a := range tt.arrivals {
				f.receive(a.client, a.payload, a.at)
			}
			got := counts{f.received, f.lost, f.late, f.duplicates, f.strays, f.underWay}
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if f.sent != f.received+f.lost+f.underWay {
				t.Errorf("%d sent, but %+v", f.sent, got)
			}
		})
	}
}

func TestWhatWaitsForTooLongIsGivenUpOnce(t *testing.T) {
	f := plan{window: 3, timeout: 100}.at()
	for _, at := range []time.Duration{0, 50, 60} {
		f.send(at)
	}
	f.receive(0, f.answerTo(2), 70)
	for _, step := range []struct {
		now            time.Duration
		lost, underWay int
		next           time.Duration
	}{
		{100, 0, 2, 101}, {101, 1, 1, 161}, {160, 1, 1, 161}, {161, 2, 0, 161 + time.Hour}, {1000, 2, 0, 1000 + time.Hour},
	} {
		f.expire(step.now)
		if next := f.next(step.now); f.lost != step.lost || f.underWay != step.underWay || next != step.next {
			t.Errorf("at %d: %d lost, %d under way, next at %d; want %+v", step.now, f.lost, f.underWay, next, step)
		}
	}
}

func TestATimeoutMayBeAsLongAsTimesGet(t *testing.T) {
	f := plan{window: 1, timeout: math.MaxInt64}.at()
	f.send(5)
	f.expire(time.Hour)
	if next := f.next(time.Hour); f.lost != 0 || next <= time.Hour {
		t.Errorf("%d lost, next at %v", f.lost, next)
	}
	f.receive(0, f.answerTo(1), time.Hour)
	if f.received != 1 {
		t.Error("the answer came too late")
	}
}

func TestAServerThatStallsCannotHideIt(t *testing.T) {
	const ms = time.Millisecond
	f := plan{window: 1, rate: 100, timeout: time.Hour, duration: time.Second}.at()
	// The first answer takes half a second, each of the others a millisecond;
	// they leave as fast as they can.
	now := time.Duration(0)
	for took := 500 * ms; f.room(now) > 0; took = ms {
		seq := f.send(now)
		now += took
		f.receive(0, f.answerTo(seq), now)
		now = max(now, f.due(seq+1))
	}
	if f.sent != 100 || f.received != 100 {
		t.Fatalf("%d sent, %d received", f.sent, f.received)
	}
	// The second was due at 10 ms and answered at 501, and so on: more than half
	// of them were kept waiting. Counted from when they left, p99 were 1 ms.
	if p50 := f.trips.percentile(50); p50 < 10*ms {
		t.Errorf("p50 is %v", p50)
	}
	if p90 := f.trips.percentile(90); p90 < 400*ms {
		t.Errorf("p90 is %v", p90)
	}
}

func TestTheLatestDatagramsAreRemembered(t *testing.T) {
	f := plan{window: 10, timeout: time.Hour}.at()
	f.memory = 4
	f.send(0) // never answered, and soon forgotten
	for range 3 {
		f.receive(0, f.answerTo(f.send(1)), 1)
	}
	latest := f.send(1)
	if f.sent != 5 || f.lost != 1 || f.received != 3 || f.underWay != 1 {
		t.Fatalf("%d sent, %d lost, %d received, %d under way", f.sent, f.lost, f.received, f.underWay)
	}
	f.receive(0, "PING 1 00:00:00.000 server1", 1)
	if f.strays != 1 {
		t.Error("the answer to a forgotten datagram is no stray")
	}
	f.receive(0, f.answerTo(2), 1)
	if f.duplicates != 1 {
		t.Error("the second answer to the oldest that is remembered is no duplicate")
	}
	f.receive(0, f.answerTo(latest), 1)
	if f.received != 4 || f.underWay != 0 {
		t.Error("the answer to the latest does not count")
	}
	for range 9 { // round and round, some answered, some not
		if seq := f.send(2); seq%2 == 0 {
			f.receive(0, f.answerTo(seq), 2)
		}
	}
	f.expire(2 * time.Hour)
	if f.sent != 14 || f.received+f.lost != 14 || f.underWay != 0 {
		t.Errorf("%d sent, %d received, %d lost, %d under way after the timeout", f.sent, f.received, f.lost, f.underWay)
	}
}

func TestTripsAreExactToThreeDigits(t *testing.T) {
	trips := newTrips()
	for i := range 1000 {
		trips.add(time.Duration(i+1) * time.Millisecond)
	}
	trips.add(2 * longestTrip)
	if trips.min != time.Millisecond || trips.max != 2*longestTrip || trips.avg() != (500500*time.Millisecond+2*longestTrip)/1001 {
		t.Errorf("min %v, avg %v, max %v", trips.min, trips.avg(), trips.max)
	}
	for p, want := range map[float64]time.Duration{50: 501 * time.Millisecond, 90: 901 * time.Millisecond, 99: 991 * time.Millisecond} {
		if got := trips.percentile(p); got < want*999/1000 || got > want*1001/1000 {
			t.Errorf("p%v is %v, want about %v", p, got, want)
		}
	}
	one := newTrips()
	one.add(100 * time.Millisecond)
	if got := one.percentile(99.9); got != 100*time.Millisecond {
		t.Errorf("p99.9 of one is %v", got)
	}
}

func FuzzALoadCountsEveryDatagramOnce(f *testing.F) {
	f.Add("PING 1 00:00:00.000 server1", "PING 2 00:00:00.000", int64(1))
	f.Add("PING 1 00:00:00.000 server1", "PING 1 00:00:00.000 server1", int64(time.Second))
	f.Add("", "\xff\x00", int64(3))
	f.Fuzz(func(t *testing.T, one, two string, at int64) {
		load := plan{clients: 1, window: 2, timeout: time.Millisecond}.at()
		load.send(0)
		load.send(0)
		load.receive(0, one, time.Duration(max(at, 0)))
		load.receive(0, two, time.Duration(max(at, 0)))
		if n := load.received + load.late + load.duplicates + load.strays; n != 2 {
			t.Errorf("%q and %q were counted %d times", one, two, n)
		}
		if load.sent != load.received+load.lost+load.underWay {
			t.Errorf("%q and %q: %d received, %d lost, %d under way of 2", one, two, load.received, load.lost, load.underWay)
		}
	})
}

func BenchmarkFlight(b *testing.B) {
	for _, size := range []int{0, 1400} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			f := plan{window: 64, timeout: time.Hour, size: size}.at()
			var buf []byte
			for b.Loop() {
				seq := f.send(0)
				buf = appendPing(buf[:0], seq, f.began)
				buf = append(append(buf, padding(len(buf), size)...), " server1"...)
				f.receive(0, string(buf), 1)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/datagram")
		})
	}
}
