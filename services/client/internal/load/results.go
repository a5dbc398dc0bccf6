package load

import (
	"net/netip"
	"time"

	"udplab/services/client/internal/ping"
)

// Results is what a load found out so far. The latency and the maps are the run's own
// and go on as it does.
type Results struct {
	Plan
	ping.Counts
	Unsent    int64         // were due, but there was no room in the window
	Elapsed   time.Duration // since the load began
	PerSecond float64       // answers in time
	Latency   *Latency
	ByServer  map[string]int64 // answers in time
	Errors    map[string]int64 // what the system said, by reason
}

// Results is the state at this time.
func (r *Run) Results(clock time.Time) Results {
	now := clock.Sub(r.began)
	found := Results{Plan: r.Plan, Counts: r.Counts, Elapsed: now, Latency: r.latency, ByServer: r.byServer, Errors: r.errors}
	if r.Rate > 0 {
		found.Unsent = r.dueBy(r.looked) - r.Sent
	}
	if span := max(r.sending(now, r.Sent), r.lastAnswer); span > 0 {
		found.PerSecond = float64(r.Received) / span.Seconds()
	}
	return found
}

// The events of a load, to be shown to people or programs.
type (
	// Started says that the sockets are open and nothing is sent yet.
	Started struct {
		Target string // HOST:PORT as given
		Addr   netip.AddrPort
		Plan
	}

	// Progress says from time to time how far the load is.
	Progress struct {
		Plan
		ping.Counts
		Elapsed   time.Duration
		PerSecond float64 // answers, lately
	}

	// Status is the answer to somebody who wants to know how far it is.
	Status struct{ Results }

	// Ended says that the load is over, and with which exit code.
	Ended struct {
		Target string
		Results
		Exit int
	}
)

// Status is the event for somebody who asks how far the load is.
func (r *Run) Status(clock time.Time) any { return Status{r.Results(clock)} }

// Progress is the event for somebody who watches. How fast it is goes by the answers
// since the last time, if that is long enough ago to mean something.
func (r *Run) Progress(clock time.Time) any {
	now := clock.Sub(r.began)
	if since := now - r.measuredAt; since >= time.Second/4 {
		r.perSecond = float64(r.Received-r.measured) / since.Seconds()
		r.measuredAt, r.measured = now, r.Received
	}
	return Progress{r.Plan, r.Counts, now, r.perSecond}
}
