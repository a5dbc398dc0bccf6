package ping

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"udplab/services/kit/program"
)

// Counts is what became of the datagrams of a run so far, pings or a load.
// Sent = Received + Lost() + Unfinished.
type Counts struct {
	Sent       int64
	Received   int64 // answered in time
	Late       int64 // answered after the timeout, so lost
	Duplicates int64 // further answers
	Unmatched  int64 // datagrams that answer nothing of this run
	Unfinished int64 // still waited for
}

// Decided is how many were answered in time or lost.
func (c Counts) Decided() int64 { return c.Sent - c.Unfinished }

// Lost is how many were not answered in time.
func (c Counts) Lost() int64 { return c.Decided() - c.Received }

// Loss is the percentage of the decided ones that were lost. ok is false if there
// are none.
func (c Counts) Loss() (percent float64, ok bool) {
	if c.Decided() == 0 {
		return 0, false
	}
	return 100 * float64(c.Lost()) / float64(c.Decided()), true
}

// Verdict is nil if there was an answer and no more than maxLoss per cent was
// lost. The error has exit code 1; its text is empty where the summary says
// enough.
func (c Counts) Verdict(maxLoss float64) error {
	if c.Received == 0 {
		return program.Exit(1)
	}
	if loss, _ := c.Loss(); loss > maxLoss {
		return fmt.Errorf("%s loss: more than the %s allowed", Percent(loss), Percent(maxLoss))
	}
	return nil
}

// Percent writes a percentage as ping does, with up to six digits.
func Percent(p float64) string { return strconv.FormatFloat(p, 'g', 6, 64) + "%" }

// RoundTrips is how long answers took, shortest first. Its methods need at least
// one.
type RoundTrips []time.Duration

// Mean is the average.
func (r RoundTrips) Mean() time.Duration { return time.Duration(math.Round(r.mean())) }

func (r RoundTrips) mean() float64 {
	var sum float64
	for _, rtt := range r {
		sum += float64(rtt)
	}
	return sum / float64(len(r))
}

// Deviation is the standard deviation of these very round trips, as ping's mdev,
// not an estimate for others.
func (r RoundTrips) Deviation() time.Duration {
	mean, squares := r.mean(), 0.0
	for _, rtt := range r {
		difference := float64(rtt) - mean
		squares += difference * difference
	}
	return time.Duration(math.Round(math.Sqrt(squares / float64(len(r)))))
}

// Percentile is the round trip that p per cent of the answers did not exceed, by
// nearest rank; that of 0 is the shortest.
func (r RoundTrips) Percentile(p float64) time.Duration {
	rank := int(math.Ceil(p * float64(len(r)) / 100)) // from 1
	return r[max(rank, 1)-1]
}
