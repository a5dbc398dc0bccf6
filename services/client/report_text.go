package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"udplab/services/kit/logging"
)

// textReport shows a run to people, in the lines that ping has taught them.
type textReport struct {
	out, err io.Writer
	quiet    bool // the summary only
	paint    paint
}

func (t textReport) show(e event) {
	switch e := e.(type) {
	case asked:
		fmt.Fprintln(t.err, statusLine(e.results))
	case loadAsked:
		fmt.Fprintln(t.err, loadStatus(e.loadResults))
	case ended:
		t.summary(e)
	case loadEnded:
		t.loadSummary(e)
	default:
		if line := t.line(e); line != "" && !t.quiet {
			fmt.Fprintln(t.out, line)
		}
	}
}

// line is what one event looks like while the run goes on.
func (t textReport) line(e event) string {
	switch e := e.(type) {
	case started:
		howMany := counted(e.count, "ping")
		if e.count == 0 {
			howMany = "until Ctrl-C"
		}
		return fmt.Sprintf("PING %s (%s): %s", e.target.host(), e.addr, howMany)
	case loadStarted:
		return loadLine(e)
	case replied:
		return answerLine(e.server, e.seq, e.rtt, e.message)
	case timedOut:
		line := fmt.Sprintf("%s  seq=%d", t.paint.red("REQUEST TIMED OUT"), e.seq)
		if e.why != "" {
			line += fmt.Sprintf("  (%s)", e.why)
		}
		return line
	case cameLate:
		return fmt.Sprintf("%s %s seq=%d %s ms (already counted as lost)",
			t.paint.yellow("late"), printable(e.server), e.seq, wholeMillis(e.rtt))
	case cameAgain:
		return answerLine(e.server, e.seq, e.rtt, e.message) + "  " + t.paint.yellow("(DUP!)")
	case strayed:
		return fmt.Sprintf("stray  %s (answers no ping of this run)", logging.Quote([]byte(e.payload), len(e.payload)))
	}
	return ""
}

func answerLine(server string, seq int, rtt time.Duration, message string) string {
	return fmt.Sprintf("%s  seq=%d  %s ms  %s", printable(server), seq, millis(rtt), excerpt(message))
}

// summary is what is printed when the run is over.
func (t textReport) summary(e ended) {
	fmt.Fprintf(t.out, "--- %s ping statistics ---\n", e.target.host())
	fmt.Fprintln(t.out, countLine(e.results))
	if e.received > 0 {
		s := e.spread()
		fmt.Fprintf(t.out, "rtt min/avg/max/mdev = %s/%s/%s/%s ms\n", millis(s.min), millis(s.avg), millis(s.max), millis(s.mdev))
		if e.received >= enough {
			fmt.Fprintf(t.out, "rtt p50/p95/p99 = %s/%s/%s ms\n", millis(e.percentile(50)), millis(e.percentile(95)), millis(e.percentile(99)))
		}
		fmt.Fprint(t.out, "answered by")
		for _, server := range servers(e.byServer) {
			fmt.Fprintf(t.out, "  %s ×%d", printable(server), e.byServer[server])
		}
		fmt.Fprintln(t.out)
	}
	if drawn := e.order.String(); drawn != "" {
		fmt.Fprintf(t.out, "order        %s        %s\n", drawn, outlook(e.order))
	}
}

// outlook says who is next, or why nobody can tell.
func outlook(o order) string {
	if next := o.next(); next != "" {
		return fmt.Sprintf("the balancer keeps counting: the next turn is expected to be %s's", printable(next))
	}
	return o.whyNot()
}

// countLine has the numbers that are not zero as a rule, and the others only
// when they are not.
func countLine(r results) string {
	parts := []string{fmt.Sprintf("%d sent", r.sent), fmt.Sprintf("%d received", r.received)}
	if r.late > 0 {
		parts = append(parts, fmt.Sprintf("%d late", r.late))
	}
	if r.duplicates > 0 {
		parts = append(parts, counted(r.duplicates, "duplicate"))
	}
	if r.strays > 0 {
		parts = append(parts, counted(r.strays, "stray"))
	}
	if r.unfinished > 0 {
		parts = append(parts, fmt.Sprintf("%d unfinished", r.unfinished))
	}
	if loss, ok := r.loss(); ok {
		parts = append(parts, percent(loss)+" loss")
	}
	return strings.Join(append(parts, "time "+wholeMillis(r.elapsed)+" ms"), ", ")
}

// statusLine is the answer to SIGQUIT. The ping that still waits is neither
// answered nor lost.
func statusLine(r results) string {
	line := fmt.Sprintf("%d of %s answered so far", r.received, counted(r.decided(), "ping"))
	if r.received > 0 {
		s := r.spread()
		line += fmt.Sprintf(", rtt min/avg/max = %s/%s/%s ms", millis(s.min), millis(s.avg), millis(s.max))
	}
	return line
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func millis(d time.Duration) string { return strconv.FormatFloat(milliseconds(d), 'f', 3, 64) }

func wholeMillis(d time.Duration) string {
	return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10)
}

// printable is text as it is, or quoted if anything in it could make a
// terminal do more than show it: what comes from the network is not trusted.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' }) {
		return strconv.Quote(text)
	}
	return text
}

// excerpt is the printable beginning of a text.
func excerpt(text string) string {
	if len(text) <= logging.Quoted {
		return printable(text)
	}
	end := logging.Quoted
	for end > logging.Quoted-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end-- // not through the middle of a character
	}
	return printable(text[:end]) + "…"
}

// paint colours words, or does not. No word depends on its colour.
type paint bool

func (p client) paint() paint { return paint(p.escapes(p.stdout)) }

// escapes says whether escape sequences may be written there: only to a
// terminal that is known to obey them, and for nobody who asked for none
// (no-color.org).
func (p client) escapes(out any) bool {
	value := func(name string) string {
		found := ""
		for _, kv := range p.environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				found = v
			}
		}
		return found
	}
	return p.isTerminal(out) && value("NO_COLOR") == "" && obeysEscapes(out, value("TERM"))
}

func (p paint) red(text string) string    { return p.colour("31", text) }
func (p paint) yellow(text string) string { return p.colour("33", text) }

func (p paint) colour(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
