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

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/kit/logging"
)

const (
	// perSecond is how many turns a second get a line of their own.
	perSecond = 50
	// interval is how often the ledger is read.
	interval = 50 * time.Millisecond
)

// Config is what a log is told from.
type Config struct {
	Ledger        *ledger.Ledger
	Log           *slog.Logger
	WhenDown      balancing.WhenDown
	AnswerTimeout time.Duration
}

// Run tells the ledger from its beginning until the context ends, and then
// what is still untold.
func Run(ctx context.Context, cfg Config) {
	t := newTeller(cfg, time.Now())
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.tellRest(time.Now())
			return
		case <-tick.C:
			t.tell(time.Now())
		}
	}
}

// teller remembers what has been told. Every turn is either told in a line of
// its own or counted in a summary, never both.
type teller struct {
	Config
	next      uint64        // the first turn that has not been looked at
	nextEvent uint64        // the first event that has not been told
	waiting   []ledger.Turn // to be told when their outcome is known
	silent    []ledger.Turn // told as silent; they may be answered late
	late      uint64        // how many turns had been when they were looked at

	second  time.Time // when the current second began
	chosen  int       // how many turns of it get a line of their own
	counted []int64   // turns told, chosen or summed up so far, by backend
	dropped [ledger.Dispositions]uint64
}

func newTeller(cfg Config, now time.Time) *teller {
	return &teller{Config: cfg, second: now, counted: make([]int64, len(cfg.Ledger.Snapshot(now).Backends))}
}

// tell logs what is new, and a summary when a second is over.
func (t *teller) tell(now time.Time) {
	s := t.Ledger.Snapshot(now)
	t.tellEvents()
	t.choose(now, s.Turns)
	t.tellLate(now, s)
	t.waiting = slices.DeleteFunc(t.waiting, func(turn ledger.Turn) bool { return t.tellOutcome(now, turn) })
	if now.Sub(t.second) >= time.Second {
		t.sumUp(s)
		t.second, t.chosen = now, 0
	}
}

// tellRest logs everything that is left, at the stop: nothing is to come.
func (t *teller) tellRest(now time.Time) {
	t.tell(now)
	for _, turn := range t.waiting {
		t.Log.Info(fmt.Sprintf("#%d %s had not answered %v when the balancer stopped", turn.Number+1, turn.Server, turn.Client), attributes(turn)...)
	}
	t.sumUp(t.Ledger.Snapshot(now))
}

// choose picks turns before the end that get a line of their own, as many as
// the second allows. The others are left to the summary. As the end is that of
// the snapshot which the summary is made from, no turn is in both.
func (t *teller) choose(now time.Time, end uint64) {
	turns, _ := t.Ledger.Since(now, t.next, perSecond-t.chosen)
	for _, turn := range turns {
		if turn.Number >= end {
			break
		}
		t.chosen++
		t.counted[turn.Backend]++
		t.waiting = append(t.waiting, turn)
	}
	t.next = end
}

// tellOutcome logs a turn if its outcome is known, and says whether that is
// settled.
func (t *teller) tellOutcome(now time.Time, turn ledger.Turn) bool {
	turn, remembered := t.again(now, turn)
	switch {
	case !remembered:
		t.counted[turn.Backend]-- // the summary has it
	case turn.Outcome == ledger.Waiting:
		return false
	case turn.Outcome == ledger.Answered:
		t.answered(turn)
	case turn.Outcome == ledger.Undelivered:
		t.wasNotDelivered(turn)
	case turn.Outcome == ledger.Silent:
		t.fellSilent(turn)
		t.silent = append(t.silent, turn)
	case turn.Outcome == ledger.Dropped:
		t.wasDropped(turn)
	}
	return true
}

// lateFor is how long a turn that was told as silent is followed. Its session is
// closed by then, unless the client goes on.
const lateFor = time.Minute

// tellLate logs the turns that were told as silent and have been answered after
// all. It asks for them only when some turns have been: a lecture may leave
// thousands behind.
func (t *teller) tellLate(now time.Time, s ledger.Snapshot) {
	late := uint64(0)
	for _, b := range s.Backends {
		late += b.Late + b.Undelivered
	}
	asks := late != t.late
	t.late = late
	t.silent = slices.DeleteFunc(t.silent, func(turn ledger.Turn) bool {
		return asks && t.wasLate(now, turn) || now.Sub(turn.At) > lateFor
	})
}

// wasLate logs a turn that was told as silent if it has been answered after
// all, and says whether there is nothing more to come.
func (t *teller) wasLate(now time.Time, turn ledger.Turn) bool {
	turn, remembered := t.again(now, turn)
	switch {
	case !remembered:
	case turn.Outcome == ledger.Answered:
		t.answered(turn)
	case turn.Outcome == ledger.Undelivered:
		t.wasNotDelivered(turn)
	default:
		return false
	}
	return true
}

