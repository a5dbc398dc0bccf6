package api

import (
	"encoding/json"
	"net/http"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

// Status is the answer of /api/status: everything at one moment. Times are
// RFC 3339, durations milliseconds as numbers, what is not known is null.
type Status struct {
	Facts
	At              time.Time         `json:"at"`
	Started         time.Time         `json:"started"`
	Next            *string           `json:"next"`      // whose turn is next; null: nobody is up
	NextTurn        *uint64           `json:"next_turn"` // its number
	Run             *Run              `json:"run"`       // of the newest client; null: there has been none
	Received        uint64            `json:"received"`
	Forwarded       uint64            `json:"forwarded"`
	Replied         uint64            `json:"replied"`
	RepliesRefused  uint64            `json:"replies_refused"` // of those, by ICMP, where the system says so
	DroppedTotal    uint64            `json:"dropped_total"`
	Dropped         map[string]uint64 `json:"dropped"`
	Turns           uint64            `json:"turns"` // since the first start, over restarts
	OrderViolations uint64            `json:"order_violations"`
	Sessions        uint64            `json:"sessions"`
	Backends        []BackendStatus   `json:"backends"`
}

// BackendStatus is one server in Status, in turn order.
type BackendStatus struct {
	Name       string     `json:"name"`
	Configured string     `json:"configured"`
	Addr       *string    `json:"addr"`
	Up         bool       `json:"up"`
	Since      time.Time  `json:"since"`
	Reason     string     `json:"reason,omitempty"`
	Trial      bool       `json:"trial,omitempty"` // it is down, and the next turn that comes to it tries it
	Turns      uint64     `json:"turns"`
	Forwarded  uint64     `json:"forwarded"`
	Answered   uint64     `json:"answered"`
	Late       uint64     `json:"late"`    // of those, after the answer timeout
	Silent     uint64     `json:"silent"`  // no answer within the answer timeout
	Waiting    uint64     `json:"waiting"` // for an answer in time
	Replies    uint64     `json:"replies"`
	Lost       uint64     `json:"replies_lost"` // that the system would not send to the client
	BytesTo    uint64     `json:"bytes_to"`
	BytesFrom  uint64     `json:"bytes_from"`
	RTTLast    *float64   `json:"rtt_last_ms"`
	RTTMean    *float64   `json:"rtt_mean_ms"`
	RTTP50     *float64   `json:"rtt_p50_ms"`
	RTTP95     *float64   `json:"rtt_p95_ms"`
	LastSeen   *time.Time `json:"last_seen"`
}

// Run is where a client joined the order.
type Run struct {
	Client      string  `json:"client"`
	Turn        uint64  `json:"turn"` // its first one, from 1
	Server      string  `json:"server"`
	AfterServer *string `json:"after_server"` // who had the turn before; null: there was none
}

// newStatus is what a snapshot says.
func newStatus(cfg Config, s ledger.Snapshot) Status {
	out := Status{
		Facts: cfg.Facts, At: s.At, Started: s.Started,
		Received: s.Received, Forwarded: s.Forwarded, Replied: s.Replied, RepliesRefused: s.RepliesRefused,
		DroppedTotal: s.DroppedTotal(), Dropped: map[string]uint64{},
		Turns: s.Turns, OrderViolations: s.OrderViolations, Sessions: s.Sessions,
	}
	for f := ledger.Forwarded + 1; f < ledger.Dispositions; f++ {
		out.Dropped[f.String()] = s.Dropped[f]
	}
	if next, ok := cfg.Rotation.Next(); ok {
		number := next.Number + 1
		out.Next, out.NextTurn = &s.Backends[next.Backend].Name, &number
	}
	if run := s.Newest; run.Client.IsValid() {
		out.Run = &Run{Client: run.Client.String(), Turn: run.Turn + 1, Server: s.Backends[run.Backend].Name}
		if run.After >= 0 {
			out.Run.AfterServer = &s.Backends[run.After].Name
		}
	}
	for i, b := range s.Backends {
		row := BackendStatus{
			Name: b.Name, Configured: cfg.Facts.Servers[i], Up: b.Up, Since: b.Since, Reason: b.Reason,
			Trial: cfg.Rotation.State(i) == balancing.Trial,
			Turns: b.Turns, Forwarded: b.Forwarded, Answered: b.Answered, Replies: b.Replies, Lost: b.Lost,
			Late: b.Late, Silent: b.Silent, Waiting: b.Waiting,
			BytesTo: b.BytesTo, BytesFrom: b.BytesFrom,
			RTTLast: millis(b.RTTLast), RTTMean: millis(b.RTT.Mean()),
			RTTP50: millis(b.RTT.Quantile(0.50)), RTTP95: millis(b.RTT.Quantile(0.95)),
		}
		if b.Addr.IsValid() {
			addr := b.Addr.String()
			row.Addr = &addr
		}
		if !b.LastSeen.IsZero() {
			row.LastSeen = &b.LastSeen
		}
		out.Backends = append(out.Backends, row)
	}
	return out
}

func serveStatus(w http.ResponseWriter, cfg Config) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(newStatus(cfg, cfg.Ledger.Snapshot(time.Now()))) // fails only when the reader has gone
}
