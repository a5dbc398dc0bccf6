package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"udplab/services/kit/udp"
)

// outcome is what became of a request, as the log names it.
type outcome string

const (
	answered outcome = "answered"
	delayed  outcome = "delayed" // held back; it will be answered or dropped
	lost     outcome = "lost"    // on purpose
	failed   outcome = "failed"  // the system did not send the answer
	dropped  outcome = "dropped" // too many are held back, or the server stops
)

// deed is what the server did with one request.
type deed struct {
	outcome outcome
	delay   time.Duration // if delayed
	cut     bool          // the end of the text did not fit
	err     error         // if failed
}

// String says it as the end of a line in the log.
func (d deed) String() (text string) {
	switch d.outcome {
	case answered:
		text = "answered"
	case delayed:
		text = "answering in " + milliseconds(d.delay)
	case lost:
		return "lost on purpose"
	case failed:
		return fmt.Sprintf("could not answer: %v", d.err)
	case dropped:
		return "dropped, the answer could not be held back"
	}
	if d.cut {
		text += fmt.Sprintf(", cut to %d bytes", udp.MaxPayload)
	}
	return text
}

// milliseconds writes a duration for people, to a tenth: "200 ms".
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(inMilliseconds(d), 'f', -1, 64) + " ms"
}

func inMilliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*10_000) / 10 }
