package api

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/page"
	"udplab/services/balancer/internal/view"
)

// handler is everything that is answered.
func handler(cfg Config, feed *feed) http.Handler {
	mux := http.NewServeMux()
	health := func(word string, servers bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			up := func(b ledger.Backend) bool { return b.Up() }
			switch {
			case !cfg.Alive():
				http.Error(w, "the data path does not run", http.StatusServiceUnavailable)
			case servers && !slices.ContainsFunc(cfg.Ledger.Snapshot(time.Now()).Backends, up):
				http.Error(w, "no server is up", http.StatusServiceUnavailable)
			default:
				fmt.Fprintln(w, word)
			}
		}
	}
	mux.HandleFunc("/healthz", health("alive", false))
	mux.HandleFunc("/readyz", health("ready", true))
	mux.HandleFunc("/api/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, feed.status(time.Now())) })
	mux.HandleFunc("/api/ledger", func(w http.ResponseWriter, r *http.Request) { serveLedger(w, r, cfg.Ledger) })
	mux.HandleFunc("/events", feed.serve)
	mux.Handle("/metrics", metricsHandler(cfg))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { servePage(w, feed) })
	mux.HandleFunc("/page.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, newPageState(feed.status(time.Now()))) })
	page.AddFiles(mux)
	return guardReading(cfg, mux)
}

// writeJSON answers with JSON. It fails only when the reader has gone.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value)
}

// tapeLength is how many turns the page shows one by one.
const tapeLength = 60

// servePage answers with the page as things are. All of it that says whose
// turn is next is taken from one look at the scheduler, and so is where the tape
// ends: what stands side by side is in order.
func servePage(w http.ResponseWriter, f *feed) {
	now := time.Now()
	status := f.status(now)
	last := f.Ledger.Last()
	if status.NextTurn != nil {
		last = min(last, *status.NextTurn-1)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.New(status, f.tape(now, last), f.recentNews()).Write(w) // fails only when the reader has gone
}

// chunk is how many turns are copied from the ledger at a time: the data path
// waits no longer than that takes.
const chunk = 256

// turns are those after one number and up to another, as far as the ledger
// remembers them. They end before a turn that is still being recorded.
func turns(l *ledger.Ledger, now time.Time, after, last uint64) iter.Seq[ledger.Turn] {
	return func(yield func(ledger.Turn) bool) {
		for after < last {
			some, missed := l.Since(now, after, chunk)
			if len(some) == 0 {
				return
			}
			after += missed + uint64(len(some))
			for _, t := range some {
				if t.Number > last || !yield(t) {
					return
				}
			}
		}
	}
}

// serveLedger answers with a line of JSON for each turn that the ledger
// remembers. A line before a gap says how many turns it has forgotten. A reader
// that knows of turns that have not been yet knows another balancer's: a line
// says so, and all turns of this one follow.
func serveLedger(w http.ResponseWriter, r *http.Request, l *ledger.Ledger) {
	known, err := lastKnown(r.URL.RawQuery, "", time.Time{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	after, last := uint64(0), l.Last()
	if known != nil {
		after = *known
	}
	w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
	lines := json.NewEncoder(w) // fails only when the reader has gone
	if after > last {
		after = 0
		_ = lines.Encode(map[string]bool{"restarted": true})
	}
	now := time.Now()
	gap := func(missed uint64) {
		if missed > 0 {
			_ = lines.Encode(map[string]uint64{"missed": missed})
			after += missed
		}
	}
	_, missed := l.Since(now, after, 0) // also if no turn has come since an earlier run's
	gap(missed)
	for t := range turns(l, now, after, last) {
		gap(t.Number - after - 1)
		_ = lines.Encode(view.WithReply(t))
		after = t.Number
	}
}

// lastKnown is the number of the last turn that a reader knows of: id, which a
// browser sends when it connects again, or after=N in the query; nil: it knows
// none. With started=TIME in the query the reader says by the status' field of
// that name of which balancer it knows turns. Those of another one than ours
// are none; a zero started does not understand it. An error is one line for the
// reader.
func lastKnown(query, id string, started time.Time) (*uint64, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %v", err)
	}
	known := []string{"after"}
	if !started.IsZero() {
		known = append(known, "started")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%q is not understood: a query may have %s", name, strings.Join(known, " and "))
		case len(given) > 1:
			return nil, fmt.Errorf("%s is given %d times", name, len(given))
		}
	}
	if text := values.Get("started"); values.Has("started") {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("started: %q is not a time as /api/status writes it", text)
		}
		if !at.Equal(started) {
			return nil, nil
		}
	}
	name, number := "Last-Event-ID", id
	if id == "" {
		name, number = "after", values.Get("after")
	}
	if id == "" && !values.Has("after") {
		return nil, nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is not the number of a turn: digits are, from 0 on", name, number)
	}
	return &n, nil
}
