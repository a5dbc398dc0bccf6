package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// measurement is what one contestant did in one case, in one round. Times are
// in microseconds.
type measurement struct {
	counts
	Throughput float64       // round trips a second
	CPU        float64       // of the contestant, for each round trip
	CPUTime    time.Duration // of the contestant, altogether
	TickTime   time.Duration // the same by utime and stime
	P50, P99   float64       // round trip
	Cores      float64       // how much of its core the contestant used, 0 to 1
	Others     float64       // how many cores' worth of the two others used
	Unanswered int           // slots that were never answered

	// Of our own balancer only.
	MemoryPerSession float64 // in KiB; 0: not known
	Status           *balancerStatus
}

// counts is what became of the load's datagrams.
type counts struct {
	Answered   uint64 `json:"answered"`
	Lost       uint64 `json:"lost"`        // not answered in time, and sent again
	Late       uint64 `json:"late"`        // answers to what counts as lost, or second answers
	Misrouted  uint64 `json:"misrouted"`   // answers to another client's datagram
	SendFailed uint64 `json:"send_failed"` // not taken by the kernel
}

func (c counts) less(o counts) counts {
	return counts{c.Answered - o.Answered, c.Lost - o.Lost, c.Late - o.Late, c.Misrouted - o.Misrouted, c.SendFailed - o.SendFailed}
}

func (c counts) plus(o counts) counts {
	return counts{c.Answered + o.Answered, c.Lost + o.Lost, c.Late + o.Late, c.Misrouted + o.Misrouted, c.SendFailed + o.SendFailed}
}

// balancerStatus is what is of interest in /api/status.
type balancerStatus struct {
	DataPath        string `json:"datapath"`
	Sessions        int64  `json:"sessions"`
	OrderViolations uint64 `json:"order_violations"`
	DroppedTotal    uint64 `json:"dropped_total"`
}

// machineFacts is where the measurement was made.
type machineFacts struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// report is everything that was measured.
type report struct {
	Machine   machineFacts `json:"machine"`
	Command   string       `json:"command"`
	Rounds    int          `json:"rounds"`
	Seconds   float64      `json:"seconds"` // each measurement
	Core      int          `json:"core"`
	LoadCore  int          `json:"load_core"`
	Namespace bool         `json:"namespace"`
	LeftOut   []string     `json:"left_out"`
	// TickRatio is the contestants' processor time by utime and stime over
	// that by schedstat, which is what all figures are made from.
	TickRatio *float64    `json:"utime_stime_over_schedstat"`
	Cases     []*caseRows `json:"cases"`
}

// caseRows is one case, a row for each contestant.
type caseRows struct {
	loadCase
	Rows []*result `json:"rows"`
}

// result is what all rounds of one contestant in one case came to.
type result struct {
	Name        string   `json:"name"`
	Rounds      int      `json:"rounds"` // that count; the others failed
	Failures    []string `json:"failures,omitempty"`
	Throughput  spread   `json:"round_trips_per_second"`
	CPU         spread   `json:"cpu_us"` // of the contestant, for each round trip
	P50         spread   `json:"p50_us"`
	P99         spread   `json:"p99_us"`
	Cores       spread   `json:"cores_used"`
	Others      spread   `json:"cores_used_by_others"`
	Counts      counts   `json:"datagrams"` // over all rounds
	Unanswered  int      `json:"never_answered"`
	CPURatio    *float64 `json:"udplab_cpu_ratio"`       // ours ÷ theirs
	DirectRatio *float64 `json:"throughput_over_direct"` // theirs ÷ without a balancer

	// Of our own balancer only.
	DataPath         string  `json:"datapath,omitempty"`
	MemoryPerSession *spread `json:"kib_per_session,omitempty"`
	OrderViolations  *uint64 `json:"order_violations,omitempty"`

	found []measurement
}

// leaveOut takes down, once, what is not measured and why.
func (r *report) leaveOut(why string) {
	if !slices.Contains(r.LeftOut, why) {
		r.LeftOut = append(r.LeftOut, why)
	}
}

