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

// text is what an event looks like to people, without its last line break; or nothing.
func (r *Report) text(event any) string {
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
		return r.red("REQUEST TIMED OUT") + fmt.Sprintf("  seq=%d", e.Seq) + inBrackets(e.Why)
	case ping.Late:
		return fmt.Sprintf("%s %s seq=%d %s ms (already counted as lost)",
			r.yellow("late"), ping.Printable(e.Server), e.Seq, wholeMillis(e.RTT))
	case ping.Duplicate:
		return replyLine(e.Server, e.Seq, e.RTT, e.Message) + "  " + r.yellow("(DUP!)")
	case ping.Unmatched:
		return fmt.Sprintf("stray  %s (answers no ping of this run)", quoted(e.Payload))
	case ping.Ended:
		return pingStatistics(e)
	case load.Ended:
		return loadStatistics(e)
	}
	return ""
}

func replyLine(server string, seq int64, rtt time.Duration, message string) string {
	return fmt.Sprintf("%s  seq=%d  %s ms  %s", ping.Printable(server), seq, millis(rtt), excerpt(message))
}

func pingStatistics(e ping.Ended) string {
	return joinLines(
		fmt.Sprintf("--- %s ping statistics ---", host(e.Target)),
		countLine(e.Counts, e.Elapsed, false),
		figureLine(e.Received, e.RoundTrips, "min", "avg", "max", "mdev"),
		figureLine(e.Received, e.RoundTrips, "p50", "p95", "p99"),
		tallyLine("answered by", ping.Servers(e.ByServer), e.ByServer, 0),
		orderLine(e.Order),
	)
}

// joinLines leaves out the empty ones.
func joinLines(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(line string) bool { return line == "" }), "\n")
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

func loadStatistics(e load.Ended) string {
	rtt, order := figureLine(e.Received, e.Latency, "min", "avg", "max"), ""
	if e.Received > 0 {
		order = "order        not told: of many under way, answers come back in another order than the turns"
		if e.Rate > 0 {
			rtt += "  (from when each was due)"
		}
	}
	return joinLines(
		fmt.Sprintf("--- %s load statistics ---", host(e.Target)),
		countLine(e.Counts, e.Elapsed, true),
		speedLine(e.Results),
		tallyLine("not delivered", slices.Sorted(maps.Keys(e.Errors)), e.Errors, 0),
		rtt,
		figureLine(e.Received, e.Latency, "p50", "p90", "p99", "p99.9"),
		tallyLine("answered by", ping.Servers(e.ByServer), e.ByServer, e.Received),
		order,
	)
}

// countLine has the numbers that are rarely zero, and the others only when they are
// not. A load also says how many were lost.
func countLine(c ping.Counts, elapsed time.Duration, isLoad bool) string {
	line, late := fmt.Sprintf("%d sent, %d received", c.Sent, c.Received), "%d late"
	if isLoad {
		line, late = fmt.Sprintf("%s, %d lost", line, c.Lost()), "%d of them late"
	}
	rare := func(n int64, text string) {
		if n > 0 {
			line += ", " + text
		}
	}
	rare(c.Late, fmt.Sprintf(late, c.Late))
	rare(c.Duplicates, counted(c.Duplicates, "duplicate"))
	rare(c.Unmatched, counted(c.Unmatched, "stray"))
	rare(c.Unfinished, fmt.Sprintf("%d unfinished", c.Unfinished))
	if loss, ok := c.Loss(); ok {
		line += ", " + ping.Percent(loss) + " loss"
	}
	return line + ", time " + wholeMillis(elapsed) + " ms"
}

// speedLine says how many answers came a second, and why there were not more.
func speedLine(r load.Results) string {
	line := speed(r.PerSecond) + " answers a second"
	if r.Rate > 0 {
		line += fmt.Sprintf(", %d wanted", r.Rate)
	}
	if r.Unsent > 0 {
		line += fmt.Sprintf("; %d were due but never sent, the window was full", r.Unsent)
	}
	return line
}

// tallyLine is a title and how often each name was counted, with its percentage of the
// whole if there is one; nothing if there are no names.
func tallyLine(title string, names []string, counts map[string]int64, whole int64) string {
	if len(names) == 0 {
		return ""
	}
	for _, name := range names {
		title += fmt.Sprintf("  %s ×%d", ping.Printable(name), counts[name])
		if whole > 0 {
			title += fmt.Sprintf(" (%.1f%%)", 100*float64(counts[name])/float64(whole))
		}
	}
	return title
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
	line := fmt.Sprintf("%d of %s answered so far, %s a second", r.Received, counted(r.Decided(), "datagram"), speed(r.PerSecond))
	if r.Received > 0 {
		p50, p99 := r.Latency.Percentile(50), r.Latency.Percentile(99)
		line += fmt.Sprintf(", rtt p50/p99 = %s/%s ms", millis(p50), millis(p99))
	}
	return line
}

// answer shows the answer to one question; quietly, it alone is on stdout.
func (r *Report) answer(event any) (out, err string) {
	switch e := event.(type) {
	case ping.Replied:
		out = ping.Printable(e.Message) + "\n"
		server := ping.Printable(e.Server)
		if e.Server == ping.Unnamed {
			server = "a server that does not say its name"
		}
		if !r.Quiet {
			out += fmt.Sprintf("answered by %s in %s ms\n", server, millis(e.RTT))
		}
	case ping.TimedOut:
		if r.Quiet {
			return "", "client: REQUEST TIMED OUT" + inBrackets(e.Why) + "\n"
		}
		out = r.red("REQUEST TIMED OUT") + inBrackets(e.Why) + "\n"
	}
	return out, ""
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
