package ledger

import "net/netip"

// clientsKept is how many client addresses are remembered at least, those seen
// last: more than there are sessions, unless that limit was raised.
const clientsKept = 16384

// clientele knows the clients that were seen lately, in two generations, so
// that a flood of new addresses does not fill the memory.
type clientele struct {
	young, old map[netip.AddrPort]struct{}
	met        uint64 // new ones so far
	newest     netip.AddrPort
	newestTurn uint64 // the first turn of the newest
}

// meet says whether a client is new, and remembers it.
func (c *clientele) meet(client netip.AddrPort, turn uint64) bool {
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
	c.met++
	c.newest, c.newestTurn = client, turn
	return true
}
