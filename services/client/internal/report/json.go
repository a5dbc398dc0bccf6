package report

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
)

// jsonLine is an event for programs, or nothing. Milliseconds are numbers to three
// decimals, and what is not defined is null.
func jsonLine(event any) string {
	var o object
	switch e := event.(type) {
	case ping.Started:
		o = object{"type", "start", "target", e.Target, "addr", e.Addr, "count", e.Count, "timeout_ms", milliseconds(e.Timeout)}
	case load.Started:
		o = object{"type", "start", "target", e.Target, "addr", e.Addr, "count", e.Count, "timeout_ms", milliseconds(e.Timeout),
			"clients", e.Clients, "window", e.Window / e.Clients, "rate", e.Rate, "duration_ms", milliseconds(e.Duration)}
	case ping.Replied:
		o = object{"type", "reply", "seq", e.Seq, "server", named(e.Server), "rtt_ms", milliseconds(e.RTT), "bytes", len(e.Payload), "message", e.Payload}
	case ping.TimedOut:
		o = object{"type", "timeout", "seq", e.Seq}
		if e.Why != "" {
			o = append(o, "why", e.Why)
		}
	case ping.Late:
		o = object{"type", "late", "seq", e.Seq, "server", named(e.Server), "rtt_ms", milliseconds(e.RTT)}
	case ping.Duplicate:
		o = object{"type", "duplicate", "seq", e.Seq, "server", named(e.Server)}
	case ping.Ended:
		o = pingSummary(e)
	case load.Ended:
		o = loadSummary(e)
	default:
		return ""
	}
	return o.line()
}

func pingSummary(e ping.Ended) object {
	var outOfTurn any
	if o := e.OutOfTurn; o != nil {
		outOfTurn = object{"seq", o.Seq, "server", named(o.Server), "expected", orNull(o.Expected)}
	}
	return object{
		"type", "summary", "sent", e.Sent, "received", e.Received, "late", e.Late,
		"duplicates", e.Duplicates, "strays", e.Unmatched, "unfinished", e.Unfinished,
		"loss_pct", lossOrNull(e.Counts), "time_ms", e.Elapsed.Round(time.Millisecond).Milliseconds(),
		"rtt_ms", figureObject(e.Received, e.RoundTrips, "min", "avg", "max", "mdev", "p50", "p95", "p99"),
		"by_server", e.ByServer, "next_expected", orNull(e.Order.Next()), "out_of_turn", outOfTurn, "exit", e.Exit,
	}
}

func loadSummary(e load.Ended) object {
	return object{
		"type", "summary", "sent", e.Sent, "received", e.Received, "lost", e.Lost(), "late", e.Late,
		"duplicates", e.Duplicates, "strays", e.Unmatched, "unfinished", e.Unfinished, "unsent", e.Unsent,
		"loss_pct", lossOrNull(e.Counts), "time_ms", e.Elapsed.Round(time.Millisecond).Milliseconds(),
		"per_second", thousandths(e.PerSecond),
		"rtt_ms", figureObject(e.Received, e.Latency, "min", "avg", "max", "p50", "p90", "p99", "p99.9"),
		"by_server", e.ByServer, "errors", e.Errors,
		"next_expected", nil, // of many in flight nobody can know
		"exit", e.Exit,
	}
}

// object is a JSON object: key, value, key, value and so on, in this order.
type object []any

// MarshalJSON writes the fields in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var fields []string
	for i := 0; i < len(o); i += 2 {
		fields = append(fields, encode(o[i])+":"+encode(o[i+1]))
	}
	return []byte("{" + strings.Join(fields, ",") + "}"), nil
}

// line is the object on a line of its own. It escapes what encoding/json leaves as it is
// although a terminal may act on it: DEL and the control characters from U+0080.
func (o object) line() string {
	var b strings.Builder
	for _, r := range encode(o) {
		if 0x7f <= r && r <= 0x9f {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String() + "\n"
}

func encode(value any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // this is for no page
	if err := encoder.Encode(value); err != nil {
		panic(err) // no value of ours can fail
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// named is null for a server that does not say its name.
func named(server string) any {
	if server == ping.Unnamed {
		return nil
	}
	return server
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func lossOrNull(c ping.Counts) any {
	if loss, ok := c.Loss(); ok {
		return thousandths(loss)
	}
	return nil
}

func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }
