package view

import (
	"net/netip"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/phrase"
)

// Turn is one turn.
type Turn struct {
	Turn       uint64         `json:"turn"` // its number, from 1
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

// NewTurn is a turn of the ledger without its reply.
func NewTurn(t ledger.Turn) Turn {
	out := Turn{
		Turn: t.Number, At: t.At, Client: t.Client, NewClient: t.First,
		Server: t.Server, Place: t.Place, Bytes: t.Bytes, Outcome: t.Outcome,
	}
	switch t.Outcome {
	case ledger.Dropped:
		out.Reason = t.Disposition.String()
	case ledger.Answered, ledger.Undelivered:
		out.RTT, out.Exact = new(phrase.Milliseconds(t.RTT)), t.Exact
	}
	return out
}

// WithReply is a turn of the ledger with the beginning of its reply.
func WithReply(t ledger.Turn) Turn {
	out := NewTurn(t)
	if out.RTT != nil {
		out.Reply, out.ReplyBytes = new(string(t.Reply)), new(t.Size)
	}
	return out
}

// Forgotten is the outcome of a turn that the ledger forgot while it waited.
const Forgotten ledger.Outcome = "forgotten"

// Item is one piece of news, in a sentence. Things of one kind that follow
// each other closely are one item that grows.
type Item struct {
	ID    int       `json:"id"` // an item that grows keeps its number
	At    time.Time `json:"at"`
	Last  time.Time `json:"last"`  // when it last grew
	Kind  string    `json:"kind"`  // up, down, moved, added, removed, client, dropped or missed
	About string    `json:"-"`     // what else two items of one kind must have in common to be one
	Count uint64    `json:"count"` // how many times it happened
	Text  string    `json:"text"`  // without the time
}
