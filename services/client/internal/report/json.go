package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
)

// jsonLines shows pings and loads to programs: one object a line. Milliseconds are
// numbers to three decimals, and what is not defined is null. What has no place in
// those objects goes to stderr.
type jsonLines struct{ quiet bool }

func (j jsonLines) render(event any) (out, err string) {
	switch e := event.(type) {
	case ping.Status:
		return "", pingStatus(e.Results) + "\n"
	case load.Status:
		return "", loadStatus(e.Results) + "\n"
	case ping.Ended:
		return pingSummary(e).line(), ""
	case load.Ended:
		return loadSummary(e).line(), ""
	}
	if j.quiet {
		return "", ""
	}
	switch e := event.(type) {
	case ping.Started:
		return object{"type", "start", "target", e.Target, "addr", e.Addr.String(), "count", e.Count, "timeout_ms", milliseconds(e.Timeout)}.line(), ""
	case load.Started:
		return object{"type", "start", "target", e.Target, "addr", e.Addr.String(), "count", e.Count, "timeout_ms", milliseconds(e.Timeout),
			"clients", e.Clients, "window", e.Window / e.Clients, "rate", e.Rate, "duration_ms", milliseconds(e.Duration)}.line(), ""
	case ping.Replied:
		return object{"type", "reply", "seq", e.Seq, "server", named(e.Server), "rtt_ms", milliseconds(e.RTT), "bytes", len(e.Payload), "message", e.Payload}.line(), ""
	case ping.TimedOut:
		o := object{"type", "timeout", "seq", e.Seq}
		if e.Why != "" {
			o = append(o, "why", e.Why)
		}
		return o.line(), ""
	case ping.Late:
		return object{"type", "late", "seq", e.Seq, "server", named(e.Server), "rtt_ms", milliseconds(e.RTT)}.line(), ""
	case ping.Duplicate:
		return object{"type", "duplicate", "seq", e.Seq, "server", named(e.Server)}.line(), ""
	case ping.Unmatched:
		return "", fmt.Sprintf("client: stray %s answers no ping of this run\n", quoted(e.Payload))
	}
	return "", ""
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
		"per_second", thousandths(e.PerSecond()),
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
	var b bytes.Buffer
	b.WriteByte('{')
	for i := 0; i < len(o); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(o[i]))
		b.WriteByte(':')
		b.Write(encode(o[i+1]))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// line is the object on a line of its own. It escapes what encoding/json leaves as
// it is although a terminal may obey it: DEL and the control characters from U+0080.
func (o object) line() string {
	var b bytes.Buffer
	for _, r := range string(encode(o)) {
		if 0x7f <= r && r <= 0x9f {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('\n')
	return b.String()
}

func encode(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // this is for no page
	if err := encoder.Encode(value); err != nil {
		panic(err) // no value of ours can fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
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
