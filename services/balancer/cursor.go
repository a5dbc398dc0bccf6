package main

import "udplab/services/balancer/internal/persist"

// resume goes on where the state file says.
func (b *balancer) resume() {
	names := b.cfg.names()
	state, cursor := persist.Open(b.cfg.StateFile, names, b.log)
	b.state = state
	b.scheduler.Resume(cursor.Turns, cursor.Next(names))
	b.ledger.Resume(cursor.Turns)
}

// cursor is where the order stands.
func (b *balancer) cursor() persist.Cursor {
	turns, servers, next := b.scheduler.Cursor()
	cursor := persist.Cursor{Turns: turns}
	for _, s := range servers.Backends {
		cursor.Names = append(cursor.Names, s.Name)
	}
	if n := len(cursor.Names); turns > 0 && n > 0 {
		cursor.Last = cursor.Names[(next+n-1)%n]
	}
	return cursor
}
