// Package turnlog writes the ledger as log lines: one for each turn when it is
// answered or has fallen silent, one for everything that happens to a backend,
// and, when turns come faster than anyone can read, one line a second that sums
// up the rest.
package turnlog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/phrase"
	"udplab/services/kit/logging"
)

const (
	perSecond = 50                    // turns a second get a line of their own
	interval  = 50 * time.Millisecond // between two looks at the ledger
	lateFor   = time.Minute           // a silent turn may be answered; its session is closed then, unless the client goes on
)

// Config is what a log is written from.
type Config struct {
	Ledger        *ledger.Ledger
	Log           *slog.Logger
	WhenDown      balancing.WhenDown
	AnswerTimeout time.Duration
}

// Run logs the ledger from its beginning until the context ends, and then
// what is left.
func Run(ctx context.Context, cfg Config) {
	t := newTurnLogger(cfg, time.Now())
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.logRest(time.Now())
			return
		case <-tick.C:
			t.logNew(time.Now())
		}
	}
}

// turnLogger remembers what has been logged. Every turn is either logged in a
// line of its own or counted in a summary, never both.
type turnLogger struct {
	Config
	last      uint64        // the last turn that has been looked at
	lastEvent uint64        // the last event that has been logged
	open      []ledger.Turn // chosen ones whose outcome may change, with that which has been logged; waiting: none

	second  time.Time                // when the current second began
	chosen  int                      // how many turns of it get a line of their own
	counted map[membership.ID]uint64 // turns logged, chosen or summed up so far
	dropped [ledger.Dispositions]uint64
}

func newTurnLogger(cfg Config, now time.Time) *turnLogger {
	return &turnLogger{Config: cfg, second: now, counted: map[membership.ID]uint64{}}
}

// logNew logs what is new, and a summary when a second is over.
func (t *turnLogger) logNew(now time.Time) {
	s := t.Ledger.Snapshot(now)
	t.logEvents()
	t.choose(now, s.Turns)
	t.logOpen(now)
	if now.Sub(t.second) >= time.Second {
		t.sumUp(s)
		t.second, t.chosen = now, 0
	}
}

// logRest logs everything that is left, at the stop: nothing is to come.
func (t *turnLogger) logRest(now time.Time) {
	t.logNew(now)
	for _, turn := range t.open {
		if turn.Outcome == ledger.Waiting {
			t.logTurn(turn, fmt.Sprintf("had not answered %v when the balancer stopped", turn.Client))
		}
	}
	t.sumUp(t.Ledger.Snapshot(now))
}

// choose picks turns up to the last that get a line of their own, as many as
// the second allows. The others are left to the summary. As the last is that of
// the snapshot which the summary is made from, no turn is in both.
func (t *turnLogger) choose(now time.Time, last uint64) {
	turns, _ := t.Ledger.Since(now, t.last, perSecond-t.chosen)
	for _, turn := range turns {
		if turn.Number > last {
			break
		}
		t.chosen++
		t.counted[turn.Backend]++
		turn.Outcome = ledger.Waiting
		t.open = append(t.open, turn)
	}
	t.last = last
}

// logOpen logs what has become of the chosen turns since the last look.
func (t *turnLogger) logOpen(now time.Time) {
	open := t.open[:0]
	for _, turn := range t.open {
		latest, remembered := t.Ledger.Turn(now, turn.Number)
		switch {
		case !remembered && turn.Outcome == ledger.Waiting:
			t.counted[turn.Backend]-- // the summary has it
		case remembered && latest.Outcome != turn.Outcome:
			t.logOutcome(latest)
		}
		if latest.Outcome == ledger.Waiting || latest.Outcome == ledger.Silent && now.Sub(turn.At) <= lateFor {
			open = append(open, latest)
		}
	}
	t.open = open
}

