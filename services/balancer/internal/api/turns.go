package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"udplab/services/balancer/internal/ledger"
)

// Turn is one turn as /api/ledger and /events tell it. Turns are counted from
// 1, as people do and as the log does.
type Turn struct {
	Turn       uint64         `json:"turn"`
	At         time.Time      `json:"at"`
	Client     netip.AddrPort `json:"client"`
	NewClient  bool           `json:"new_client,omitempty"` // its first turn
	Server     string         `json:"server"`
	Place      int            `json:"place"` // of the server in turn order, from 1
	Bytes      int            `json:"bytes"`
	Outcome    ledger.Outcome `json:"outcome"`
	Reason     string         `json:"reason,omitempty"` // why it was dropped
	RTT        *float64       `json:"rtt_ms"`
	Exact      bool           `json:"rtt_exact,omitempty"`
	Reply      *string        `json:"reply,omitempty"` // its beginning
	ReplyBytes *int           `json:"reply_bytes,omitempty"`
}

// newTurn is a turn of the ledger without its reply.
func newTurn(t ledger.Turn) Turn {
	out := Turn{
		Turn: t.Number + 1, At: t.At, Client: t.Client, NewClient: t.First,
		Server: t.Server, Place: t.Backend + 1, Bytes: t.Bytes, Outcome: t.Outcome,
	}
	switch t.Outcome {
	case ledger.Dropped:
		out.Reason = t.Disposition.String()
	case ledger.Answered, ledger.Undelivered:
		ms := toMillis(t.RTT)
		out.RTT, out.Exact = &ms, t.Exact
	}
	return out
}

// withReply is a turn of the ledger with the beginning of its reply.
func withReply(t ledger.Turn) Turn {
	out := newTurn(t)
	if t.Outcome == ledger.Answered || t.Outcome == ledger.Undelivered {
		reply := string(t.Reply)
		out.Reply, out.ReplyBytes = &reply, &t.Size
	}
	return out
}

// chunk is how many turns are copied from the ledger at a time: the data path
// waits for no longer than that takes.
const chunk = 256

// eachTurn visits the turns that come after the first n of all and before end,
// as far as the ledger remembers them, and calls missed where it has forgotten
// some. A turn that is still being recorded ends the visit.
func eachTurn(l *ledger.Ledger, now time.Time, n, end uint64, missed func(uint64), visit func(ledger.Turn)) {
	for n < end {
		turns, gap := l.Since(now, n, chunk)
		if gap > 0 {
			missed(gap)
			n += gap
		}
		if len(turns) == 0 {
			return
		}
		for _, t := range turns {
			if t.Number >= end {
				return
			}
			visit(t)
		}
		n += uint64(len(turns))
	}
}

// ledgerQuery reads the query of /api/ledger: nothing, or after=N with a
// number of turns. Its errors are one line for the one who asked.
func ledgerQuery(query url.Values) (after uint64, err error) {
	for name, values := range query {
		switch {
		case name != "after":
			return 0, fmt.Errorf("%q is not understood: only after=N is, the number of the last turn that you know", name)
		case len(values) > 1:
			return 0, fmt.Errorf("after is given %d times", len(values))
		}
		if after, err = turnNumber(values[0]); err != nil {
			return 0, fmt.Errorf("after: %w", err)
		}
	}
	return after, nil
}

// turnNumber reads the number of a turn, 0 standing for the time before the
// first.
func turnNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not the number of a turn: digits are, from 0 on", text)
	}
	return n, nil
}

// serveLedger answers with one line of JSON for each turn that the ledger
// remembers, and before them one that says how many it has forgotten. Who knows
// of turns that have not been yet knows another balancer's: then a line says so,
// and all turns of this one follow.
func serveLedger(w http.ResponseWriter, r *http.Request, cfg Config) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, fmt.Sprintf("the query cannot be read: %v", err), http.StatusBadRequest)
		return
	}
	after, err := ledgerQuery(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
	lines := json.NewEncoder(w) // fails only when the reader has gone
	last := cfg.Ledger.Last()
	if after > last {
		after = 0
		_ = lines.Encode(struct {
			Restarted bool `json:"restarted"`
		}{true})
	}
	eachTurn(cfg.Ledger, time.Now(), after, last, func(missed uint64) {
		_ = lines.Encode(struct {
			Missed uint64 `json:"missed"`
		}{missed})
	}, func(t ledger.Turn) {
		_ = lines.Encode(withReply(t))
	})
}
