package main

import (
	"context"
	"fmt"
	"time"

	"udplab/services/balancer/internal/persist"
)

// resume goes on where the state file says.
func (b *balancer) resume() {
	store, cursor, err := persist.Open(b.cfg.StateFile, b.cfg.names())
	if err != nil {
		b.log.Warn(err.Error())
	}
	b.state = store
	b.rotation.Resume(cursor.Number, cursor.Next)
	b.ledger.Resume(cursor.Number)
	next := b.cfg.names()[cursor.Next]
	switch {
	case store != nil && store.Behind():
		b.log.Warn(fmt.Sprintf("the earlier run was cut off: its last second of turns may be missing from the state file; going on after turn %d: the next is %s's", cursor.Number, next))
	case cursor.Number > 0:
		b.log.Info(fmt.Sprintf("going on after turn %d of an earlier run: the next is %s's", cursor.Number, next))
	}
}

// saveEvery is how often the rotation's place is saved, and so how much of it a
// kill loses at most.
const saveEvery = time.Second

// keepState saves the rotation's place while it changes, and at the end.
func (b *balancer) keepState(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	failed := false
	for done := false; !done; {
		save := b.state.Save
		select {
		case <-ctx.Done():
			save, done = b.state.End, true
		case <-tick.C:
		}
		number, next := b.rotation.Cursor()
		err := save(persist.Cursor{Number: number, Next: next})
		switch {
		case err != nil && !failed:
			b.log.Warn(err.Error())
		case err == nil && failed:
			b.log.Info("the state file is written again")
		}
		failed = err != nil
	}
}
