package report

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
	"udplab/services/kit/logging"
)

// text shows pings and loads to people.
type text struct {
	quiet bool
	paint paint
}

func (t text) render(event any) (out, err string) {
	switch e := event.(type) {
	case ping.Status:
		return "", pingStatus(e.Results) + "\n"
	case load.Status:
		return "", loadStatus(e.Results) + "\n"
	case ping.Ended:
		return lines(t.pingSummary(e)), ""
	case load.Ended:
		return lines(t.loadSummary(e)), ""
	}
	if line := t.line(event); line != "" && !t.quiet {
		return line + "\n", ""
	}
	return "", ""
}

// lines puts lines together, without the empty ones.
func lines(all []string) string {
	var b strings.Builder
	for _, line := range all {
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// line is what an event looks like while the run goes on.
func (t text) line(event any) string {
	switch e := event.(type) {
	case ping.Started:
		howMany := counted(e.Count, "ping")
		if e.Count == 0 {
			howMany = "until Ctrl-C"
		}
		return fmt.Sprintf("PING %s (%s): %s", host(e.Target), e.Addr, howMany)
	case load.Started:
		return loadStart(e)
	case ping.Replied:
		return replyLine(e.Server, e.Seq, e.RTT, e.Message)
	case ping.TimedOut:
		return fmt.Sprintf("%s  seq=%d%s", t.paint.red("REQUEST TIMED OUT"), e.Seq, inBrackets(e.Why))
	case ping.Late:
		return fmt.Sprintf("%s %s seq=%d %s ms (already counted as lost)",
			t.paint.yellow("late"), ping.Printable(e.Server), e.Seq, wholeMillis(e.RTT))
	case ping.Duplicate:
		return replyLine(e.Server, e.Seq, e.RTT, e.Message) + "  " + t.paint.yellow("(DUP!)")
	case ping.Unmatched:
		return fmt.Sprintf("stray  %s (answers no ping of this run)", quoted(e.Payload))
	}
	return ""
}

func replyLine(server string, seq int64, rtt time.Duration, message string) string {
	return fmt.Sprintf("%s  seq=%d  %s ms  %s", ping.Printable(server), seq, millis(rtt), excerpt(message))
}

func (t text) pingSummary(e ping.Ended) []string {
	all := []string{
		fmt.Sprintf("--- %s ping statistics ---", host(e.Target)),
		countLine(e.Counts, e.Elapsed, ""),
	}
	if e.Received > 0 {
		all = append(all,
			figureLine(e.Received, e.RoundTrips, "min", "avg", "max", "mdev"),
			figureLine(e.Received, e.RoundTrips, "p50", "p95", "p99"),
			shareLine(e.ByServer, func(string) string { return "" }))
	}
	return append(all, orderLine(e.Order))
}

func loadStart(e load.Started) string {
	until := "until Ctrl-C"
	switch {
	case e.Count > 0:
		until = counted(e.Count, "datagram")
	case e.Duration > 0:
		until = "for " + e.Duration.String()
	}
	line := fmt.Sprintf("LOAD %s (%s): %s, %d under way", host(e.Target), e.Addr, until, e.Window)
	if e.Clients > 1 {
		line += fmt.Sprintf(" of %d clients", e.Clients)
	}
	if e.Rate > 0 {
		line += fmt.Sprintf(", %d a second", e.Rate)
	}
	return line
}

func (t text) loadSummary(e load.Ended) []string {
	all := []string{
		fmt.Sprintf("--- %s load statistics ---", host(e.Target)),
		countLine(e.Counts, e.Elapsed, fmt.Sprintf("%d lost", e.Lost())),
		speedLine(e.Results),
	}
	if len(e.Errors) > 0 {
		line := "not delivered"
		for _, why := range slices.Sorted(maps.Keys(e.Errors)) {
			line += fmt.Sprintf("  %s ×%d", why, e.Errors[why])
		}
		all = append(all, line)
	}
	if e.Received == 0 {
		return all
	}
	since := ""
	if e.Rate > 0 {
		since = "  (from when each was due)"
	}
	return append(all,
		figureLine(e.Received, e.Latency, "min", "avg", "max")+since,
		figureLine(e.Received, e.Latency, "p50", "p90", "p99", "p99.9"),
		shareLine(e.ByServer, func(server string) string { return fmt.Sprintf(" (%.1f%%)", e.Share(server)) }),
		"order        not told: of many under way, answers come back in another order than the turns")
}

// countLine has the numbers that are rarely zero, and the others only when they are
// not. A load also says how many were lost.
func countLine(c ping.Counts, elapsed time.Duration, lost string) string {
	parts := []string{fmt.Sprintf("%d sent", c.Sent), fmt.Sprintf("%d received", c.Received)}
	late := "%d late"
	if lost != "" {
		parts, late = append(parts, lost), "%d of them late"
	}
	if c.Late > 0 {
		parts = append(parts, fmt.Sprintf(late, c.Late))
	}
	if c.Duplicates > 0 {
		parts = append(parts, counted(c.Duplicates, "duplicate"))
	}
	if c.Unmatched > 0 {
		parts = append(parts, counted(c.Unmatched, "stray"))
	}
	if c.Unfinished > 0 {
		parts = append(parts, fmt.Sprintf("%d unfinished", c.Unfinished))
	}
	if loss, ok := c.Loss(); ok {
		parts = append(parts, ping.Percent(loss)+" loss")
	}
	return strings.Join(append(parts, "time "+wholeMillis(elapsed)+" ms"), ", ")
}

// speedLine says how many answers came a second, and why there were not more.
func speedLine(r load.Results) string {
	line := speed(r.PerSecond()) + " answers a second"
	if r.Rate > 0 {
		line += fmt.Sprintf(", %d wanted", r.Rate)
	}
	if r.Unsent > 0 {
		line += fmt.Sprintf("; %d were due but never sent, the window was full", r.Unsent)
	}
	return line
}

// shareLine says who answered, and of each what more there is to say.
func shareLine(byServer map[string]int64, more func(server string) string) string {
	line := "answered by"
	for _, server := range ping.Servers(byServer) {
		line += fmt.Sprintf("  %s ×%d%s", ping.Printable(server), byServer[server], more(server))
	}
	return line
}

// pingStatus is the answer to SIGQUIT. The ping that still waits is neither
// answered nor lost.
func pingStatus(r ping.Results) string {
	line := fmt.Sprintf("%d of %s answered so far", r.Received, counted(r.Decided(), "ping"))
	if r.Received > 0 {
		line += ", " + figureLine(r.Received, r.RoundTrips, "min", "avg", "max")
	}
	return line
}

func loadStatus(r load.Results) string {
	line := fmt.Sprintf("%d of %s answered so far, %s a second", r.Received, counted(r.Decided(), "datagram"), speed(r.PerSecond()))
	if r.Received > 0 {
		p50, p99 := r.Latency.Percentile(50), r.Latency.Percentile(99)
		line += fmt.Sprintf(", rtt p50/p99 = %s/%s ms", millis(p50), millis(p99))
	}
	return line
}

// answer shows the answer to one question.
type answer struct {
	quiet bool // the answer alone on stdout
	paint paint
}

func (a answer) render(event any) (out, err string) {
	switch e := event.(type) {
	case ping.Replied:
		message := ping.Printable(e.Message) + "\n"
		if a.quiet {
			return message, ""
		}
		server := ping.Printable(e.Server)
		if e.Server == ping.Unnamed {
			server = "a server that does not say its name"
		}
		return fmt.Sprintf("%sanswered by %s in %s ms\n", message, server, millis(e.RTT)), ""
	case ping.TimedOut:
		if a.quiet {
			return "", "client: REQUEST TIMED OUT" + inBrackets(e.Why) + "\n"
		}
		return a.paint.red("REQUEST TIMED OUT") + inBrackets(e.Why) + "\n", ""
	}
	return "", ""
}

// host is a target without its port, as a person names it.
func host(target string) string {
	host, _, _ := net.SplitHostPort(target)
	return host
}

func inBrackets(why string) string {
	if why == "" {
		return ""
	}
	return "  (" + why + ")"
}

// counted is a number of things.
func counted(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// speed is a number a second: whole, unless that would say too little.
func speed(perSecond float64) string {
	if perSecond < 100 {
		return strconv.FormatFloat(perSecond, 'g', 3, 64)
	}
	return strconv.FormatFloat(perSecond, 'f', 0, 64)
}

func quoted(payload string) string { return logging.Quote([]byte(payload), len(payload)) }

// excerpt is the printable beginning of a text.
func excerpt(text string) string {
	if len(text) <= logging.Quoted {
		return ping.Printable(text)
	}
	end := logging.Quoted
	for end > logging.Quoted-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end-- // not through the middle of a character
	}
	return ping.Printable(text[:end]) + "…"
}