// add takes down a measurement, or why there is none.
func (r *report) add(name string, lc loadCase, m measurement, err error) {
	i := slices.IndexFunc(r.Cases, func(c *caseRows) bool { return c.loadCase == lc })
	if i < 0 {
		i = len(r.Cases)
		r.Cases = append(r.Cases, &caseRows{loadCase: lc})
	}
	c := r.Cases[i]
	row := c.row(name)
	if row == nil {
		row = &result{Name: name}
		c.Rows = append(c.Rows, row)
	}
	if err != nil {
		row.Failures = append(row.Failures, err.Error())
		return
	}
	row.found = append(row.found, m)
}

// row finds a contestant's row; nil if there is none.
func (c *caseRows) row(name string) *result {
	if i := slices.IndexFunc(c.Rows, func(r *result) bool { return r.Name == name }); i >= 0 {
		return c.Rows[i]
	}
	return nil
}

// sumUp turns what the rounds found into medians, and these into ratios.
func (r *report) sumUp() {
	cpu, ticks := time.Duration(0), time.Duration(0)
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			row.sumUp()
			if c.Clients < manyClients {
				row.MemoryPerSession = nil
			}
			for _, m := range row.found {
				cpu, ticks = cpu+m.CPUTime, ticks+m.TickTime
			}
		}
		for _, row := range c.Rows {
			if ours := c.row(udplab); ours != nil && row.Name != udplab && row.Name != direct {
				row.CPURatio = ratio(ours.CPU.Median, row.CPU.Median)
			}
			if without := c.row(direct); without != nil && row.Name != direct {
				row.DirectRatio = ratio(row.Throughput.Median, without.Throughput.Median)
			}
		}
	}
	r.TickRatio = ratio(ticks.Seconds(), cpu.Seconds())
}

// ratio is a ÷ b, nil if there is none.
func ratio(a, b float64) *float64 {
	if a <= 0 || b <= 0 {
		return nil
	}
	q := a / b
	return &q
}

func (r *result) sumUp() {
	over := func(value func(measurement) float64) spread {
		var values []float64
		for _, m := range r.found {
			values = append(values, value(m))
		}
		return spreadOf(values)
	}
	r.Rounds = len(r.found)
	r.Throughput = over(func(m measurement) float64 { return m.Throughput })
	r.CPU = over(func(m measurement) float64 { return m.CPU })
	r.P50 = over(func(m measurement) float64 { return m.P50 })
	r.P99 = over(func(m measurement) float64 { return m.P99 })
	r.Cores = over(func(m measurement) float64 { return m.Cores })
	r.Others = over(func(m measurement) float64 { return m.Others })
	for _, m := range r.found {
		r.Counts = r.Counts.plus(m.counts)
		r.Unanswered += m.Unanswered
		if m.Status == nil {
			continue
		}
		r.DataPath = m.Status.DataPath
		if r.OrderViolations == nil {
			r.OrderViolations = new(uint64)
		}
		*r.OrderViolations += m.Status.OrderViolations
		memory := over(func(m measurement) float64 { return m.MemoryPerSession })
		r.MemoryPerSession = &memory
	}
}

// failed is an error that names what went wrong with ourselves: measurements
// that could not be made and promises that were broken. It is nil if there is
// none; that others cannot serve a case is a result.
func (r *report) failed() error {
	var errs []error
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			if !slices.Contains([]string{direct, udplab, udplabPortable}, row.Name) {
				continue
			}
			for _, failure := range row.Failures {
				errs = append(errs, fmt.Errorf("%v: %s: %s", c.loadCase, row.Name, failure))
			}
			if row.OrderViolations != nil && *row.OrderViolations > 0 {
				errs = append(errs, fmt.Errorf("%v: %s: %d order violations", c.loadCase, row.Name, *row.OrderViolations))
			}
		}
	}
	return errors.Join(errs...)
}

// barWidth is how long the longest bar is, in columns.
const barWidth = 20

