package main

import "udplab/services/balancer/internal/persist"

// resume goes on where the state file says.
func (b *balancer) resume() {
	names := b.cfg.names()
	state, cursor := persist.Open(b.cfg.StateFile, names, b.log)
	b.state = state
	b.rotation.Resume(cursor.Turns, cursor.Next(names))
	b.ledger.Resume(cursor.Turns)
}

// cursor is where the rotation stands.
func (b *balancer) cursor() persist.Cursor {
	turns, next := b.rotation.Cursor()
	names := b.cfg.names()
	if turns == 0 {
		return persist.Cursor{Names: names}
	}
	return persist.Cursor{Turns: turns, Last: names[(next+len(names)-1)%len(names)], Names: names}
}
