package report

import (
	"fmt"
	"time"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
)

// progressLine says how far a run is, or nothing if that is not worth saying or the
// event is another.
func progressLine(event any, quiet bool) string {
	switch e := event.(type) {
	case ping.Progress:
		return pingProgress(e, quiet)
	case load.Progress:
		return loadProgress(e)
	}
	return ""
}

// longRun is how long a run must be going to last for people to be told how far it
// is. One that was expected to be shorter is told of when half of that is over: a
// set of ten pings with a lost answer or two never is.
const longRun = 10 * time.Second

func pingProgress(p ping.Progress, quiet bool) string {
	line := fmt.Sprintf("%d of %s answered", p.Received, counted(p.Decided(), "ping"))
	if p.Count == 0 {
		if !quiet {
			return "" // its lines say everything
		}
		return line + ", until Ctrl-C"
	}
	if time.Duration(p.Count)*p.Interval < longRun && p.Elapsed < longRun/2 {
		return ""
	}
	toGo := p.Count - p.Decided()
	left := time.Duration(toGo) * max(p.Interval, p.Elapsed/time.Duration(max(p.Decided(), 1)))
	return fmt.Sprintf("%s, %d to go, %s left", line, toGo, inWords(left))
}

func loadProgress(p load.Progress) string {
	line := speed(p.PerSecond) + " answers/s"
	if loss, ok := p.Loss(); ok {
		line += fmt.Sprintf(", %.3g%% lost", loss)
	}
	switch {
	case p.Duration > 0 && p.Elapsed < p.Duration:
		line += ", " + inWords(p.Duration-p.Elapsed) + " left"
	case p.Count > 0 && p.Sent < p.Count:
		line += fmt.Sprintf(", %d to go", p.Count-p.Sent)
		if p.Sent > 0 {
			perDatagram := float64(p.Elapsed) / float64(p.Sent)
			line += ", " + inWords(time.Duration(perDatagram*float64(p.Count-p.Sent))) + " left"
		}
	case p.Count > 0 || p.Duration > 0:
		line += ", waiting for the last answers"
	default:
		line += ", until Ctrl-C"
	}
	return line
}

// inWords is a time as people say it, never less than there is.
func inWords(d time.Duration) string {
	seconds := int64((d + time.Second - 1) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
}
