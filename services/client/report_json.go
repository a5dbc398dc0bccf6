package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"udplab/services/kit/logging"
)

// jsonReport shows a run to programs: one object a line. What has no place in
// those objects goes to err.
type jsonReport struct {
	out, err io.Writer
	quiet    bool // the summary only
}

// The objects, with their fields in the order of the lines. Milliseconds are
// numbers to three decimals, and what is not defined is null.
type (
	startObject struct {
		Type      string  `json:"type"`
		Target    string  `json:"target"`
		Addr      string  `json:"addr"`
		Count     int     `json:"count"`
		TimeoutMS float64 `json:"timeout_ms"`
	}
	replyObject struct {
		Type    string  `json:"type"`
		Seq     int     `json:"seq"`
		Server  *string `json:"server"`
		RTTMS   float64 `json:"rtt_ms"`
		Bytes   int     `json:"bytes"`
		Message string  `json:"message"`
	}
	timeoutObject struct {
		Type string `json:"type"`
		Seq  int    `json:"seq"`
		Why  string `json:"why,omitempty"`
	}
	lateObject struct {
		Type   string  `json:"type"`
		Seq    int     `json:"seq"`
		Server *string `json:"server"`
		RTTMS  float64 `json:"rtt_ms"`
	}
	duplicateObject struct {
		Type   string  `json:"type"`
		Seq    int     `json:"seq"`
		Server *string `json:"server"`
	}
	summaryObject struct {
		Type         string         `json:"type"`
		Sent         int            `json:"sent"`
		Received     int            `json:"received"`
		Late         int            `json:"late"`
		Duplicates   int            `json:"duplicates"`
		Strays       int            `json:"strays"`
		Unfinished   int            `json:"unfinished"`
		LossPct      *float64       `json:"loss_pct"`
		TimeMS       float64        `json:"time_ms"`
		RTTMS        rttObject      `json:"rtt_ms"`
		ByServer     map[string]int `json:"by_server"`
		NextExpected *string        `json:"next_expected"`
		OutOfTurn    *turnObject    `json:"out_of_turn"`
		Exit         int            `json:"exit"`
	}
	turnObject struct {
		Seq      int     `json:"seq"`
		Server   *string `json:"server"`
		Expected *string `json:"expected"` // nil: any server of the cycle
	}
	rttObject struct {
		Min  *float64 `json:"min"`
		Avg  *float64 `json:"avg"`
		Max  *float64 `json:"max"`
		Mdev *float64 `json:"mdev"`
		P50  *float64 `json:"p50"`
		P95  *float64 `json:"p95"`
		P99  *float64 `json:"p99"`
	}
)

func (j jsonReport) show(e event) {
	switch e := e.(type) {
	case asked:
		fmt.Fprintln(j.err, statusLine(e.results))
	case loadAsked:
		fmt.Fprintln(j.err, loadStatus(e.loadResults))
	case ended:
		j.print(summaryOf(e))
	case loadEnded:
		j.print(loadSummaryOf(e))
	default:
		if !j.quiet {
			j.line(e)
		}
	}
}

// line shows one event while the run goes on.
func (j jsonReport) line(e event) {
	switch e := e.(type) {
	case started:
		j.print(startObject{"start", string(e.target), e.addr.String(), e.count, milliseconds(e.timeout)})
	case loadStarted:
		j.print(loadStartOf(e))
	case replied:
		j.print(replyObject{"reply", e.seq, named(e.server), milliseconds(e.rtt), len(e.payload), e.payload})
	case timedOut:
		j.print(timeoutObject{"timeout", e.seq, e.why})
	case cameLate:
		j.print(lateObject{"late", e.seq, named(e.server), milliseconds(e.rtt)})
	case cameAgain:
		j.print(duplicateObject{"duplicate", e.seq, named(e.server)})
	case strayed:
		fmt.Fprintf(j.err, "client: stray %s answers no ping of this run\n", logging.Quote([]byte(e.payload), len(e.payload)))
	}
}

func summaryOf(e ended) summaryObject {
	s := summaryObject{
		Type: "summary", Sent: e.sent, Received: e.received, Late: e.late, Duplicates: e.duplicates,
		Strays: e.strays, Unfinished: e.unfinished,
		TimeMS:   wholeMilliseconds(e.elapsed),
		ByServer: e.byServer, Exit: e.exit,
	}
	if loss, ok := e.loss(); ok {
		s.LossPct = new(thousandths(loss))
	}
	if next := e.order.next(); next != "" {
		s.NextExpected = &next
	}
	if o := e.outOfTurn; o != nil {
		s.OutOfTurn = &turnObject{Seq: o.seq, Server: named(o.server)}
		if o.whose != "" {
			s.OutOfTurn.Expected = &o.whose
		}
	}
	if e.received > 0 {
		rtt := e.spread()
		s.RTTMS = rttObject{
			Min: new(milliseconds(rtt.min)), Avg: new(milliseconds(rtt.avg)),
			Max: new(milliseconds(rtt.max)), Mdev: new(milliseconds(rtt.mdev)),
			P50: new(milliseconds(e.percentile(50))),
		}
	}
	if e.received >= enough {
		s.RTTMS.P95 = new(milliseconds(e.percentile(95)))
		s.RTTMS.P99 = new(milliseconds(e.percentile(99)))
	}
	return s
}

// print writes one line in one piece.
func (j jsonReport) print(object any) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // nobody puts this into a page
	if err := enc.Encode(object); err != nil {
		panic(err) // no field of ours can fail
	}
	j.out.Write(escapeControls(line.Bytes()))
}

// escapeControls escapes what encoding/json leaves as it is although a
// terminal may obey it: DEL and the control characters from U+0080.
func escapeControls(line []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(line) {
		if 0x7f <= r && r <= 0x9f {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// named is nil for a server that does not say its name.
func named(server string) *string {
	if server == unnamed {
		return nil
	}
	return &server
}

// milliseconds is d in ms to three decimals.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func wholeMilliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds())
}

func thousandths(x float64) float64 { return math.Round(x*1000) / 1000 }
