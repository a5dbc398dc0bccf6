// Package view has what the balancer shows of itself, as JSON: its status, a
// turn, and an item of news. Times are RFC 3339, durations milliseconds as
// numbers, and what is not known is null.
package view

import (
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/phrase"
)

// Facts are what does not change while the balancer runs.
type Facts struct {
	Version  string `json:"version"`
	Listen   string `json:"listen"`
	DataPath string `json:"datapath"`
	WhenDown string `json:"when_down"`
	// AnswerTimeout is after how many milliseconds a turn is unanswered.
	AnswerTimeout float64 `json:"answer_timeout_ms"`
}

// Hold says whether a server that is down keeps its turns.
func (f Facts) Hold() bool { return f.WhenDown == string(balancing.Hold) }

// Status is everything at one moment.
type Status struct {
	Facts
	At              time.Time         `json:"at"`
	Started         time.Time         `json:"started"`
	Next            *string           `json:"next"`      // whose turn is next; null: no server is up
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
	Backends        []Backend         `json:"backends"`
}

// Backend is one server in Status, in turn order.
type Backend struct {
	Name       string     `json:"name"`
	Configured string     `json:"configured"`
	Addr       *string    `json:"addr"`
	Up         bool       `json:"up"`
	Since      time.Time  `json:"since"`
	Reason     string     `json:"reason,omitempty"`
	Trial      bool       `json:"trial,omitempty"` // it is down, and the next turn that comes to it tries it
	Tried      bool       `json:"tried,omitempty"` // it is down, and a turn tries it now and then
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
	Turn        uint64  `json:"turn"` // its first one
	Server      string  `json:"server"`
	AfterServer *string `json:"after_server"` // that had the turn before; null: there was none
}

// NewStatus is what a snapshot says. The scheduler knows whose turn is next.
func NewStatus(facts Facts, scheduler *balancing.Scheduler, s ledger.Snapshot) Status {
	out := Status{
		Facts: facts, At: s.At, Started: s.Started,
		Received: s.Received, Forwarded: s.Forwarded, Replied: s.Replied, RepliesRefused: s.RepliesRefused,
		DroppedTotal: s.DroppedTotal(), Dropped: map[string]uint64{},
		Turns: s.Turns, OrderViolations: s.OrderViolations, Sessions: s.Sessions,
	}
	for d := ledger.Forwarded + 1; d < ledger.Dispositions; d++ {
		out.Dropped[d.String()] = s.Dropped[d]
	}
	if next, ok := scheduler.Next(); ok {
		out.Next, out.NextTurn = &next.Backend.Name, &next.Number
	}
	if run := s.Newest; run.Client.IsValid() {
		out.Run = &Run{Client: run.Client.String(), Turn: run.Turn, Server: run.Server, AfterServer: known(run.After)}
	}
	for _, b := range s.Backends {
		row := Backend{
			Name: b.Name, Configured: b.Configured, Up: b.Up(), Since: b.Since, Reason: b.Reason,
			Trial: b.State == membership.Trial, Tried: b.Tried,
			Turns: b.Turns, Forwarded: b.Forwarded, Answered: b.Answered, Replies: b.Replies, Lost: b.Lost,
			Late: b.Late, Silent: b.Silent, Waiting: b.Waiting(),
			BytesTo: b.BytesTo, BytesFrom: b.BytesFrom,
			RTTLast: roundTrip(b.RTTLast), RTTMean: roundTrip(b.RTT.Mean()),
			RTTP50: roundTrip(b.RTT.Quantile(0.50)), RTTP95: roundTrip(b.RTT.Quantile(0.95)), LastSeen: known(b.LastSeen),
		}
		if b.Addr.IsValid() {
			row.Addr = new(b.Addr.String())
		}
		out.Backends = append(out.Backends, row)
	}
	return out
}

// roundTrip is a round-trip time in milliseconds; nil if there is none.
func roundTrip(d time.Duration) *float64 { return known(phrase.Milliseconds(d)) }

// known is what JSON has of a value; nil, null, for a zero one.
func known[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}
