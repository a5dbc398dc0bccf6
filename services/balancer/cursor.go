package main

import (
	"udplab/services/balancer/internal/membership"
	"udplab/services/balancer/internal/persist"
)

// resume goes on where the state file says.
func (b *balancer) resume() {
	today := names(b.members.Snapshot())
	state, cursor := persist.Open(b.cfg.StateFile, today, b.log)
	b.state = state
	b.scheduler.Resume(cursor.Turns, cursor.Next(today))
	b.ledger.Resume(cursor.Turns)
}

// cursor is where the order stands.
func (b *balancer) cursor() persist.Cursor {
	turns, servers, next := b.scheduler.Cursor()
	cursor := persist.Cursor{Turns: turns, Names: names(servers)}
	if n := len(cursor.Names); turns > 0 && n > 0 {
		cursor.Last = cursor.Names[(next+n-1)%n]
	}
	return cursor
}

// names lists the servers' names in turn order.
func names(servers *membership.Snapshot) (names []string) {
	for _, s := range servers.Backends {
		names = append(names, s.Name)
	}
	return names
}
