// Package turnlog tells the ledger as log lines: one for each turn when it is
// answered or has fallen silent, one for everything that happens to a backend,
// and, when turns come faster than anyone can read, one line a second that sums
// up the rest.
package turnlog

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/rotation"
	"udplab/services/kit/app"
)

const (
	// perSecond is how many turns a second get a line of their own.
	perSecond = 50
	// look is how often the ledger is read.
	look = 50 * time.Millisecond
)

// Config is what a log is told from.
type Config struct {
	Ledger        *ledger.Ledger
	Log           *slog.Logger
	WhenDown      rotation.WhenDown
	AnswerTimeout time.Duration
}

// Run tells what happens from now on until the context ends, and then what is
// still untold.
func Run(ctx context.Context, cfg Config) {
	t := newTeller(cfg, time.Now())
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.tell(time.Now())
			t.sumUp(time.Now())
			return
		case <-tick.C:
			t.tell(time.Now())
		}
	}
}

// teller remembers what has been told.
type teller struct {
	Config
	next      uint64   // the first turn that has not been looked at
	nextEvent uint64   // the first event that has not been told
	waiting   []uint64 // turns to be told when they settle
	silent    []uint64 // turns told as silent, which may be answered late

	second  time.Time // when the current second began
	told    int       // turns of this second that have a line of their own
	counted []int64   // turns told or summed up, by backend
	dropped [ledger.Fates]uint64
}

func newTeller(cfg Config, now time.Time) *teller {
	s := cfg.Ledger.Snapshot(now)
	return &teller{
		Config: cfg, next: s.Turns, second: now,
		counted: make([]int64, len(s.Backends)),
	}
}

// tell logs what is new.
func (t *teller) tell(now time.Time) {
	t.tellEvents()
	if now.Sub(t.second) >= time.Second {
		t.sumUp(now)
	}
	turns, _ := t.Ledger.Since(now, t.next, ledger.Size)
	for _, turn := range turns {
		t.next = turn.Number + 1
		if t.told == perSecond {
			continue // it will be summed up
		}
		t.told++
		t.counted[turn.Backend]++
		t.waiting = append(t.waiting, turn.Number)
	}
	t.silent = slices.DeleteFunc(t.silent, func(number uint64) bool {
		turn, remembered := t.Ledger.Turn(now, number)
		if remembered && turn.Outcome == ledger.Answered {
			t.answered(turn)
		}
		return !remembered || turn.Outcome == ledger.Answered
	})
	t.waiting = slices.DeleteFunc(t.waiting, func(number uint64) bool {
		turn, remembered := t.Ledger.Turn(now, number)
		switch {
		case !remembered:
		case turn.Outcome == ledger.Waiting:
			return false
		case turn.Outcome == ledger.Answered:
			t.answered(turn)
		case turn.Outcome == ledger.Silent:
			t.fellSilent(turn)
			t.silent = append(t.silent, number)
		case turn.Outcome == ledger.Dropped:
			t.wasDropped(turn)
		}
		return true
	})
}

// answered tells a turn that a reply came to.
func (t *teller) answered(turn ledger.Turn) {
	when := "in"
	if turn.RTT >= t.AnswerTimeout {
		when = "late, after"
	}
	port := t.Ledger.Addr(turn.Backend).Port()
	t.Log.Info(fmt.Sprintf("#%d %s answered %v %s %s ms: %s (via the load balancer, server port %d)",
		turn.Number+1, turn.Server, turn.Client, when, millis(turn.RTT), app.Quote(turn.Reply, turn.Size), port),
		append(attributes(turn), "rtt_ms", toMillis(turn.RTT), "reply", string(turn.Reply), "reply_bytes", turn.Size, "server_port", port)...)
}

// fellSilent tells a turn that nobody answered in time.
func (t *teller) fellSilent(turn ledger.Turn) {
	t.Log.Info(fmt.Sprintf("#%d %s silent for %s, asked by %v", turn.Number+1, turn.Server, seconds(t.AnswerTimeout), turn.Client),
		attributes(turn)...)
}

// wasDropped tells a turn that was taken and not forwarded.
func (t *teller) wasDropped(turn ledger.Turn) {
	why := "the system would not send it (" + turn.Fate.String() + ")"
	if turn.Fate == ledger.Held {
		why = "it is down and keeps its turn"
	}
	t.Log.Info(fmt.Sprintf("#%d %s got nothing from %v: %s", turn.Number+1, turn.Server, turn.Client, why), attributes(turn)...)
}

// attributes are the fields that every turn's line has for programs.
func attributes(turn ledger.Turn) []any {
	return []any{"turn", turn.Number + 1, "server", turn.Server, "client", turn.Client.String(), "bytes", turn.Bytes, "outcome", string(turn.Outcome)}
}

// tellEvents tells what happened to backends.
func (t *teller) tellEvents() {
	events, _ := t.Ledger.Events(t.nextEvent)
	for _, e := range events {
		t.nextEvent = e.Number + 1
		line := e.Backend + " " + string(e.Kind)
		switch e.Kind {
		case ledger.WentDown:
			line += ": " + e.Reason + "; its turns go to the next server"
			if t.WhenDown == rotation.Hold {
				line = strings.TrimSuffix(line, "go to the next server") + "are kept and lost"
			}
		case ledger.Moved:
			line += " to " + e.Addr.String()
		}
		t.Log.Info(line, "event", string(e.Kind), "server", e.Backend, "reason", e.Reason, "addr", e.Addr.String())
	}
}

// sumUp tells in one line how many turns have had no line of their own since
// the last time, and in another what was dropped without a turn.
func (t *teller) sumUp(now time.Time) {
	s := t.Ledger.Snapshot(now)
	more, shares, attrs := int64(0), []string{}, []any{}
	for i, b := range s.Backends {
		n := max(int64(b.Turns)-t.counted[i], 0)
		t.counted[i] += n
		more += n
		shares = append(shares, b.Name+" "+thousands(n))
		attrs = append(attrs, b.Name, n)
	}
	if more > 0 {
		t.Log.Info(fmt.Sprintf("%s more turns in the last second: %s", thousands(more), strings.Join(shares, ", ")),
			"turns", more, slog.Group("servers", attrs...))
	}
	t.sumUpDrops(s)
	t.second, t.told = now, 0
}

// sumUpDrops tells what was dropped without taking a turn; the others have
// their lines among the turns.
func (t *teller) sumUpDrops(s ledger.Snapshot) {
	dropped, reasons, attrs := int64(0), []string{}, []any{}
	for f := range ledger.Fates {
		n := int64(s.Dropped[f] - t.dropped[f])
		t.dropped[f] = s.Dropped[f]
		if n == 0 || f.TakesTurn() {
			continue
		}
		dropped += n
		reasons = append(reasons, f.String()+" "+thousands(n))
		attrs = append(attrs, f.String(), n)
	}
	if dropped > 0 {
		t.Log.Warn(fmt.Sprintf("%s datagrams dropped in the last second: %s", thousands(dropped), strings.Join(reasons, ", ")),
			"dropped", dropped, slog.Group("reasons", attrs...))
	}
}

// thousands writes 1204 as 1,204.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// millis writes a round-trip time in milliseconds as people read it: three
// digits that matter.
func millis(d time.Duration) string {
	ms := toMillis(d)
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64)
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

func toMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// seconds writes a timeout such as "1 s" or "0.5 s".
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}
