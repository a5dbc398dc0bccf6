package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// figures is what one measurement found, by unit. "odd" is replies that were
// late, duplicates, or to nothing that the client had sent.
type figures map[string]float64

// printed are the units in a benchmark line, in their order, where there is such
// a figure.
var printed = []string{"cpu-ns/trip", "trips/s", "p50-ns", "p99-ns", "lost", "odd", "B/session", "violations"}

// units says to benchstat what is better where that is not less.
const units = "Unit trips/s better=higher\n"

// key is a contestant in a case.
type key struct {
	loadCase
	name string
}

// report prints and keeps what was found.
type report struct {
	stdout, stderr io.Writer

	keys   []key // in the order of the first round
	rounds map[key][]figures
	failed bool // a contestant of our own has
}

// add prints a measurement in Go's benchmark format, or why there is none.
func (r *report) add(c contestant, lc loadCase, f figures, err error) {
	if f["violations"] > 0 {
		err = fmt.Errorf("%.0f order violations", f["violations"])
	}
	if err != nil {
		fmt.Fprintf(r.stderr, "%v, %s failed: %v\n", lc, c.name, err)
		r.failed = r.failed || c.ours
		return
	}
	fmt.Fprintf(r.stdout, "BenchmarkRoundTrip/clients=%d/outstanding=%d/through=%s\t%.0f", lc.clients, lc.outstanding, strings.ReplaceAll(c.name, " ", "_"), f["trips"])
	for _, unit := range printed {
		if value, ok := f[unit]; ok {
			fmt.Fprintf(r.stdout, "\t%.0f %s", value, unit)
		}
	}
	fmt.Fprintln(r.stdout)
	k := key{lc, c.name}
	if r.rounds[k] == nil {
		r.keys = append(r.keys, k)
	}
	r.rounds[k] = append(r.rounds[k], f)
}

// median is that of what the rounds found; NaN if they have no such figure.
func (r *report) median(k key, unit string) float64 {
	var all []float64
	for _, f := range r.rounds[k] {
		if value, ok := f[unit]; ok {
			all = append(all, value)
		}
	}
	n := len(all)
	if n == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// table prints the medians of all rounds, beside ours and beside no balancer.
func (r *report) table() error {
	t := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nclients × in flight\tthrough\tCPU µs/trip\t÷ udplab\ttrips/s\t÷ direct\tp50 µs\tB/session")
	for _, k := range r.keys {
		cpu, trips := r.median(k, "cpu-ns/trip"), r.median(k, "trips/s")
		fmt.Fprintf(t, "%v\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.loadCase, k.name,
			cell("%.2f", cpu/1000), cell("%.2f", cpu/r.median(key{k.loadCase, udplab}, "cpu-ns/trip")),
			cell("%.0f", trips), cell("%.2f", trips/r.median(key{k.loadCase, direct}, "trips/s")),
			cell("%.1f", r.median(k, "p50-ns")/1000), cell("%.0f", r.median(k, "B/session")))
	}
	return t.Flush()
}

// cell writes a figure; a dash stands for none.
func cell(format string, v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf(format, v)
}