// text prints tables for a terminal, a bar to each row.
func (r *report) text(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.heading() {
		fmt.Fprintln(&b, line)
	}
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "\n%v\n%s", c.loadCase, align(c.table()))
		for _, line := range c.ourselves() {
			fmt.Fprintln(&b, line)
		}
	}
	fmt.Fprintln(&b)
	for _, line := range r.remarks() {
		fmt.Fprintln(&b, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table is the case's table, cell by cell.
func (c *caseRows) table() [][]string {
	most := 0.0
	for _, row := range c.Rows {
		most = max(most, row.CPU.Median)
	}
	table := [][]string{{"", "CPU µs/trip", "least–most", "", "trips/s", "least–most", "of its core", "p50 µs", "p99 µs", "lost", "ours ÷ theirs", "÷ direct"}}
	for _, row := range c.Rows {
		if row.Rounds == 0 {
			table = append(table, []string{row.Name, "failed"})
			continue
		}
		cells := []string{
			row.Name, number(row.CPU.Median), leastToMost(row.CPU), bar(row.CPU.Median, most),
			number(row.Throughput.Median), leastToMost(row.Throughput), fmt.Sprintf("%.0f %%", 100*row.Cores.Median),
			number(row.P50.Median), number(row.P99.Median), lost(row), factor(row.CPURatio), factor(row.DirectRatio),
		}
		if row.Name == direct {
			cells[1], cells[2], cells[6] = none, none, none
		}
		table = append(table, cells)
	}
	return table
}

// ourselves is what our own balancer says about a case, a line for each of its
// data paths.
func (c *caseRows) ourselves() (lines []string) {
	for _, row := range c.Rows {
		if row.DataPath == "" {
			continue
		}
		line := fmt.Sprintf("%s: data path %s, %d order violations", row.Name, row.DataPath, *row.OrderViolations)
		if c.Clients >= manyClients {
			line += fmt.Sprintf(", %s KiB of memory a session (%s)", number(row.MemoryPerSession.Median), leastToMost(*row.MemoryPerSession))
		}
		lines = append(lines, line)
	}
	return lines
}

// manyClients is from how many on the memory of a session can be told from
// everything else that takes memory.
const manyClients = 1000

// heading says what was measured, where and how.
func (r *report) heading() []string {
	network := "loopback in a network namespace of its own"
	if !r.Namespace {
		network = "the machine's loopback, with whatever rules its firewall has"
	}
	cores := fmt.Sprintf("contestants on core %d, clients and servers on core %d", r.Core, r.LoadCore)
	if r.Core == r.LoadCore {
		cores = "ONE core for everything: contestants, clients and servers share it, so throughput and round trips mean little"
	}
	return []string{
		fmt.Sprintf("%s, cores: %d, %s, %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go),
		r.Command,
		fmt.Sprintf("64-byte datagrams, %s, %s; medians of %d × %.3g s (least–most)", network, cores, r.Rounds, r.Seconds),
	}
}

// remarks is what a reader should know about the figures.
func (r *report) remarks() (lines []string) {
	others := 0.0
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			others = max(others, row.Others.Max)
			for _, odd := range []struct {
				n    uint64
				what string
			}{
				{row.Counts.Late, "answers that came late or twice"},
				{row.Counts.Misrouted, "answers to another client's datagram"},
				{row.Counts.SendFailed, "datagrams that the kernel did not take from clients or servers"},
				{uint64(row.Unanswered), "datagrams under way at the end, of whose kind none was ever answered"},
			} {
				if odd.n > 0 {
					lines = append(lines, fmt.Sprintf("%v: %s: %s %s", c.loadCase, row.Name, thousands(int(odd.n)), odd.what))
				}
			}
			for _, failure := range row.Failures {
				lines = append(lines, fmt.Sprintf("%v: %s failed: %s", c.loadCase, row.Name, failure))
			}
		}
	}
	for _, why := range r.LeftOut {
		lines = append(lines, "left out: "+why)
	}
	if growth := r.growth(); growth != nil {
		lines = append(lines, fmt.Sprintf("udplab: a round trip of 10,000 clients costs %.2f × one of 500", *growth))
	}
	if r.TickRatio != nil {
		lines = append(lines, fmt.Sprintf("processor time is the scheduler's (schedstat); utime and stime say %.3f × as much", *r.TickRatio))
	}
	return append(lines, fmt.Sprintf("other programs used up to %.2f of these cores while something was measured", others))
}

// growth is what a round trip of 10,000 clients costs our balancer over one of
// 500; nil if not both were measured.
func (r *report) growth() *float64 {
	cost := func(clients int) float64 {
		for _, c := range r.Cases {
			if ours := c.row(udplab); ours != nil && c.loadCase == (loadCase{clients, 1}) {
				return ours.CPU.Median
			}
		}
		return 0
	}
	return ratio(cost(10_000), cost(500))
}

// markdown prints the README's tables, one for each figure, with a column for
// each case.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	r.comparison(&b, "CPU of the balancer per round trip, µs", func(row *result) string {
		if row.Name == direct {
			return none
		}
		cell := fmt.Sprintf("%s (%s)", number(row.CPU.Median), leastToMost(row.CPU))
		if row.CPURatio != nil {
			cell += "; ours " + factor(row.CPURatio) + " ×"
		}
		return cell
	})
	r.comparison(&b, "Round trips per second", func(row *result) string {
		cell := fmt.Sprintf("%s (%s)", number(row.Throughput.Median), leastToMost(row.Throughput))
		if row.Counts.Lost > 0 {
			cell += "; lost " + lost(row)
		}
		return cell
	})
	r.comparison(&b, "Round trip p50 / p99, µs", func(row *result) string {
		return number(row.P50.Median) + " / " + number(row.P99.Median)
	})
	for _, line := range r.heading() {
		if line == r.Command {
			line = "`" + line + "`"
		}
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, c := range r.Cases {
		for _, line := range c.ourselves() {
			fmt.Fprintf(&b, "- %v: %s\n", c.loadCase, line)
		}
	}
	for _, line := range r.remarks() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// comparison prints one figure of every contestant in every case.
func (r *report) comparison(w io.Writer, title string, cell func(*result) string) {
	fmt.Fprintf(w, "| %s |", title)
	for _, c := range r.Cases {
		fmt.Fprintf(w, " %v |", c.loadCase)
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", 1+len(r.Cases)))
	for _, name := range r.names() {
		line, any := "| "+name+" |", false
		for _, c := range r.Cases {
			text := none
			if row := c.row(name); row != nil && row.Rounds > 0 {
				text, any = cell(row), true
			}
			line += " " + text + " |"
		}
		if any {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintln(w)
}

// names is every contestant that was measured, in the order of their turns.
func (r *report) names() (names []string) {
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			if !slices.Contains(names, row.Name) {
				names = append(names, row.Name)
			}
		}
	}
	return names
}

// none stands for a figure that there is not.
const none = "–"

// number writes a figure with three digits that count.
func number(v float64) string {
	switch {
	case v >= 1000:
		return thousands(int(math.Round(v)))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// leastToMost writes the least and the most.
func leastToMost(s spread) string { return number(s.Min) + "–" + number(s.Max) }

// factor writes a ratio; a dash stands for none.
func factor(q *float64) string {
	if q == nil {
		return none
	}
	return fmt.Sprintf("%.2f", *q)
}

// lost is the share of datagrams that were not answered in time.
func lost(r *result) string {
	if r.Counts.Lost == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.2g %%)", r.Counts.Lost, 100*float64(r.Counts.Lost)/float64(r.Counts.Lost+r.Counts.Answered))
}

// bar is as long as its value's share of the most, never empty for more than
// nothing.
func bar(value, most float64) string {
	if value <= 0 || most <= 0 {
		return ""
	}
	return strings.Repeat("█", max(1, int(math.Round(barWidth*value/most))))
}

// align writes rows in columns: the first and the bars to the left, figures to
// the right.
func align(rows [][]string) string {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 || strings.HasPrefix(cell, "█") {
				line.WriteString(cell + space + "  ")
			} else {
				line.WriteString(space + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
