package ledger

import (
	"net/netip"
	"slices"
	"time"

	"udplab/services/balancer/internal/membership"
)

// EventKind is what sort of thing happened.
type EventKind string

const (
	WentUp   EventKind = "up"
	WentDown EventKind = "down"
	Moved    EventKind = "moved"
)

// Event is something that happened to a server.
type Event struct {
	Number  uint64 // counted from 1
	At      time.Time
	Kind    EventKind
	Backend string         // the server's name
	Reason  string         // why it went down
	Addr    netip.AddrPort // where it is now or was last; not valid if it was nowhere yet
}

// eventsKept is how many events the ledger remembers.
const eventsKept = 256

// Apply records a snapshot of the servers, and what has happened since the one
// before. The first names the servers, before any turn is recorded, and is no event.
func (l *Ledger) Apply(now time.Time, s *membership.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.servers != nil
	if !known {
		l.servers = make([]Backend, len(s.Backends))
	}
	for i, backend := range s.Backends {
		b := &l.servers[i]
		was := b.Backend
		if b.Backend = backend; !backend.Addr.IsValid() {
			b.Addr = was.Addr
		}
		happened := func(kind EventKind, reason string) {
			l.eventNumber++
			l.events = append(l.events, Event{Number: l.eventNumber, At: now, Kind: kind, Backend: b.Name, Reason: reason, Addr: b.Addr})
			l.events = slices.Delete(l.events, 0, max(0, len(l.events)-eventsKept))
		}
		if was.Addr.IsValid() && b.Addr != was.Addr {
			b.Moved++
			happened(Moved, "")
		}
		switch {
		case !known:
		case was.Up() && !b.Up():
			b.WentDown[backend.Cause]++
			happened(WentDown, backend.Reason)
		case !was.Up() && b.Up():
			b.WentUp++
			happened(WentUp, "")
		}
	}
}

// Events copies what happened after the event of the given number, and says how
// many events were forgotten before the first of them.
func (l *Ledger) Events(after uint64) (events []Event, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	forgotten := l.eventNumber - uint64(len(l.events))
	after = min(after, l.eventNumber)
	if after < forgotten {
		missed, after = forgotten-after, forgotten
	}
	return append(events, l.events[after-forgotten:]...), missed
}