// again reads a turn once more, or returns it as it was if the ledger has forgotten
// it.
func (t *teller) again(now time.Time, turn ledger.Turn) (_ ledger.Turn, remembered bool) {
	if newer, ok := t.Ledger.Turn(now, turn.Number); ok {
		return newer, true
	}
	return turn, false
}

// answered tells a turn that a reply came to. A round-trip time that is not
// certain is told as such: see package ledger.
func (t *teller) answered(turn ledger.Turn) {
	when := "in"
	if turn.RTT >= t.AnswerTimeout {
		when = "late, after"
	}
	if !turn.Exact {
		when += " about"
	}
	port := t.Ledger.Addr(turn.Backend).Port()
	t.Log.Info(fmt.Sprintf("#%d %s answered %v %s %s ms: %s (via the load balancer, server port %d)",
		turn.Number+1, turn.Server, turn.Client, when, millis(turn.RTT), logging.Quote(turn.Reply, turn.Size), port),
		append(attributes(turn), "rtt_ms", toMillis(turn.RTT), "rtt_exact", turn.Exact,
			"reply", string(turn.Reply), "reply_bytes", turn.Size, "server_port", port)...)
}

// wasNotDelivered tells a turn whose reply went no further than here.
func (t *teller) wasNotDelivered(turn ledger.Turn) {
	t.Log.Info(fmt.Sprintf("#%d %s answered, but %v did not get it: the system would not send it", turn.Number+1, turn.Server, turn.Client),
		append(attributes(turn), "rtt_ms", toMillis(turn.RTT), "rtt_exact", turn.Exact)...)
}

// fellSilent tells a turn that nobody answered in time.
func (t *teller) fellSilent(turn ledger.Turn) {
	t.Log.Info(fmt.Sprintf("#%d %s silent for %s, asked by %v", turn.Number+1, turn.Server, seconds(t.AnswerTimeout), turn.Client),
		attributes(turn)...)
}

// wasDropped tells a turn that was taken and not forwarded.
func (t *teller) wasDropped(turn ledger.Turn) {
	why := "the system would not send it (" + turn.Disposition.String() + ")"
	if turn.Disposition == ledger.DroppedDown {
		why = "it is down and keeps its turn"
	}
	t.Log.Info(fmt.Sprintf("#%d %s got nothing from %v: %s", turn.Number+1, turn.Server, turn.Client, why),
		append(attributes(turn), "fate", turn.Disposition.String())...)
}

// attributes are the fields that every turn's line has for programs.
func attributes(turn ledger.Turn) []any {
	return []any{"turn", turn.Number + 1, "server", turn.Server, "client", turn.Client.String(), "bytes", turn.Bytes, "outcome", string(turn.Outcome)}
}

// tellEvents tells what happened to backends.
func (t *teller) tellEvents() {
	events, missed := t.Ledger.Events(t.nextEvent)
	if missed > 0 {
		t.Log.Warn(fmt.Sprintf("%s more ups, downs and moves of servers", thousands(int64(missed))), "events", missed)
	}
	for _, e := range events {
		t.nextEvent = e.Number + 1
		line := e.Backend + " " + string(e.Kind)
		attrs := []any{"event", string(e.Kind), "server", e.Backend}
		switch e.Kind {
		case ledger.WentDown:
			fate := "go to the next server"
			if t.WhenDown == balancing.Hold {
				fate = "are kept and lost"
			}
			line += ": " + e.Reason + "; its turns " + fate
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

// sumUp tells in one line how many turns have had no line of their own since
// the last time, and in another what was dropped without a turn.
func (t *teller) sumUp(s ledger.Snapshot) {
	more, shares, attrs := int64(0), []string{}, []any{}
	for i, b := range s.Backends {
		// A turn that a second worker appended after this snapshot may have
		// been told already: then it is taken off the next summary.
		n := max(int64(b.Turns)-t.counted[i], 0)
		t.counted[i] += n
		more += n
		shares = append(shares, b.Name+" "+thousands(n))
		attrs = append(attrs, b.Name, n)
	}
	if more > 0 {
		t.Log.Info(fmt.Sprintf("%s in the last second: %s", amount(more, "more turn"), strings.Join(shares, ", ")),
			"turns", more, slog.Group("servers", attrs...))
	}
	t.sumUpDrops(s)
}

// sumUpDrops tells what was dropped without taking a turn; the others have
// their lines among the turns.
func (t *teller) sumUpDrops(s ledger.Snapshot) {
	dropped, reasons, attrs := int64(0), []string{}, []any{}
	for f := range ledger.Dispositions {
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
		t.Log.Warn(fmt.Sprintf("%s dropped in the last second: %s", amount(dropped, "datagram"), strings.Join(reasons, ", ")),
			"dropped", dropped, slog.Group("reasons", attrs...))
	}
}

// amount writes a number of things: "1 datagram", "1,204 datagrams".
func amount(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
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
