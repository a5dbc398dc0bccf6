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
	Unsent   int64         // were due, but there was no room in the window
	Elapsed  time.Duration // since the load began
	span     time.Duration // that answers a second are counted over
	Latency  *Latency
	ByServer map[string]int64 // answers in time
	Errors   map[string]int64 // what the system said, by reason
}

// PerSecond is how many answers came in time, a second.
func (r Results) PerSecond() float64 {
	if r.span <= 0 {
		return 0
	}
	return float64(r.Received) / r.span.Seconds()
}

// Share is the percentage of the answers that a server gave.
func (r Results) Share(server string) float64 {
	return 100 * float64(r.ByServer[server]) / float64(r.Received)
}

// Results copies the state at this time.
func (r *Run) Results(clock time.Time) Results {
	now := clock.Sub(r.began)
	found := Results{
		Plan: r.Plan, Counts: r.Counts, Latency: r.latency,
		Elapsed: now, span: max(r.sending(now, r.Sent), r.lastAnswer),
		ByServer: r.byServer, Errors: r.errors,
	}
	if r.Rate > 0 {
		due := r.dueBy(r.looked)
		if r.Count > 0 {
			due = min(due, r.Count)
		}
		found.Unsent = due - r.Sent
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
