package api

import (
	"fmt"
	"slices"
	"time"

	"udplab/services/balancer/internal/balancing"
	"udplab/services/balancer/internal/ledger"
)

// Item is one thing that happened, in a sentence. Things of one kind that
// follow each other closely are one item that grows.
type Item struct {
	ID    int       `json:"id"` // an item that grows keeps its number
	At    time.Time `json:"at"`
	Last  time.Time `json:"last"`  // when it last grew
	Kind  string    `json:"kind"`  // up, down, moved, client, dropped or missed
	Count uint64    `json:"count"` // how many times it happened
	Text  string    `json:"text"`  // without the time
	about string    // what makes two items of a kind the same
}

// itemsKept is how many items are remembered.
const itemsKept = 60

// How soon the next of its kind must follow for an item to grow.
const (
	clientsTogether = time.Second
	dropsTogether   = 5 * time.Second
)

// dropReasons say what a fate means to a person.
var dropReasons = map[ledger.Disposition]string{
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

// kernelDrops is what dropped says of datagrams that never reached us.
const kernelDrops = "they came faster than they could be taken (the kernel’s count)"

// chronicle makes news of what the ledger counts. The zero value has seen
// nothing yet.
type chronicle struct {
	items     []Item
	lastID    int
	nextEvent uint64
	clients   uint64
	dropped   [ledger.Dispositions]uint64
	lost      uint64
}

// sight is what a chronicle looks at.
type sight struct {
	snapshot ledger.Snapshot
	events   []ledger.Event // from nextEvent on
	missed   uint64         // events forgotten before them
	lost     uint64         // by the kernel
	whenDown string
}

// look returns the items that are new or have grown.
func (c *chronicle) look(now time.Time, s sight) (changed []Item) {
	tell := func(at time.Time, within time.Duration, kind, about string, n uint64, sentence func(total uint64) string) {
		item := c.open(at, within, kind, about)
		item.Count += n
		item.Last = at
		item.Text = sentence(item.Count)
		changed = append(changed, *item)
	}
	if s.missed > 0 {
		tell(now, 0, "missed", "", s.missed, func(n uint64) string {
			return fmt.Sprintf("%s that nobody has seen", amount(n, "more up, down or move", "more ups, downs and moves"))
		})
	}
	// What happened to servers and who came is told in the order in which it was.
	newClients := s.snapshot.Clients - c.clients
	c.clients = s.snapshot.Clients
	tellClients := func(before time.Time) {
		if run := s.snapshot.Newest; newClients > 0 && run.At.Before(before) {
			tell(run.At, clientsTogether, "client", "", newClients, func(total uint64) string { return clientText(total, s) })
			newClients = 0
		}
	}
	for _, e := range s.events {
		c.nextEvent = e.Number + 1
		tellClients(e.At)
		tell(e.At, 0, string(e.Kind), e.Backend, 1, func(uint64) string { return eventText(e, s.whenDown) })
	}
	tellClients(now.Add(1))
	for f := ledger.Forwarded + 1; f < ledger.Dispositions; f++ {
		if n := s.snapshot.Dropped[f] - c.dropped[f]; n > 0 {
			c.dropped[f] = s.snapshot.Dropped[f]
			why, ok := dropReasons[f]
			if !ok {
				why = f.String()
			}
			tell(now, dropsTogether, "dropped", f.String(), n, func(total uint64) string { return dropText(total, why) })
		}
	}
	if s.lost > c.lost {
		n := s.lost - c.lost
		c.lost = s.lost
		tell(now, dropsTogether, "dropped", kernelDrops, n, func(total uint64) string { return dropText(total, kernelDrops) })
	}
	return changed
}

// open returns the item that grows, or a new one.
func (c *chronicle) open(at time.Time, within time.Duration, kind, about string) *Item {
	for i := range slices.Backward(c.items) {
		if item := &c.items[i]; item.Kind == kind && item.about == about && at.Sub(item.Last) < within {
			return item
		}
	}
	if len(c.items) == itemsKept {
		c.items = slices.Delete(c.items, 0, 1)
	}
	c.lastID++
	c.items = append(c.items, Item{ID: c.lastID, At: at, Kind: kind, about: about})
	return &c.items[len(c.items)-1]
}

func eventText(e ledger.Event, whenDown string) string {
	switch e.Kind {
	case ledger.WentUp:
		return e.Backend + " is up and has its turns again"
	case ledger.WentDown:
		fate := "go to the next server"
		if whenDown == balancing.Hold.String() {
			fate = "are kept and lost"
		}
		return fmt.Sprintf("%s is down: %s; its turns %s", e.Backend, e.Reason, fate)
	case ledger.Moved:
		return fmt.Sprintf("%s moved to %v", e.Backend, e.Addr)
	}
	return fmt.Sprintf("%s: %s", e.Backend, e.Kind)
}

func clientText(n uint64, s sight) string {
	run := s.snapshot.Newest
	text := fmt.Sprintf("new client %v", run.Client)
	if n > 1 {
		text = fmt.Sprintf("%s new clients, the last %v", thousands(n), run.Client)
	}
	return text + fmt.Sprintf(", began at turn #%s with %s", thousands(run.Turn+1), s.snapshot.Backends[run.Backend].Name)
}

func dropText(n uint64, why string) string {
	return fmt.Sprintf("%s dropped: %s", amount(n, "datagram", "datagrams"), why)
}
