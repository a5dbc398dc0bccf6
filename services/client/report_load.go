package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// loadLine is what a load begins with.
func loadLine(e loadStarted) string {
	until := "until Ctrl-C"
	switch {
	case e.count > 0:
		until = counted(e.count, "datagram")
	case e.duration > 0:
		until = "for " + e.duration.String()
	}
	line := fmt.Sprintf("LOAD %s (%s): %s, %d under way", e.target.host(), e.addr, until, e.window)
	if e.clients > 1 {
		line += fmt.Sprintf(" of %d clients", e.clients)
	}
	if e.rate > 0 {
		line += fmt.Sprintf(", %d a second", e.rate)
	}
	return line
}

// loadSummary is printed when a load is over.
func (t textReport) loadSummary(e loadEnded) {
	fmt.Fprintf(t.out, "--- %s load statistics ---\n", e.target.host())
	fmt.Fprintln(t.out, loadCountLine(e.loadResults))
	fmt.Fprintln(t.out, speedLine(e.loadResults))
	if len(e.errors) > 0 {
		fmt.Fprint(t.out, "not delivered")
		for _, why := range slices.Sorted(maps.Keys(e.errors)) {
			fmt.Fprintf(t.out, "  %s ×%d", why, e.errors[why])
		}
		fmt.Fprintln(t.out)
	}
	if e.received == 0 {
		return
	}
	since := ""
	if e.rate > 0 {
		since = "  (from when each was due)"
	}
	fmt.Fprintf(t.out, "rtt min/avg/max = %s/%s/%s ms%s\n", millis(e.trips.min), millis(e.trips.avg()), millis(e.trips.max), since)
	if e.received >= enough {
		fmt.Fprintf(t.out, "rtt p50/p90/p99/p99.9 = %s/%s/%s/%s ms\n",
			millis(e.trips.percentile(50)), millis(e.trips.percentile(90)), millis(e.trips.percentile(99)), millis(e.trips.percentile(99.9)))
	}
	fmt.Fprint(t.out, "answered by")
	for _, server := range servers(e.byServer) {
		fmt.Fprintf(t.out, "  %s ×%d (%.1f%%)", printable(server), e.byServer[server], e.share(server))
	}
	fmt.Fprintln(t.out)
	fmt.Fprintln(t.out, "order        not told: of many under way, answers come back in another order than the turns")
}

// loadCountLine has the numbers that are not zero as a rule, and the others
// only when they are not.
func loadCountLine(r loadResults) string {
	parts := []string{fmt.Sprintf("%d sent", r.sent), fmt.Sprintf("%d received", r.received), fmt.Sprintf("%d lost", r.lost)}
	if r.late > 0 {
		parts = append(parts, fmt.Sprintf("%d of them late", r.late))
	}
	if r.duplicates > 0 {
		parts = append(parts, counted(r.duplicates, "duplicate"))
	}
	if r.strays > 0 {
		parts = append(parts, counted(r.strays, "stray"))
	}
	if r.unfinished > 0 {
		parts = append(parts, fmt.Sprintf("%d unfinished", r.unfinished))
	}
	if loss, ok := r.loss(); ok {
		parts = append(parts, percent(loss)+" loss")
	}
	return strings.Join(append(parts, "time "+wholeMillis(r.elapsed)+" ms"), ", ")
}

// speedLine says how many answers came a second, and why they were not more.
func speedLine(r loadResults) string {
	line := speed(r.perSecond()) + " answers a second"
	if r.rate > 0 {
		line += fmt.Sprintf(", %d wanted", r.rate)
	}
	if r.unsent > 0 {
		line += fmt.Sprintf("; %d were due but never sent, the window was full", r.unsent)
	}
	return line
}

// speed is a number a second: whole, unless that would say too little.
func speed(perSecond float64) string {
	if perSecond < 100 {
		return strconv.FormatFloat(perSecond, 'g', 3, 64)
	}
	return strconv.FormatFloat(perSecond, 'f', 0, 64)
}

// loadStatus is the answer to SIGQUIT.
func loadStatus(r loadResults) string {
	line := fmt.Sprintf("%d of %s answered so far, %s a second", r.received, counted(r.received+r.lost, "datagram"), speed(r.perSecond()))
	if r.received > 0 {
		line += fmt.Sprintf(", rtt p50/p99 = %s/%s ms", millis(r.trips.percentile(50)), millis(r.trips.percentile(99)))
	}
	return line
}

// The objects of a load, see those of pings.
type (
	loadStartObject struct {
		Type       string  `json:"type"`
		Target     string  `json:"target"`
		Addr       string  `json:"addr"`
		Count      int     `json:"count"`
		TimeoutMS  float64 `json:"timeout_ms"`
		Clients    int     `json:"clients"`
		Window     int     `json:"window"`
		Rate       int     `json:"rate"`
		DurationMS float64 `json:"duration_ms"`
	}
	loadSummaryObject struct {
		Type         string         `json:"type"`
		Sent         int            `json:"sent"`
		Received     int            `json:"received"`
		Lost         int            `json:"lost"`
		Late         int            `json:"late"`
		Duplicates   int            `json:"duplicates"`
		Strays       int            `json:"strays"`
		Unfinished   int            `json:"unfinished"`
		Unsent       int            `json:"unsent"`
		LossPct      *float64       `json:"loss_pct"`
		TimeMS       float64        `json:"time_ms"`
		PerSecond    float64        `json:"per_second"`
		RTTMS        loadRTTObject  `json:"rtt_ms"`
		ByServer     map[string]int `json:"by_server"`
		Errors       map[string]int `json:"errors"`
		NextExpected *string        `json:"next_expected"` // always null: nobody can know
		Exit         int            `json:"exit"`
	}
	loadRTTObject struct {
		Min  *float64 `json:"min"`
		Avg  *float64 `json:"avg"`
		Max  *float64 `json:"max"`
		P50  *float64 `json:"p50"`
		P90  *float64 `json:"p90"`
		P99  *float64 `json:"p99"`
		P999 *float64 `json:"p99_9"`
	}
)

func loadStartOf(e loadStarted) loadStartObject {
	return loadStartObject{
		"start", string(e.target), e.addr.String(), e.count, milliseconds(e.timeout),
		e.clients, e.window / e.clients, e.rate, milliseconds(e.duration),
	}
}

func loadSummaryOf(e loadEnded) loadSummaryObject {
	s := loadSummaryObject{
		Type: "summary", Sent: e.sent, Received: e.received, Lost: e.lost, Late: e.late,
		Duplicates: e.duplicates, Strays: e.strays, Unfinished: e.unfinished, Unsent: e.unsent,
		TimeMS: wholeMilliseconds(e.elapsed), PerSecond: thousandths(e.perSecond()),
		ByServer: e.byServer, Errors: e.errors, Exit: e.exit,
	}
	if loss, ok := e.loss(); ok {
		s.LossPct = new(thousandths(loss))
	}
	if e.received > 0 {
		s.RTTMS.Min, s.RTTMS.Avg, s.RTTMS.Max = new(milliseconds(e.trips.min)), new(milliseconds(e.trips.avg())), new(milliseconds(e.trips.max))
		s.RTTMS.P50 = new(milliseconds(e.trips.percentile(50)))
	}
	if e.received >= enough {
		s.RTTMS.P90, s.RTTMS.P99 = new(milliseconds(e.trips.percentile(90))), new(milliseconds(e.trips.percentile(99)))
		s.RTTMS.P999 = new(milliseconds(e.trips.percentile(99.9)))
	}
	return s
}
