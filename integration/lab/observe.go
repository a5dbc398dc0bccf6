package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Status is a balancer's /api/status. What is null there is nil here.
type Status struct {
	Started         time.Time         `json:"started"`
	DataPath        string            `json:"datapath"`
	Next            *string           `json:"next"` // the name of the server whose turn is next
	Received        uint64            `json:"received"`
	Forwarded       uint64            `json:"forwarded"`
	Replied         uint64            `json:"replied"`
	DroppedTotal    uint64            `json:"dropped_total"`
	Dropped         map[string]uint64 `json:"dropped"` // by reason
	Turns           uint64            `json:"turns"`
	OrderViolations uint64            `json:"order_violations"`
	Sessions        uint64            `json:"sessions"`
	Backends        []Backend         `json:"backends"` // in turn order
}

// Backend is one server in a Status.
type Backend struct {
	Name      string          `json:"name"`
	Addr      *netip.AddrPort `json:"addr"`
	Up        bool            `json:"up"`
	Since     time.Time       `json:"since"` // when it went up or down
	Turns     uint64          `json:"turns"`
	Forwarded uint64          `json:"forwarded"`
}

// Backend returns the server of that name, or one without a name that is down.
func (s Status) Backend(name string) Backend {
	for _, b := range s.Backends {
		if b.Name == name {
			return b
		}
	}
	return Backend{}
}

// Unbalanced returns a sentence for everything that does not add up: each
// datagram must be forwarded or dropped, each turn must belong to one server,
// and no turn may be out of order.
func (s Status) Unbalanced() (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.Received != s.Forwarded+s.DroppedTotal {
		add("%d received, but %d forwarded and %d dropped", s.Received, s.Forwarded, s.DroppedTotal)
	}
	turns, forwarded := uint64(0), uint64(0) // the servers' own counts are kept apart
	for _, b := range s.Backends {
		turns, forwarded = turns+b.Turns, forwarded+b.Forwarded
	}
	// A turn is taken by what is forwarded and by what is dropped afterwards.
	took := s.Forwarded + s.Dropped["held"] + s.Dropped["no_socket"] + s.Dropped["send_failed"]
	if turns != took || forwarded != s.Forwarded {
		add("%d took a turn and %d were forwarded, but the servers had %d and %d", took, s.Forwarded, turns, forwarded)
	}
	if s.OrderViolations != 0 {
		add("%d turns out of order by the balancer's own check", s.OrderViolations)
	}
	return problems
}

// Turn is a line of a balancer's /api/ledger. Turns count from 1.
type Turn struct {
	Turn       uint64         `json:"turn"`
	Client     netip.AddrPort `json:"client"`
	Server     string         `json:"server"`
	Place      int            `json:"place"` // of the server in turn order, from 1
	Outcome    string         `json:"outcome"`
	Exact      bool           `json:"rtt_exact"`   // the reply is certainly this turn's
	Reply      string         `json:"reply"`       // its beginning
	ReplyBytes int            `json:"reply_bytes"` // of all of it
}

// Ledger is what a balancer remembers of its turns.
type Ledger struct {
	Missed    uint64 // turns that it has forgotten
	Restarted bool   // it has not had the turn that was asked for
	Turns     []Turn // in their order
}

// ReadStatus asks the balancer whose page is at url for its status.
func ReadStatus(ctx context.Context, url string) (s Status, err error) {
	body, err := get(ctx, url+"/api/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// ReadLedger asks the balancer whose page is at url for the turns after one; 0
// asks for all that it remembers.
func ReadLedger(ctx context.Context, url string, after uint64) (l Ledger, err error) {
	body, err := get(ctx, fmt.Sprintf("%s/api/ledger?after=%d", url, after))
	if err != nil {
		return l, err
	}
	for text := range bytes.Lines(body) { // JSON each; one without a turn says what is not there
		var line struct {
			Turn
			Missed    uint64 `json:"missed"`
			Restarted bool   `json:"restarted"`
		}
		if err := json.Unmarshal(text, &line); err != nil {
			return l, err
		}
		l.Missed += line.Missed
		l.Restarted = l.Restarted || line.Restarted
		if line.Turn.Turn > 0 {
			l.Turns = append(l.Turns, line.Turn)
		}
	}
	return l, nil
}

// ReadMetric asks the balancer whose page is at url for one of its metrics,
// named with its labels as in balancer_dropped_total{reason="loop"}.
func ReadMetric(ctx context.Context, url, name string) (float64, error) {
	body, err := get(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s/metrics: there is no %s", url, name)
}

// direct asks no proxy, whatever the environment says, and leaves no connection
// open that a test might count.
var direct = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get returns the body of the answer to a GET, which must have status 200.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := direct.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}
