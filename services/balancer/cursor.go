package main

import "udplab/services/balancer/internal/persist"

// resume goes on where the state file says.
func (b *balancer) resume() {
	servers := b.names()
	state, cursor := persist.Open(b.cfg.StateFile, servers, b.log)
	b.state = state
	b.scheduler.Resume(cursor.Turns, cursor.Next(servers))
	b.ledger.Resume(cursor.Turns)
}

// cursor is where the order stands.
func (b *balancer) cursor() persist.Cursor {
	turns, next := b.scheduler.Cursor()
	cursor := persist.Cursor{Turns: turns, Names: b.names()}
	if n := len(cursor.Names); turns > 0 {
		cursor.Last = cursor.Names[(next+n-1)%n]
	}
	return cursor
}

// names lists the servers' names in turn order.
func (b *balancer) names() (names []string) {
	for _, s := range b.cfg.Backends {
		names = append(names, s.Name)
	}
	return names
}
