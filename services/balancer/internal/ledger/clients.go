package ledger

import (
	"net/netip"
	"time"
)

// clientsKept is how many client addresses are remembered at least, those seen
// last: more than there are sessions, unless that limit was raised.
const clientsKept = 16384

// Join is where a new client joined the order.
type Join struct {
	Client netip.AddrPort // not valid: none has joined yet
	At     time.Time
	Turn   uint64 // its first one
	Server string // whose turn that was
	After  string // the server of the turn before it, also if that was before a restart; empty: none
}

// recentClients knows the clients that were seen lately, in two generations, so
// that a flood of new addresses does not fill the memory.
type recentClients struct {
	young, old map[netip.AddrPort]struct{}
}

// observe says whether a client is new, and remembers it.
func (c *recentClients) observe(client netip.AddrPort) bool {
	if _, ok := c.young[client]; ok {
		return false
	}
	if len(c.young) == clientsKept || c.young == nil {
		c.old, c.young = c.young, map[netip.AddrPort]struct{}{}
	}
	c.young[client] = struct{}{}
	if _, ok := c.old[client]; ok {
		return false
	}
	return true
}