// logOutcome logs what became of a turn. A round-trip time that is not certain
// is logged as such: see package ledger.
func (t *turnLogger) logOutcome(turn ledger.Turn) {
	roundTrip := []any{"rtt_ms", phrase.Milliseconds(turn.RTT), "rtt_exact", turn.Exact}
	switch turn.Outcome {
	case ledger.Answered:
		when := "in"
		if turn.RTT >= t.AnswerTimeout {
			when = "late, after"
		}
		if !turn.Exact {
			when += " about"
		}
		port := t.Ledger.Addr(turn.Backend).Port()
		t.logTurn(turn, fmt.Sprintf("answered %v %s %s ms: %s (via the load balancer, server port %d)", turn.Client, when,
			phrase.Millis(phrase.Milliseconds(turn.RTT)), logging.Quote(turn.Reply, turn.Size), port),
			append(roundTrip, "reply", string(turn.Reply), "reply_bytes", turn.Size, "server_port", port)...)
	case ledger.Undelivered:
		t.logTurn(turn, fmt.Sprintf("answered, but %v did not get it: the system would not send it", turn.Client), roundTrip...)
	case ledger.Silent:
		t.logTurn(turn, fmt.Sprintf("silent for %v s, asked by %v", t.AnswerTimeout.Seconds(), turn.Client))
	case ledger.Dropped:
		why := "the system would not send it (" + turn.Disposition.String() + ")"
		if turn.Disposition == ledger.DroppedDown {
			why = "it is down and keeps its turn"
		}
		t.logTurn(turn, fmt.Sprintf("got nothing from %v: %s", turn.Client, why), "reason", turn.Disposition.String())
	}
}

// logTurn logs a turn in a line that begins with its number and server, and
// again in attributes for programs.
func (t *turnLogger) logTurn(turn ledger.Turn, line string, attrs ...any) {
	t.Log.Info(fmt.Sprintf("#%d %s %s", turn.Number, turn.Server, line),
		append([]any{"turn", turn.Number, "server", turn.Server, "client", turn.Client.String(), "bytes", turn.Bytes, "outcome", string(turn.Outcome)}, attrs...)...)
}

// logEvents logs what happened to backends.
func (t *turnLogger) logEvents() {
	events, missed := t.Ledger.Events(t.lastEvent)
	if missed > 0 {
		t.Log.Warn(phrase.MissedChanges(missed), "events", missed)
	}
	for _, e := range events {
		t.lastEvent = e.Number
		line := e.Backend + " " + string(e.Kind)
		attrs := []any{"event", string(e.Kind), "server", e.Backend}
		switch e.Kind {
		case ledger.WentDown:
			line += ": " + e.Reason + "; " + phrase.TurnsOfDown(t.WhenDown == balancing.Hold)
			attrs = append(attrs, "reason", e.Reason)
		case ledger.Moved:
			line += " to " + e.Addr.String()
		}
		if e.Addr.IsValid() {
			attrs = append(attrs, "addr", e.Addr.String())
		}
		t.Log.Info(line, attrs...)
	}
}

// sumUp logs in one line how many turns have had no line of their own since
// the last time, and in another what was dropped without a turn.
func (t *turnLogger) sumUp(s ledger.Snapshot) {
	var turns, drops summary
	for _, b := range s.Backends {
		// A turn that a second worker appended after this snapshot may have
		// been logged already: then it is taken off the next summary.
		n := b.Turns - min(t.counted[b.ID], b.Turns)
		t.counted[b.ID] += n
		turns.add(b.Name, n)
	}
	for d := range ledger.Dispositions {
		n := s.Dropped[d] - t.dropped[d]
		t.dropped[d] = s.Dropped[d]
		if n > 0 && !d.TakesTurn() { // the others have lines among the turns
			drops.add(d.String(), n)
		}
	}
	if turns.total > 0 {
		t.Log.Info(phrase.Count(turns.total, "more turn")+turns.shares(), "turns", turns.total, slog.Group("servers", turns.attrs...))
	}
	if drops.total > 0 {
		t.Log.Warn(phrase.Count(drops.total, "datagram")+" dropped"+drops.shares(), "dropped", drops.total, slog.Group("reasons", drops.attrs...))
	}
}

// summary is what a second had too much of for a line each.
type summary struct {
	total uint64
	parts []string
	attrs []any
}

func (s *summary) add(name string, n uint64) {
	s.total += n
	s.parts = append(s.parts, name+" "+phrase.Thousands(n))
	s.attrs = append(s.attrs, name, n)
}

func (s *summary) shares() string { return " in the last second: " + strings.Join(s.parts, ", ") }
