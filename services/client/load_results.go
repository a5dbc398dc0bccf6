package main

import (
	"maps"
	"time"
)

// loadCounts is what became of the datagrams of a load. Those sent are
// received, lost or unfinished; late ones are lost as well.
type loadCounts struct {
	sent, received, lost, late, duplicates, strays int

	trips    *trips         // of the answers in time
	byServer map[string]int // answers in time
	errors   map[string]int // what the system said, by reason
}

func newLoadCounts() loadCounts {
	return loadCounts{trips: newTrips(), byServer: map[string]int{}, errors: map[string]int{}}
}

// loadResults is what a load found out so far. The trips are the flight's own:
// they go on as it does.
type loadResults struct {
	plan
	loadCounts
	unfinished int           // neither answered nor lost
	unsent     int           // were due, but there was no room in the window
	elapsed    time.Duration // since the load began
	span       time.Duration // that answers a second are counted over
}

// results is the state at this time.
func (f *flight) results(now time.Duration) loadResults {
	r := loadResults{
		plan: f.plan, loadCounts: f.loadCounts,
		unfinished: f.underWay, elapsed: now, span: max(f.sending(now), f.lastAnswer),
	}
	r.byServer, r.errors = maps.Clone(f.byServer), maps.Clone(f.errors)
	if f.rate > 0 {
		due := f.dueBy(f.looked)
		if f.count > 0 {
			due = min(due, f.count)
		}
		r.unsent = due - f.sent
	}
	return r
}

// sending is for how long it was to be sent so far. The wait for the last
// answers is no part of it.
func (f *flight) sending(now time.Duration) time.Duration {
	switch {
	case f.duration > 0:
		return min(now, f.duration)
	case f.count > 0 && f.rate > 0:
		return min(now, f.due(f.count+1))
	case f.count > 0 && f.sent == f.count:
		return 0
	}
	return now
}

// perSecond is how many answers came in time, a second.
func (r loadResults) perSecond() float64 {
	if r.span <= 0 {
		return 0
	}
	return float64(r.received) / r.span.Seconds()
}

// loss is the percentage of those received or lost that were lost. ok is false
// if there are none.
func (r loadResults) loss() (percent float64, ok bool) {
	decided := r.received + r.lost
	if decided == 0 {
		return 0, false
	}
	return 100 * float64(r.lost) / float64(decided), true
}

// share is the percentage of the answers that a server gave.
func (c loadCounts) share(server string) float64 {
	return 100 * float64(c.byServer[server]) / float64(c.received)
}
