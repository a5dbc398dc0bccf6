package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"udplab/integration/traffic"
)

// measurement is what one contestant did in one case, in one round.
type measurement struct {
	traffic.Counts
	unanswered int           // clients that never got a reply
	took       time.Duration // all of it
	cpu        time.Duration // of the contestant
	others     time.Duration // processor time of other programs on these cores
	p50, p99   time.Duration // round trip

	// Of the balancer only.
	bytesPerSession float64 // 0 means not known
	orderViolations uint64
}

// The figures of a measurement, in the units of the benchmark lines.
func (m measurement) nsPerTrip() float64 {
	return float64(m.cpu.Nanoseconds()) / float64(max(m.InTime, 1))
}
func (m measurement) tripsPerSecond() float64 {
	return float64(m.InTime) / m.took.Seconds()
}

// result is all rounds of one contestant in one case.
type result struct {
	loadCase
	name     string
	rounds   []measurement
	failures []error
}

// report collects the results in the order of their first round.
type report struct {
	results []*result
	leftOut []string
}

// add records a measurement, or why there is none.
func (r *report) add(name string, lc loadCase, m measurement, err error) {
	found := r.find(name, lc)
	if found == nil {
		found = &result{loadCase: lc, name: name}
		r.results = append(r.results, found)
	}
	if err != nil {
		found.failures = append(found.failures, err)
		return
	}
	found.rounds = append(found.rounds, m)
}

// find returns nil if there is no such result.
func (r *report) find(name string, lc loadCase) *result {
	if i := slices.IndexFunc(r.results, func(x *result) bool { return x.name == name && x.loadCase == lc }); i >= 0 {
		return r.results[i]
	}
	return nil
}

// leaveOut records, once, what is not measured and why.
func (r *report) leaveOut(why string) {
	if !slices.Contains(r.leftOut, why) {
		r.leftOut = append(r.leftOut, why)
	}
}

// units says to benchstat what is better where that is not less.
const units = "Unit trips/s better=higher\n"

// line is a measurement in Go's benchmark format.
func (m measurement) line(name string, lc loadCase) string {
	line := fmt.Sprintf("BenchmarkRoundTrip/clients=%d/outstanding=%d/through=%s\t%d\t%.0f trips/s\t%d p50-ns\t%d p99-ns\t%d lost",
		lc.clients, lc.outstanding, strings.ReplaceAll(name, " ", "_"), m.InTime, m.tripsPerSecond(), m.p50.Nanoseconds(), m.p99.Nanoseconds(), m.Lost)
	if m.cpu > 0 {
		line += fmt.Sprintf("\t%.1f cpu-ns/trip", m.nsPerTrip())
	}
	if m.bytesPerSession > 0 {
		line += fmt.Sprintf("\t%.0f B/session", m.bytesPerSession)
	}
	return line
}

// spread is the median of what the rounds found, the least and the most.
func (r *result) spread(figure func(measurement) float64) (median, least, most float64) {
	if r == nil || len(r.rounds) == 0 {
		return 0, 0, 0
	}
	var all []float64
	for _, m := range r.rounds {
		all = append(all, figure(m))
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]
}

func (r *result) median(figure func(measurement) float64) float64 {
	median, _, _ := r.spread(figure)
	return median
}

// table prints the medians of all rounds, as Markdown that is aligned.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "\n| clients × in flight\t| through\t| CPU µs/trip\t| least\t| most\t| udplab ÷ it\t| trips/s\t| ÷ direct\t| p50 µs\t| p99 µs\t| lost\t| B/session\t|")
	fmt.Fprintln(t, strings.Repeat("|---\t", 12)+"|")
	for _, x := range r.results {
		fmt.Fprintf(t, "| %v\t| %s\t", x.loadCase, x.name)
		if len(x.rounds) == 0 {
			fmt.Fprintln(t, "| failed\t"+strings.Repeat("| –\t", 9)+"|")
			continue
		}
		cpu, least, most := x.spread(measurement.nsPerTrip)
		trips := x.median(measurement.tripsPerSecond)
		for _, cell := range []string{
			figure("%.2f", cpu/1000), figure("%.2f", least/1000), figure("%.2f", most/1000),
			figure("%.2f", ratio(r.find(udplab, x.loadCase).median(measurement.nsPerTrip), cpu)),
			figure("%.0f", trips), figure("%.2f", ratio(trips, r.find(direct, x.loadCase).median(measurement.tripsPerSecond))),
			figure("%.1f", x.median(func(m measurement) float64 { return float64(m.p50.Nanoseconds()) / 1000 })),
			figure("%.1f", x.median(func(m measurement) float64 { return float64(m.p99.Nanoseconds()) / 1000 })),
			fmt.Sprint(x.sum().Lost), figure("%.0f", x.median(func(m measurement) float64 { return m.bytesPerSession })),
		} {
			fmt.Fprintf(t, "| %s\t", cell)
		}
		fmt.Fprintln(t, "|")
	}
	return t.Flush()
}

// figure writes a figure; a dash stands for none.
func figure(format string, v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

// ratio is 0 if there is none.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// sum adds up what the clients counted in all rounds.
func (r *result) sum() (c traffic.Counts) {
	for _, m := range r.rounds {
		c = c.Plus(m.Counts)
	}
	return c
}

// remarks is what a reader of the figures should know.
func (r *report) remarks(w io.Writer) {
	others := 0.0
	for _, x := range r.results {
		c, unanswered := x.sum(), 0
		for _, m := range x.rounds {
			unanswered += m.unanswered
			others = max(others, m.others.Seconds()/m.took.Seconds())
		}
		if odd := c.Late + c.Duplicate + c.Misrouted + c.Unmatched + uint64(unanswered); odd > 0 {
			fmt.Fprintf(w, "%v, %s: replies late %d, duplicate %d, to another client's datagram %d, to none %d; clients without any reply %d\n",
				x.loadCase, x.name, c.Late, c.Duplicate, c.Misrouted, c.Unmatched, unanswered)
		}
		for _, err := range x.failures {
			fmt.Fprintf(w, "%v, %s failed: %v\n", x.loadCase, x.name, err)
		}
	}
	for _, why := range r.leftOut {
		fmt.Fprintf(w, "left out: %s\n", why)
	}
	fmt.Fprintf(w, "other programs used up to %.2f of these cores while something was measured\n", others)
}

// failed names what went wrong with contestants of our own; nil if nothing did.
func (r *report) failed() error {
	var errs []error
	for _, x := range r.results {
		if !ours(x.name) {
			continue
		}
		for _, err := range x.failures {
			errs = append(errs, fmt.Errorf("%v, %s: %w", x.loadCase, x.name, err))
		}
		for _, m := range x.rounds {
			if m.orderViolations > 0 {
				errs = append(errs, fmt.Errorf("%v, %s: %d order violations", x.loadCase, x.name, m.orderViolations))
			}
		}
	}
	return errors.Join(errs...)
}
