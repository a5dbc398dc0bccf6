// Package report shows the events of runs: to people as the lines that ping has
// taught them, to programs as JSON, and on a terminal also in place how far a run
// is.
package report

import (
	"fmt"
	"io"

	"udplab/services/client/internal/load"
	"udplab/services/client/internal/ping"
)

// Options say how a run is shown.
type Options struct {
	Out, Err io.Writer
	JSON     bool // one object a line on Out, nothing else there
	Answer   bool // the answer to a question instead of the lines of pings
	Quiet    bool // the summary only, or the answer only
	Colour   bool // Out is a terminal that takes escape sequences
	InPlace  bool // Err is
}

// Report shows one run after the other.
type Report struct {
	Options
	drawn bool // the line in place is on the screen
}

// New makes a report.
func New(o Options) *Report { return &Report{Options: o} }

// toLineStart takes the cursor back to where its line begins, and empties the line
// (ECMA-48: CR, EL).
const toLineStart = "\r\x1b[K"

// Show shows one event of package ping or load. The line in place stands below all
// others; whatever is printed removes it until the next progress.
func (r *Report) Show(event any) {
	if line := progressLine(event, r.Quiet); line != "" && r.InPlace {
		fmt.Fprint(r.Err, toLineStart, line)
		r.drawn = true
		return
	}
	out, err := r.render(event)
	if r.drawn && (out != "" || err != "" || isEnd(event)) {
		fmt.Fprint(r.Err, toLineStart)
		r.drawn = false
	}
	if out != "" {
		io.WriteString(r.Out, out)
	}
	if err != "" {
		io.WriteString(r.Err, err)
	}
}

// render is what an event adds to stdout and to stderr.
func (r *Report) render(event any) (out, err string) {
	if r.Answer && !r.JSON {
		return r.answer(event)
	}
	switch e := event.(type) {
	case ping.Status:
		return "", pingStatus(e.Results) + "\n"
	case load.Status:
		return "", loadStatus(e.Results) + "\n"
	}
	switch {
	case r.Quiet && !isEnd(event):
		return "", ""
	case !r.JSON:
		if out = r.text(event); out != "" {
			out += "\n"
		}
		return out, ""
	}
	if e, ok := event.(ping.Unmatched); ok {
		return "", fmt.Sprintf("client: stray %s answers no ping of this run\n", quoted(e.Payload))
	}
	return jsonLine(event), ""
}

// isEnd says whether a run is over.
func isEnd(event any) bool {
	switch event.(type) {
	case ping.Ended, load.Ended:
		return true
	}
	return false
}
