package api

import (
	"fmt"
	"slices"
	"time"

	"udplab/services/balancer/internal/ledger"
	"udplab/services/balancer/internal/phrase"
	"udplab/services/balancer/internal/view"
)

// itemsKept is how many items of news are remembered.
const itemsKept = 60

// How soon the next of its kind must follow for an item to grow.
const (
	clientsTogether = time.Second
	dropsTogether   = 5 * time.Second
)

// dropReasons say what a reason means to a person.
var dropReasons = [ledger.Dispositions]string{
	ledger.DroppedDown:  "its server is down and keeps its turn",
	ledger.NoSocket:     "no socket could be had",
	ledger.SendFailed:   "the system would not send it",
	ledger.NoBackend:    "no server is up",
	ledger.SessionLimit: "too many clients at once",
	ledger.ClientRate:   "its client sends more than it may",
	ledger.PortZero:     "its source port is 0, where nobody can be answered",
	ledger.Loop:         "it came from a server’s own address or from ours",
	ledger.Shutdown:     "the balancer was stopping",
	ledger.Stranger:     "it came to a client’s port from an address that is no server’s",
}

// kernelReason is the reason of datagrams that never reached us.
const kernelReason = "they came faster than they could be taken (the kernel’s count)"

// activity makes news of what the ledger counts. The zero value has observed
// nothing yet.
type activity struct {
	items       []view.Item // the oldest first
	lastID      int
	lastEvent   uint64
	clients     uint64
	dropped     [ledger.Dispositions]uint64
	kernelDrops uint64
}

// look returns the items that are new in a snapshot, or have grown.
func (a *activity) look(now time.Time, cfg Config, s ledger.Snapshot) []view.Item {
	changed := []view.Item{}
	add := func(at time.Time, within time.Duration, kind, about string, n uint64, sentence func(total uint64) string) {
		i := a.open(at, within, kind, about)
		i.Count += n
		i.Last, i.Text = at, sentence(i.Count)
		changed = append(changed, *i)
	}
	events, missed := cfg.Ledger.Events(a.lastEvent)
	if missed > 0 {
		add(now, 0, "missed", "", missed, phrase.MissedChanges)
	}
	// Servers and clients are told of in the order in which it happened.
	newClients := s.Clients - a.clients
	a.clients = s.Clients
	addClients := func(before time.Time) {
		if run := s.Newest; newClients > 0 && run.At.Before(before) {
			add(run.At, clientsTogether, "client", "", newClients, func(total uint64) string { return clientText(total, run) })
			newClients = 0
		}
	}
	for _, e := range events {
		a.lastEvent = e.Number
		addClients(e.At)
		add(e.At, 0, string(e.Kind), e.Backend, 1, func(uint64) string { return eventText(e, cfg.Facts.Hold()) })
	}
	addClients(now.Add(1))
	addDrops := func(total uint64, before *uint64, reason string) {
		if n := total - *before; n > 0 {
			add(now, dropsTogether, "dropped", reason, n, func(n uint64) string { return phrase.Count(n, "datagram") + " dropped: " + reason })
			*before = total
		}
	}
	for d, reason := range dropReasons {
		addDrops(s.Dropped[d], &a.dropped[d], reason)
	}
	addDrops(cfg.KernelDrops(), &a.kernelDrops, kernelReason)
	return changed
}

// open returns the item that grows, or a new one.
func (a *activity) open(at time.Time, within time.Duration, kind, about string) *view.Item {
	for i := range slices.Backward(a.items) {
		if item := &a.items[i]; item.Kind == kind && item.About == about && at.Sub(item.Last) < within {
			return item
		}
	}
	a.items = slices.Delete(a.items, 0, max(0, len(a.items)-itemsKept+1))
	a.lastID++
	a.items = append(a.items, view.Item{ID: a.lastID, At: at, Kind: kind, About: about})
	return &a.items[len(a.items)-1]
}

// recent are the items that are kept, the oldest first; in JSON a list in any
// case.
func (a *activity) recent() []view.Item { return append([]view.Item{}, a.items...) }

func eventText(e ledger.Event, hold bool) string {
	switch e.Kind {
	case ledger.WentUp:
		return e.Backend + " is up and has its turns again"
	case ledger.WentDown:
		return fmt.Sprintf("%s is down: %s; %s", e.Backend, e.Reason, phrase.TurnsOfDown(hold))
	case ledger.Moved:
		return fmt.Sprintf("%s moved to %v", e.Backend, e.Addr)
	case ledger.Added:
		return fmt.Sprintf("%s was added, from turn #%s on", e.Backend, phrase.Thousands(e.Turn))
	case ledger.Removed:
		return fmt.Sprintf("%s was removed, from turn #%s on", e.Backend, phrase.Thousands(e.Turn))
	}
	return fmt.Sprintf("%s: %s", e.Backend, e.Kind)
}

func clientText(n uint64, last ledger.Join) string {
	who := fmt.Sprintf("new client %v", last.Client)
	if n > 1 {
		who = fmt.Sprintf("%s new clients, the last %v", phrase.Thousands(n), last.Client)
	}
	return fmt.Sprintf("%s, began at turn #%s with %s", who, phrase.Thousands(last.Turn), last.Server)
}
