package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"udplab/services/kit/udp"
)

// outcome is what became of a request.
type outcome int

const (
	answered outcome = iota
	lost             // on purpose
	failed           // the system did not send the answer
	dropped          // too much was held back already, or the server stopped
	outcomes         // how many there are; delayed is none yet
	delayed          // held back; it will be answered, fail or be dropped
)

// String is the outcome's name in the log.
func (o outcome) String() string {
	return [...]string{answered: "answered", lost: "lost", failed: "failed", dropped: "dropped", delayed: "delayed"}[o]
}

// result is what the server did with one request.
type result struct {
	outcome outcome
	delay   time.Duration // if delayed
	cut     bool          // the end of the text did not fit
	err     error         // if failed
}

// String is the end of the request's line in the log.
func (r result) String() (text string) {
	switch r.outcome {
	case lost:
		return "lost on purpose"
	case failed:
		return fmt.Sprintf("could not answer: %v", r.err)
	case dropped:
		return "dropped, the answer could not be held back"
	case delayed:
		text = "answering in " + milliseconds(r.delay)
	default:
		text = "answered"
	}
	if r.cut {
		text += fmt.Sprintf(", cut to %d bytes", udp.MaxPayload)
	}
	return text
}

// milliseconds writes a duration for people, to a tenth: "200 ms".
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(inMilliseconds(d), 'f', -1, 64) + " ms"
}

func inMilliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*10_000) / 10 }
