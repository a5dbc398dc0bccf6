package main

import (
	"fmt"
	"io"
	"time"
)

// inPlace makes show also keep a line at the bottom of the terminal that says
// how far a run is, and returns how often that is wanted. Where stderr is no
// terminal of a known kind, or nobody wants escapes, show stays as it is and
// nothing is wanted: 0. A quiet show prints nothing while the run goes on but
// answers to those who ask.
func (p client) inPlace(show func(event), quiet bool) (with func(event), every time.Duration) {
	if !p.escapes(p.stderr) {
		return show, 0
	}
	bottom := bottomLine{out: p.stderr}
	return func(e event) {
		switch e := e.(type) {
		case progressed:
			bottom.line = e.line
			bottom.draw()
		case ended, loadEnded:
			bottom.clear()
			show(e)
		case asked, loadAsked:
			bottom.clear()
			show(e)
			bottom.draw()
		default:
			if quiet {
				show(e)
				return
			}
			bottom.clear()
			show(e)
			bottom.draw()
		}
	}, progressEvery
}

// progressEvery is how often a person is told how far it is.
const progressEvery = 500 * time.Millisecond

// bottomLine is a line below all others that is written over and over.
type bottomLine struct {
	out  io.Writer
	line func() string // what it says now; nil: it was never drawn
}

// toLineStart takes the cursor back to where its line begins, and empties the
// line (ECMA-48: CR, EL).
const toLineStart = "\r\x1b[K"

func (b *bottomLine) draw() {
	if b.line != nil {
		fmt.Fprint(b.out, toLineStart, b.line())
	}
}

func (b *bottomLine) clear() {
	if b.line != nil {
		fmt.Fprint(b.out, toLineStart)
	}
}

// longRun is how long a run must be going to last for people to be told how far
// it is. One that was not is told of when half of that is over: a set of ten
// pings with a lost answer or two never is.
const longRun = 10 * time.Second

// progress says how far a run of pings is, or nothing if that is not worth
// saying: the run is short, or its lines say everything.
func (r *runner) progress(now time.Time) string {
	decided, received := len(r.tally.pings), len(r.tally.rtts)
	if r.tally.waiting() {
		decided--
	}
	line := fmt.Sprintf("%d of %s answered", received, counted(decided, "ping"))
	if r.Count == 0 {
		if !r.Quiet {
			return ""
		}
		return line + ", until Ctrl-C"
	}
	elapsed := now.Sub(r.tally.pings[0].sentAt)
	if time.Duration(r.Count)*r.Interval < longRun && elapsed < longRun/2 {
		return ""
	}
	left := time.Duration(r.Count-decided) * max(r.Interval, elapsed/time.Duration(max(decided, 1)))
	return fmt.Sprintf("%s, %d to go, %s left", line, r.Count-decided, inWords(left))
}

// progress remembers what was said last about a load.
type progress struct {
	at        time.Duration
	received  int
	perSecond float64
}

// measure finds out how fast the load is since the last time.
func (p *progress) measure(f *flight, now time.Duration) {
	*p = progress{now, f.received, float64(f.received-p.received) / (now - p.at).Seconds()}
}

// line says how far the load is, and how fast it was when measured last.
func (p *progress) line(f *flight, now time.Duration) string {
	r := f.results(now)
	line := speed(p.perSecond) + " answers/s"
	if loss, ok := r.loss(); ok {
		line += fmt.Sprintf(", %.3g%% lost", loss)
	}
	switch {
	case f.duration > 0 && now < f.duration:
		line += ", " + inWords(f.duration-now) + " left"
	case f.count > 0 && f.sent < f.count:
		line += fmt.Sprintf(", %d to go", f.count-f.sent)
		if f.sent > 0 {
			line += ", " + inWords(time.Duration(float64(now)/float64(f.sent)*float64(f.count-f.sent))) + " left"
		}
	case f.count > 0 || f.duration > 0:
		line += ", waiting for the last answers"
	default:
		line += ", until Ctrl-C"
	}
	return line
}

// inWords is a time as people say it, never less than there is.
func inWords(d time.Duration) string {
	seconds := int((d + time.Second - 1) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
}
